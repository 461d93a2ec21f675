//! What a process admits by itself is charged to the shared bucket when that is in reach again.

use std::time::Duration;

use tokio::time::advance;

use crate::random::Random;
use crate::server::rate::bucket::Bucket;
use crate::server::rate::key::BucketName;
use crate::server::rate::local::{By, Local, Want};
use crate::server::rate::{OnFailure, Rate};

const SECOND: Duration = Duration::from_secs(1);

fn want(burst: u64, per_second: f64, instances: u32) -> Want {
    let rate = Rate::per_second(burst, per_second).unwrap();
    Want {
        rule: 0,
        name: BucketName::of("test", "r", "own:", "anna"),
        rate,
        instances,
        on_failure: OnFailure::default(),
    }
}

/// The whole tokens that are owed now. They are owed still.
fn owed(local: &Local, want: &Want) -> u64 {
    let debt = local.take_debt(want);
    local.owe_again(want, debt);
    want.rate.tokens(debt.left(&want.rate, want.instances, local.now()))
}

#[tokio::test(start_paused = true)]
async fn rl_6_what_is_admitted_here_is_owed_once_and_at_most_a_burst() {
    let local = Local::new(By::Share, 1000);
    let anna = want(100, 10.0, 1);
    assert_eq!(owed(&local, &anna), 0);
    for count in 1..=250 {
        local.owe(std::slice::from_ref(&anna));
        assert_eq!(owed(&local, &anna), count.min(100));
    }
    let taken = local.take_debt(&anna);
    assert_eq!(owed(&local, &anna), 0, "it is on its way");
    local.owe(std::slice::from_ref(&anna));
    local.owe_again(&anna, taken);
    assert_eq!(owed(&local, &anna), 100);
    local.take_debt(&anna);
    assert_eq!(local.keys(), 0, "who owes nothing isn't remembered");
}

#[tokio::test(start_paused = true)]
async fn rl_6_what_is_given_back_is_owed_no_more() {
    let local = Local::new(By::Share, 1000);
    let anna = want(100, 10.0, 1);
    assert!(!local.forgive(&anna), "nothing is owed");
    for _ in 0..3 {
        local.owe(std::slice::from_ref(&anna));
    }
    for left in [2, 1, 0] {
        assert!(local.forgive(&anna));
        assert_eq!(owed(&local, &anna), left);
    }
    assert!(!local.forgive(&anna));
    assert_eq!(local.keys(), 0, "who owes nothing isn't remembered");
    local.owe(std::slice::from_ref(&anna));
    advance(11 * SECOND).await;
    assert!(!local.forgive(&anna), "it was paid off");
}

#[tokio::test(start_paused = true)]
async fn rl_6_a_debt_lessens_once_the_shared_bucket_must_be_full_at_the_share_of_the_instance() {
    let local = Local::new(By::Share, 1000);
    for (instances, per_second) in [(1, 10), (5, 2)] {
        let anna = want(100, 10.0, instances);
        for _ in 0..50 {
            local.owe(std::slice::from_ref(&anna));
        }
        advance(10 * SECOND).await;
        assert_eq!(owed(&local, &anna), 50, "it may have been empty, and is full only now");
        advance(SECOND).await;
        assert_eq!(owed(&local, &anna), 50 - per_second);
        // Those that failed to be charged lessen on.
        local.owe(std::slice::from_ref(&anna));
        advance(SECOND).await;
        assert_eq!(owed(&local, &anna), 51 - 2 * per_second);
        advance(30 * SECOND).await;
        assert_eq!(owed(&local, &anna), 0, "who calls seldom owes nothing after a long outage");
        assert_eq!(local.keys(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn rl_6_outages_by_a_clock_admit_no_more_than_burst_plus_rate() {
    let random = Random::seeded(6);
    for (burst, per_second) in [(1_u64, 0.1), (20, 10.0), (100, 10.0), (100, 1000.0), (500, 50_000.0)] {
        let anna = want(burst, per_second, 1);
        let (rate, wants) = (anna.rate, std::slice::from_ref(&anna));
        let local = Local::new(By::Share, 1000);
        // The bucket in Redis, and one that loses a token for each call that is admitted by either: it never lacks any.
        let mut shared: Option<Bucket> = None;
        let (mut level, mut last) = (burst as f64, 0);
        let (mut by_redis, mut alone) = (0, 0);
        let mut is_away = false;
        for _ in 0..2000 {
            let pause = random.fraction().powi(4) * 2.0 * burst as f64 / per_second;
            advance(Duration::from_micros((pause * 1e6) as u64)).await;
            if random.below(20) == 0 {
                is_away = !is_away;
            }
            let now = local.now();
            level = (level + (now - last) as f64 * per_second / 1e6).min(burst as f64);
            last = now;
            for _ in 0..=random.below(2 * burst as usize) {
                let at = now / rate.unit();
                let admitted = if is_away {
                    let admitted = local.take(wants).is_admitted();
                    if admitted {
                        local.owe(wants);
                        alone += 1;
                    }
                    admitted
                } else {
                    let debt = local.take_debt(&anna).left(&rate, 1, now);
                    let filled = Bucket::filled(&rate, shared, at);
                    let charged = Bucket { level: filled.level.saturating_sub(debt), ..filled };
                    let (verdict, left) = charged.ask(&rate, 1, at);
                    shared = Some(left);
                    if verdict.allowed {
                        local.charge(wants, 1);
                        by_redis += 1;
                    }
                    verdict.allowed
                };
                if !admitted {
                    break;
                }
                level -= 1.0;
                assert!(level > -0.01, "{burst}, {per_second}: at {now} µs it lacks {level}");
            }
        }
        assert!(by_redis > 100 && alone > 100, "{burst}, {per_second}: {by_redis} by Redis, {alone} without it");
    }
}
