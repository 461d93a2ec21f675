//! The rules of the registry and its checks, in paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, advance, sleep};

use super::ServingStatus::{NotServing, Serving, Unknown};
use super::*;

const NAMES: [&str; 5] = ["", "startup", "liveness", "readiness", "a.Service"];
/// Those states of a server that neither has started nor hangs.
const ALIVE: [Option<ServingStatus>; 5] =
    [Some(NotServing), Some(NotServing), Some(Serving), Some(NotServing), Some(NotServing)];

/// A back end that can be broken.
#[derive(Clone, Default)]
struct BackEnd {
    broken: Arc<AtomicBool>,
    probes: Arc<AtomicU32>,
}

impl BackEnd {
    fn broken() -> Self {
        let back_end = Self::default();
        back_end.break_it(true);
        back_end
    }

    fn break_it(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    fn probes(&self) -> u32 {
        self.probes.load(Ordering::SeqCst)
    }

    fn check(&self, name: &str) -> Check {
        let back_end = self.clone();
        Check::new(name, move || {
            back_end.probes.fetch_add(1, Ordering::SeqCst);
            let broken = back_end.broken.load(Ordering::SeqCst);
            async move { if broken { Err("it is broken") } else { Ok(()) } }
        })
    }
}

fn registry() -> Health {
    let health = Health::with_clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    health.register("a.Service");
    health
}

fn states(health: &Health) -> [Option<ServingStatus>; 5] {
    NAMES.map(|name| health.status(name))
}

fn check_named(health: &Health, name: &str) -> CheckReport {
    health.report().checks.into_iter().find(|check| check.name == name).unwrap()
}

#[tokio::test]
async fn a_name_that_is_forgotten_is_unknown_and_those_of_the_server_stay() {
    let health = registry();
    health.open();
    let mut watched = health.0.state.subscribe();
    watched.mark_unchanged();
    health.forget("a.Service");
    assert!(watched.has_changed().unwrap(), "who watches it is told");
    for name in ["", "startup", "liveness", "readiness"] {
        health.forget(name);
    }
    assert_eq!(states(&health), [Some(Serving), Some(Serving), Some(Serving), Some(Serving), None]);
    health.set("a.Service", NotServing);
    assert_eq!(health.status("a.Service"), Some(NotServing));
}

#[tokio::test(start_paused = true)]
async fn nothing_but_life_is_serving_before_the_server_is_open() {
    let health = registry();
    assert_eq!(states(&health), [Some(NotServing); 5]);
    let back_end = BackEnd::default();
    health.check(back_end.check("database").required(true));
    sleep(Duration::from_secs(60)).await;
    // What waits for others is alive: a restart would not make it wait less.
    assert_eq!(states(&health), ALIVE);
    health.open();
    assert_eq!(states(&health), [Some(Serving); 5]);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_life_is_serving_once_the_server_drains() {
    let health = registry();
    health.open();
    assert!(health.ready().await);
    health.drain();
    assert_eq!(states(&health), ALIVE);
    // Nothing sets it back.
    health.open();
    health.set("", Serving);
    health.register("b.Service");
    health.check(BackEnd::default().check("database"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(states(&health), ALIVE);
    assert_eq!(health.status("b.Service"), Some(NotServing));
    assert!(!health.ready().await);
}

#[tokio::test(start_paused = true)]
async fn startup_waits_for_each_required_check_and_each_condition() {
    let health = registry();
    let (own, shared) = (BackEnd::broken(), BackEnd::broken());
    health.check(own.check("own").required(true));
    health.check(shared.check("shared"));
    let keys = health.condition("keys");
    health.open();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(states(&health), ALIVE);
    assert_eq!(health.report().why_not_ready().unwrap(), "starts: it waits for keys, own");
    keys.waits("nobody has any");
    assert_eq!(health.report().why_not_ready().unwrap(), "starts: it waits for keys (nobody has any), own");
    keys.met();
    assert_eq!(health.status("startup"), Some(NotServing));
    assert_eq!(health.report().why_not_ready().unwrap(), "starts: it waits for own");
    own.break_it(false);
    assert!(health.ready().await);
    // The shared one has never passed, and is in nobody's way.
    assert_eq!(states(&health), [Some(Serving); 5]);
    assert_eq!(health.report().overall, Overall::Degraded);
}

#[tokio::test(start_paused = true)]
async fn startup_stays_when_a_check_fails_later() {
    let health = registry();
    let own = BackEnd::default();
    health.check(own.check("own").required(true));
    health.open();
    assert!(health.ready().await);
    own.break_it(true);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(states(&health), [Some(NotServing), Some(Serving), Some(Serving), Some(NotServing), Some(NotServing)]);
    assert_eq!(health.report().why_not_ready().unwrap(), "is not ready: own failed");
}

#[tokio::test(start_paused = true)]
async fn the_first_success_is_enough_and_first_probes_follow_quickly() {
    let health = registry();
    let own = BackEnd::broken();
    let began = Instant::now();
    health.check(own.check("own").required(true));
    health.open();
    // Probes after 0, 50, 150 and 350 ms.
    sleep(Duration::from_millis(200)).await;
    assert_eq!(own.probes(), 3);
    own.break_it(false);
    assert!(health.ready().await);
    assert_eq!((own.probes(), began.elapsed().as_millis()), (4, 350));
    // From now on in the usual interval.
    sleep(Duration::from_millis(10_100)).await;
    assert_eq!(own.probes(), 6);
}

#[tokio::test(start_paused = true)]
async fn pauses_of_a_check_that_has_never_passed_end_at_two_seconds() {
    let health = registry();
    let own = BackEnd::broken();
    health.check(own.check("own"));
    // 50 + 100 + 200 + 400 + 800 + 1600 = 3150 ms, and then 2 s each.
    sleep(Duration::from_millis(3_200)).await;
    assert_eq!(own.probes(), 7);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(own.probes(), 17);
    assert_eq!(check_named(&health, "own").state, CheckState::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_check_fails_after_three_failures_over_ten_seconds() {
    let health = registry();
    let own = BackEnd::default();
    health.check(own.check("own").required(true));
    health.open();
    assert!(health.ready().await);
    own.break_it(true);
    // It is probed after 5, 10 and 15 s.
    sleep(Duration::from_millis(14_900)).await;
    assert_eq!((check_named(&health, "own").failures, health.is_ready()), (2, true));
    sleep(Duration::from_millis(200)).await;
    assert_eq!((check_named(&health, "own").failures, health.is_ready()), (3, false));
    assert_eq!(check_named(&health, "own").last_problem.unwrap().sentence, "it is broken");
}

#[tokio::test(start_paused = true)]
async fn many_failures_in_a_short_time_do_not_fail_a_check() {
    let health = registry();
    let own = BackEnd::default();
    health.check(own.check("own").required(true).interval(Duration::from_millis(100)));
    health.open();
    assert!(health.ready().await);
    own.break_it(true);
    sleep(Duration::from_secs(9)).await;
    assert!(check_named(&health, "own").failures > 80);
    assert!(health.is_ready());
    sleep(Duration::from_secs(2)).await;
    assert!(!health.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_success_in_between_begins_the_count_again() {
    let health = registry();
    let own = BackEnd::default();
    health.check(own.check("own").required(true));
    health.open();
    assert!(health.ready().await);
    for _ in 0..10 {
        own.break_it(true);
        sleep(Duration::from_secs(10)).await;
        own.break_it(false);
        sleep(Duration::from_secs(5)).await;
        assert!(health.is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_failed_passes_after_two_successes() {
    let health = registry();
    let own = BackEnd::default();
    health.check(own.check("own").required(true));
    health.open();
    assert!(health.ready().await);
    own.break_it(true);
    sleep(Duration::from_millis(15_100)).await;
    assert!(!health.is_ready());
    own.break_it(false);
    sleep(Duration::from_secs(5)).await;
    assert!(!health.is_ready());
    sleep(Duration::from_secs(5)).await;
    assert!(health.is_ready());
    // What happened is still told.
    assert!(check_named(&health, "own").last_problem.is_some());
    assert_eq!(health.report().overall, Overall::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_degrades_leaves_the_server_ready() {
    let health = registry();
    let shared = BackEnd::default();
    health.check(shared.check("shared"));
    health.open();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(health.report().overall, Overall::Healthy);
    shared.break_it(true);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(states(&health), [Some(Serving); 5]);
    assert_eq!(health.report().overall, Overall::Degraded);
    assert_eq!(check_named(&health, "shared").state, CheckState::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_required_check_that_is_added_late_makes_the_server_unready_until_it_passes() {
    let health = registry();
    health.open();
    assert!(health.is_ready());
    let own = BackEnd::broken();
    health.check(own.check("own").required(true));
    assert!(!health.is_ready());
    assert_eq!(health.status("startup"), Some(Serving));
    own.break_it(false);
    assert!(health.ready().await);
}

#[tokio::test(start_paused = true)]
async fn liveness_depends_on_nothing_but_the_heartbeat() {
    let health = registry();
    health.check(BackEnd::broken().check("own").required(true));
    let _never = health.condition("never");
    health.open();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(health.status("liveness"), Some(Serving));
    assert!(health.is_live());
}

#[test]
fn liveness_fails_thirty_seconds_after_the_runtime_got_stuck() {
    let health = registry();
    let stuck = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(!health.is_live());
    stuck.block_on(async { health.open() });
    assert!(health.is_live());
    // Nobody drives it any more; another runtime has the time.
    let other = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    other.block_on(async {
        advance(Duration::from_secs(15)).await;
        assert_eq!((health.is_live(), health.status("liveness")), (true, Some(Serving)));
        advance(Duration::from_secs(16)).await;
        assert_eq!((health.is_live(), health.status("liveness")), (false, Some(NotServing)));
        assert_eq!(health.report().overall, Overall::Unhealthy);
    });
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_or_takes_too_long_has_failed() {
    let health = registry();
    let panics: fn() -> std::future::Ready<Result<(), String>> = || panic!("as planned");
    health.check(Check::new("panics at once", panics));
    health.check(Check::new("panics", || async {
        sleep(Duration::from_millis(1)).await;
        assert!(SystemTime::now() < SystemTime::UNIX_EPOCH, "as planned");
        Ok::<_, String>(())
    }));
    health.check(Check::new("hangs", std::future::pending::<Result<(), String>>));
    sleep(Duration::from_secs(3)).await;
    let sentence = |name| check_named(&health, name).last_problem.unwrap().sentence;
    assert_eq!(sentence("panics at once"), "its probe panicked; the log says why");
    assert_eq!(sentence("panics"), "its probe panicked; the log says why");
    assert_eq!(sentence("hangs"), "it gave no answer within 2s");
    // They are probed again.
    sleep(Duration::from_secs(10)).await;
    for name in ["panics at once", "panics", "hangs"] {
        assert!(check_named(&health, name).failures > 2, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_sentence_is_cut() {
    let health = registry();
    health.check(Check::new("verbose", || async { Err::<(), _>("ü".repeat(100_000) + "x") }));
    health.check(Check::new("odd", || async { Err::<(), _>("x".to_owned() + &"ü".repeat(100_000)) }));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(check_named(&health, "verbose").last_problem.unwrap().sentence.len(), 512);
    assert_eq!(check_named(&health, "odd").last_problem.unwrap().sentence.len(), 511);
}

#[tokio::test(start_paused = true)]
async fn a_lag_check_fails_over_its_limit() {
    let health = registry();
    for (name, lag) in [("at the limit", 30.0), ("over", 30.5), ("not a number", f64::NAN)] {
        health.check(Check::lag(name, 30.0, move || async move { Ok::<_, String>(lag) }));
    }
    health.check(Check::lag("unknown", 30.0, || async { Err("nobody knows") }));
    sleep(Duration::from_millis(10)).await;
    let found = |name| check_named(&health, name);
    assert_eq!((found("at the limit").state, found("at the limit").value), (CheckState::Passing, Some(30.0)));
    assert_eq!(found("over").last_problem.unwrap().sentence, "it is 30.500, and may be 30 at most");
    assert_eq!((found("over").value, found("over").limit), (Some(30.5), Some(30.0)));
    assert_eq!(found("not a number").failures, 1);
    assert_eq!((found("unknown").failures, found("unknown").value), (1, None));
}

#[tokio::test(start_paused = true)]
async fn checks_end_with_the_last_handle_or_when_the_server_drains() {
    // The probe holds it, and so does the task that runs it.
    let held = Arc::new(());
    let check = |held: Arc<()>| {
        Check::new("hangs", move || {
            let held = Arc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok::<_, String>(())
            }
        })
    };
    for drains in [true, false] {
        let health = registry();
        let other = health.clone();
        health.check(check(Arc::clone(&held)));
        sleep(Duration::from_millis(1)).await;
        drop(other);
        sleep(Duration::from_millis(1)).await;
        assert!(Arc::strong_count(&held) > 1);
        if drains {
            health.drain();
        } else {
            drop(health);
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_takes_the_place_of_the_earlier_one_of_its_name() {
    let health = registry();
    let (old, new) = (BackEnd::default(), BackEnd::broken());
    health.check(old.check("database").required(true));
    sleep(Duration::from_secs(1)).await;
    health.check(new.check("database").required(true));
    health.open();
    sleep(Duration::from_secs(60)).await;
    assert_eq!((old.probes(), health.is_ready()), (2, false));
    assert_eq!(health.report().checks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_set_is_never_better_than_the_server() {
    let health = registry();
    health.set("mirrored", Serving);
    assert_eq!(health.status("mirrored"), Some(NotServing));
    health.open();
    assert_eq!(health.status("mirrored"), Some(Serving));
    health.set("mirrored", NotServing);
    health.set("a.Service", Unknown);
    assert_eq!((health.status("mirrored"), health.status("a.Service")), (Some(NotServing), Some(Unknown)));
    assert_eq!(health.status(""), Some(Serving));
    // Known already: it stays as it is set.
    health.register("mirrored");
    assert_eq!(health.status("mirrored"), Some(NotServing));
    assert_eq!(health.status("unknown"), None);
}

#[test]
fn a_registry_can_be_made_and_opened_outside_of_a_runtime() {
    let health = Health::default();
    let _service = health.service();
    assert!(health.is_ready());
    assert!(!health.is_live());
}

#[tokio::test]
async fn a_condition_keeps_no_registry_alive() {
    let health = registry();
    let inner = Arc::downgrade(&health.0);
    let keys = health.condition("keys");
    drop(health);
    assert!(inner.upgrade().is_none());
    keys.met();
}
