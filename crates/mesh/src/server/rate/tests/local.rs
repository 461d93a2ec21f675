//! Buckets in the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance};

use crate::random::Random;
use crate::server::rate::bucket::Bucket;
use crate::server::rate::key::BucketName;
use crate::server::rate::local::{By, Lease, Local, Want};
use crate::server::rate::{Decision, OnFailure, Quota, Rate, RateLimiter, Rule, Source};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn rule(rate: Rate) -> Rule {
    Rule::new("test", rate)
}

fn want(rule: usize, key: &str, rate: Rate) -> Want {
    let name = BucketName::of("test", &format!("r{rule}"), "own:", key);
    Want { rule, name, rate, instances: 1, on_failure: OnFailure::default() }
}

#[tokio::test(start_paused = true)]
async fn rl_2_a_burst_passes_and_the_wait_is_true() {
    let limiter = RateLimiter::in_process();
    let rule = rule(Rate::per_second(3, 10.0).unwrap());
    for remaining in [2, 1, 0] {
        let reset_after = Duration::from_millis(100 * (3 - remaining));
        let quota = Some(Quota { rule: 0, remaining, reset_after });
        assert_eq!(limiter.decide(&rule, "anna").await, Decision::Admitted { quota });
    }
    let wait = Duration::from_millis(100);
    assert_eq!(limiter.decide(&rule, "anna").await, Decision::Denied { rule: 0, retry_after: wait });
    assert!(limiter.decide(&rule, "bert").await.is_admitted());
    advance(wait - Duration::from_micros(1)).await;
    assert!(!limiter.decide(&rule, "anna").await.is_admitted());
    advance(Duration::from_micros(1)).await;
    assert!(limiter.decide(&rule, "anna").await.is_admitted());
    assert!(!limiter.decide(&rule, "anna").await.is_admitted());
    let decisions = limiter.decisions();
    assert_eq!((decisions.admitted(Source::Local), decisions.refused(Source::Local)), (5, 3));
}

#[tokio::test(start_paused = true)]
async fn rl_2_no_pattern_of_calls_gets_more_than_burst_plus_rate() {
    let random = Random::seeded(3);
    for (burst, per_second) in [(1, 1.0 / 86_400.0), (5, 0.1), (20, 10.0), (100, 1000.0), (50, 50_000.0)] {
        let rate = Rate::per_second(burst, per_second).unwrap();
        let (limiter, rule, start) = (RateLimiter::in_process(), rule(rate), Instant::now());
        let mut admitted: Vec<f64> = Vec::new();
        for _ in 0..3000 {
            let pause = random.fraction().powi(3) * 5.0 / per_second;
            advance(Duration::from_micros((pause * 1e6) as u64)).await;
            for _ in 0..=random.below(3) {
                if limiter.decide(&rule, "anna").await.is_admitted() {
                    admitted.push(start.elapsed().as_secs_f64());
                }
            }
        }
        assert!(admitted.len() as u64 > burst, "{per_second}: some have to come back");
        // Each window from one admitted call to another.
        for (first, begin) in admitted.iter().enumerate() {
            for (last, end) in admitted.iter().enumerate().skip(first) {
                let most = burst as f64 + per_second * (end - begin) + 1e-6 * per_second + 1e-9;
                assert!((last - first + 1) as f64 <= most, "{per_second}: {} in {} s", last - first + 1, end - begin);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rl_3_a_bucket_that_was_forgotten_is_as_one_that_was_kept() {
    let random = Random::seeded(4);
    let rate = Rate::new(10, 10, DAY).unwrap();
    let (limiter, rule, start) = (RateLimiter::in_process(), rule(rate), Instant::now());
    let mut kept = None;
    for _ in 0..5000 {
        let share = [0.0, 0.0, 0.001, 0.1, 0.5, 1.0, 10.0][random.below(7)];
        advance(DAY.mul_f64(share)).await;
        limiter.keys();
        let now = start.elapsed().as_micros() as u64;
        let (verdict, left) = Bucket::filled(&rate, kept, now).ask(&rate, 1, now);
        kept = Some(left);
        assert_eq!(limiter.decide(&rule, "anna").await.is_admitted(), verdict.allowed);
    }
}

#[test]
fn rl_4_two_hundred_callers_admit_exactly_the_burst() {
    let limiter = RateLimiter::in_process();
    let rule = Arc::new(rule(Rate::new(100, 1, DAY).unwrap()));
    let barrier = std::sync::Barrier::new(200);
    let admitted: usize = std::thread::scope(|scope| {
        let call = || {
            barrier.wait();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { usize::from(limiter.decide(&rule, "anna").await.is_admitted()) })
        };
        let threads: Vec<_> = (0..200).map(|_| scope.spawn(call)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 100);
}

#[tokio::test(start_paused = true)]
async fn rl_9_idle_keys_are_gone_when_their_buckets_are_full() {
    let limiter = RateLimiter::in_process();
    let rule = rule(Rate::per_second(2, 1.0).unwrap());
    limiter.decide(&rule, "anna").await;
    limiter.decide(&rule, "bert").await;
    limiter.decide(&rule, "bert").await;
    assert_eq!(limiter.keys(), 2);
    advance(Duration::from_secs(1)).await;
    assert_eq!(limiter.keys(), 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(limiter.keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn rl_9_the_number_of_buckets_is_bounded_and_the_emptiest_stay() {
    let limiter = RateLimiter::builder().max_keys(6400).in_process();
    let rule = rule(Rate::new(5, 5, DAY).unwrap());
    for _ in 0..5 {
        limiter.decide(&rule, "spent").await;
    }
    for stranger in 0..50_000 {
        limiter.decide(&rule, &stranger.to_string()).await;
    }
    let keys = limiter.keys();
    assert!((3000..=6400).contains(&keys), "{keys}");
    assert!(!limiter.decide(&rule, "spent").await.is_admitted(), "new keys give nobody a second burst");
}

#[tokio::test(start_paused = true)]
async fn several_limits_are_checked_together_and_then_taken_together() {
    let local = Local::new(By::Rate, 1000);
    let wide = want(0, "all", Rate::new(3, 3, DAY).unwrap());
    let narrow = want(1, "anna", Rate::new(1, 1, DAY).unwrap());
    assert!(local.take(&[wide.clone(), narrow.clone()]).is_admitted());
    for _ in 0..10 {
        let decision = local.take(&[wide.clone(), narrow.clone()]);
        assert_eq!(decision, Decision::Denied { rule: 1, retry_after: DAY });
    }
    let quota = Some(Quota { rule: 0, remaining: 1, reset_after: 2 * DAY });
    assert_eq!(local.take(std::slice::from_ref(&wide)), Decision::Admitted { quota }, "denials took nothing");
    // Locked in one order, whichever way round they are named.
    let calls = |wants: [Want; 2]| {
        let local = &local;
        move || assert!((0..1000).all(|_| !local.take(&wants).is_admitted()))
    };
    std::thread::scope(|scope| {
        scope.spawn(calls([wide.clone(), narrow.clone()]));
        scope.spawn(calls([narrow.clone(), wide.clone()]));
    });
}

#[tokio::test(start_paused = true)]
async fn rl_8_a_denial_is_kept_until_its_end() {
    let local = Local::new(By::Share, 1000);
    let [anna, bert] = ["anna", "bert"].map(|key| want(7, key, Rate::per_second(1, 1.0).unwrap()));
    local.deny(&anna, Duration::from_secs(5));
    advance(Duration::from_secs(2)).await;
    let denied = Decision::Denied { rule: 7, retry_after: Duration::from_secs(3) };
    assert_eq!(local.denied(&[bert.clone(), anna.clone()]), Some(denied));
    assert_eq!(local.denied(&[bert]), None);
    advance(Duration::from_secs(3)).await;
    assert_eq!(local.denied(std::slice::from_ref(&anna)), None);
    assert_eq!(local.keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn rl_6_what_others_admit_is_charged_here_as_far_as_there_is_something() {
    let local = Local::new(By::Share, 1000);
    let anna = want(0, "anna", Rate::per_second(2, 1.0).unwrap());
    for _ in 0..5 {
        local.charge(std::slice::from_ref(&anna), 1);
    }
    let decision = local.take(std::slice::from_ref(&anna));
    assert_eq!(decision, Decision::Denied { rule: 0, retry_after: Duration::from_secs(1) });
}

#[tokio::test(start_paused = true)]
async fn rl_8_tokens_in_advance_are_spent_once_within_their_life_by_one_who_took_them() {
    let local = Local::new(By::Share, 1000);
    let anna = want(0, "anna", Rate::per_second(100, 100.0).unwrap());
    assert_eq!(local.spend(&anna), None);
    let patience = Duration::from_millis(10);
    assert!(local.claim(&anna, patience) && !local.claim(&anna, patience));
    advance(patience).await;
    assert!(local.claim(&anna, patience), "who never came back is not waited for");
    let second = Duration::from_secs(1);
    // The bucket has given half of what it holds.
    let level = anna.rate.capacity() / 2;
    local.keep(&anna, Lease::new(2, level, local.now(), second));
    assert_eq!([local.spend(&anna), local.spend(&anna), local.spend(&anna)], [Some(1), Some(0), None]);
    assert!(local.claim(&anna, patience));
    local.keep(&anna, Lease::new(2, 0, local.now(), second));
    advance(second - Duration::from_micros(1)).await;
    assert_eq!(local.spend(&anna), None, "the bucket is full again");
    local.keep(&anna, Lease::new(2, 0, local.now(), second / 2));
    advance(second / 2).await;
    assert_eq!(local.spend(&anna), None, "what is not spent is lost");
}

#[tokio::test(start_paused = true)]
async fn rl_8_what_comes_back_to_the_bucket_takes_the_place_of_tokens_in_advance() {
    let local = Local::new(By::Share, 1000);
    let anna = want(0, "anna", Rate::per_second(100, 10.0).unwrap());
    // Ten, and one for the call that asked, of a full bucket: one comes back in 100 ms.
    let level = anna.rate.capacity() / 100 * 89;
    local.keep(&anna, Lease::new(10, level, local.now(), Duration::from_secs(1)));
    assert_eq!(local.spend(&anna), Some(9));
    advance(Duration::from_millis(500)).await;
    assert_eq!(local.spend(&anna), Some(4), "the bucket has 94, and five with those make less than 100");
    advance(Duration::from_millis(450)).await;
    assert_eq!(local.spend(&anna), Some(0));
    assert_eq!(local.spend(&anna), None);
}

#[tokio::test(start_paused = true)]
async fn s10_rl_8_instances_with_leases_admit_no_more_than_burst_plus_rate_by_a_clock() {
    let random = Random::seeded(5);
    let second = Duration::from_secs(1);
    for (burst, per_second) in [(10_u64, 1.0), (20, 10.0), (100, 1000.0), (1000, 50_000.0)] {
        let anna = want(0, "anna", Rate::per_second(burst, per_second).unwrap());
        let (rate, most) = (anna.rate, burst as usize / 10);
        let instances: [Local; 3] = std::array::from_fn(|_| Local::new(By::Share, 1000));
        // The bucket in Redis, and one that loses a token when a call is admitted, not when it is lent: this one never lacks
        // any.
        let mut shared: Option<Bucket> = None;
        let (mut level, mut last) = (burst as f64, 0);
        let (mut of_leases, mut admitted) = (0, 0);
        for _ in 0..3000 {
            let pause = random.fraction().powi(4) * 2.0 * burst as f64 / per_second;
            advance(Duration::from_micros((pause * 1e6) as u64)).await;
            let local = &instances[random.below(3)];
            let now = local.now();
            level = (level + (now - last) as f64 * per_second / 1e6).min(burst as f64);
            last = now;
            for _ in 0..=random.below(most.min(10) * 10) {
                if local.spend(&anna).is_some() {
                    of_leases += 1;
                } else {
                    let at = now / rate.unit();
                    let bucket = Bucket::filled(&rate, shared, at);
                    let tokens = 1 + random.below(most) as u64;
                    let (lent, left) = bucket.ask(&rate, tokens + 1, at);
                    if lent.allowed {
                        shared = Some(left);
                        local.keep(&anna, Lease::new(tokens, left.level, now, second));
                    } else {
                        let (one, left) = bucket.ask(&rate, 1, at);
                        if !one.allowed {
                            break;
                        }
                        shared = Some(left);
                    }
                }
                level -= 1.0;
                admitted += 1;
                assert!(level > -0.01, "{per_second}: call {admitted}, at {now} µs, lacks {level}");
            }
        }
        assert!(of_leases > 500, "{per_second}: {of_leases} of {admitted} by leases");
    }
}
