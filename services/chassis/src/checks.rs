//! The checks of a service: what it depends on, and how far behind it is.
//!
//! A service's own files are required. The event bus isn't, since all services share it: that it fails makes a service worse,
//! and none of its instances would be better. Nor is a lag, which another instance would have as well.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use meshwork::errors::bounded;
pub use meshwork::server::health::Check;
use meshwork_events::{ConsumerState, Progress};
use meshwork_sql::{Postgres, ReplicaStats};

/// The most bytes of what a check says of parked events, or of what keeps events from going on.
const MAX_SENTENCE: usize = 400;

/// A check of what belongs to this service alone, such as its database; without it the service isn't ready.
pub fn own<T, F, E>(name: &str, of: T, ping: impl Fn(T) -> F + Send + Sync + 'static) -> Check
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    shared(name, of, ping).required(true)
}

/// A check of what others depend on as well, such as the event bus; without it the service is degraded.
pub fn shared<T, F, E>(name: &str, of: T, ping: impl Fn(T) -> F + Send + Sync + 'static) -> Check
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display,
{
    Check::new(name, move || ping(of.clone()))
}

/// A check of how far behind something is, in seconds; the service is degraded when that is more than `limit`, or when
/// something has kept it from going on for as long as it takes a check to fail; at once when that doesn't pass by itself. The
/// check says what it is.
pub fn lag(name: &str, limit: Duration, progress: Progress) -> Check {
    let stopped = progress.clone();
    let check = Check::lag(name, limit.as_secs_f64(), move || {
        std::future::ready(behind(progress.lag(), limit, progress.problem().as_deref()))
    });
    check.fails_at_once_if(move || stopped.is_stopped())
}

/// The lag in seconds, or a sentence about what it comes from.
fn behind(lag: Duration, limit: Duration, problem: Option<&str>) -> Result<f64, String> {
    let Some(problem) = problem else { return Ok(lag.as_secs_f64()) };
    let (lag, limit) = (lag.as_secs(), limit.as_secs());
    // The problem comes last, since it may be cut.
    Err(bounded(format_args!("it is {lag} s behind, and may be {limit} s at most: {problem}"), MAX_SENTENCE))
}

/// A check of what a consumer could not handle: the service is degraded while events are parked, and the check says of which
/// aggregate the first one is.
pub fn dead_letters(state: Arc<dyn ConsumerState>) -> Check {
    Check::new("dead letters", move || {
        let state = state.clone();
        async move {
            let parked = state.summary().await.map_err(|error| error.to_string())?;
            match parked.first {
                None => Ok(()),
                Some((subject, reason)) => Err(bounded(
                    format_args!(
                        "{} events of {} aggregates are parked; the first is of {subject}: {reason}; `meshwork deadletters list` \
                         shows them",
                        parked.letters, parked.aggregates
                    ),
                    MAX_SENTENCE,
                )),
            }
        }
    })
}

/// A check of a database's replicas: the service is degraded while one of them isn't read from, and the check says why. Reads
/// go to the others or to the primary meanwhile, so that nothing fails.
pub fn replicas(name: &str, db: Postgres) -> Check {
    shared(name, db, |db: Postgres| std::future::ready(all_are_read(&db.replicas())))
}

/// A sentence about the replicas that aren't read from, if there are any.
fn all_are_read(replicas: &[ReplicaStats]) -> Result<(), String> {
    let left_out = replicas.iter().filter(|replica| !replica.selected);
    let told: Vec<_> = left_out.map(|replica| format!("{} ({})", replica.name, why_not(replica))).collect();
    if told.is_empty() {
        return Ok(());
    }
    let (count, all) = (told.len(), replicas.len());
    Err(bounded(
        format_args!(
            "{count} of {all} replicas are not read from, and the others or the primary are instead: {}",
            told.join(", ")
        ),
        MAX_SENTENCE,
    ))
}

/// Why a replica isn't read from.
fn why_not(replica: &ReplicaStats) -> String {
    match (&replica.problem, replica.lag, replica.lag_bytes) {
        (Some(problem), _, _) => problem.clone(),
        (None, Some(lag), Some(bytes)) => format!("it is {} ms and {bytes} bytes behind", lag.as_millis()),
        (None, Some(lag), None) => format!("it is {} ms behind", lag.as_millis()),
        (None, None, Some(bytes)) => format!("it is {bytes} bytes behind"),
        (None, None, None) => "it has not been looked at yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use meshwork::server::health::{CheckState, Health, Overall};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_its_own_makes_a_service_unready() {
        let health = Health::new();
        health.open();
        let ping = |works: bool| std::future::ready(if works { Ok(()) } else { Err("it is down") });
        health.check(own("database", true, ping));
        health.check(shared("bus", false, ping));
        let behind = Progress::new(1);
        tokio::time::advance(Duration::from_secs(31)).await;
        health.check(lag("relay", Duration::from_secs(30), behind));
        // It has nothing to do.
        health.check(lag("consumer", Duration::from_secs(30), Progress::new(0)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(health.is_ready());
        let report = health.report();
        assert_eq!(report.overall, Overall::Degraded);
        let passing = report.checks.iter().filter(|check| check.state == CheckState::Passing);
        assert_eq!(passing.map(|check| check.name.as_str()).collect::<Vec<_>>(), ["consumer", "database"]);
        health.check(own("database", false, ping));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!health.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_by_itself_fails_a_check_at_its_next_look() {
        let health = Health::new();
        let (retried, stopped) = (Progress::new(1), Progress::new(1));
        health.check(lag("retried", Duration::from_secs(30), retried.clone()));
        health.check(lag("stopped", Duration::from_secs(30), stopped.clone()));
        let states = || health.report().checks.into_iter().map(|check| check.state).collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(states(), [CheckState::Passing, CheckState::Passing]);
        retried.failed(0, "the bus is away");
        stopped.stopped(0, "it has diverged");
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(states(), [CheckState::Passing, CheckState::Failed]);
    }

    #[test]
    fn a_lag_is_told_with_what_it_comes_from() {
        let (second, limit) = (Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(behind(31 * second, limit, None), Ok(31.0));
        // It isn't waited for that the lag has grown, when it is known that it will.
        for seconds in [2, 31] {
            let told = behind(seconds * second, limit, Some("the stream is full")).unwrap_err();
            assert_eq!(told, format!("it is {seconds} s behind, and may be 30 s at most: the stream is full"));
        }
        assert!(behind(second, limit, Some(&"ü".repeat(10_000))).unwrap_err().len() <= MAX_SENTENCE);
    }

    #[test]
    fn replicas_that_are_not_read_from_are_named_with_the_reason() {
        let replica = |name: &str, problem: Option<&str>| ReplicaStats {
            name: name.to_owned(),
            selected: false,
            lag_bytes: Some(99),
            lag: Some(Duration::from_secs(5)),
            problem: problem.map(str::to_owned),
            reads: 0,
        };
        let selected = ReplicaStats { selected: true, ..replica("a:1", None) };
        assert_eq!(all_are_read(&[]), Ok(()));
        assert_eq!(all_are_read(std::slice::from_ref(&selected)), Ok(()));
        let told = all_are_read(&[selected, replica("b:2", Some("it is out of reach")), replica("c:3", None)]);
        assert_eq!(
            told.unwrap_err(),
            "2 of 3 replicas are not read from, and the others or the primary are instead: b:2 (it is out of reach), c:3 (it is \
             5000 ms and 99 bytes behind)"
        );
        let many = vec![replica("b:2", Some(&"ü".repeat(10_000))); 16];
        assert!(all_are_read(&many).unwrap_err().len() <= MAX_SENTENCE);
    }
}
