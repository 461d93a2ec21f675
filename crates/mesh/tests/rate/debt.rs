//! What is admitted while Redis is out of reach counts when it is back: 100 at once and 10 a second, with or without outages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meshwork::server::rate::{Rate, RateLimiter, RedisSettings, Rule, Source};
use meshwork_testkit::Redis;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{connected, decided_by, namespace};

const BURST: u64 = 100;
const PER_SECOND: f64 = 10.0;
const SECOND: Duration = Duration::from_secs(1);

/// So many with `cargo xtask test --full`, else so many.
fn full_or(full: u32, less: u32) -> u32 {
    if std::env::var_os("MESHWORK_TEST_FULL").is_some() { full } else { less }
}

/// Callers of one account that ask all the time, at one gateway.
struct Callers {
    limiter: RateLimiter,
    callers: JoinSet<u64>,
    stop: Arc<AtomicBool>,
    begin: Instant,
}

impl Callers {
    fn start(limiter: &RateLimiter) -> Self {
        let (begin, stop, mut callers) = (Instant::now(), Arc::new(AtomicBool::new(false)), JoinSet::new());
        for _ in 0..4 {
            let (limiter, stop) = (limiter.clone(), Arc::clone(&stop));
            callers.spawn(async move {
                let rule = Rule::new("calls", Rate::per_second(BURST, PER_SECOND).unwrap());
                let mut admitted = 0;
                while !stop.load(Ordering::Relaxed) {
                    admitted += u64::from(limiter.decide(&rule, "anna").await.is_admitted());
                    sleep(Duration::from_millis(2)).await;
                }
                admitted
            });
        }
        Self { limiter: limiter.clone(), callers, stop, begin }
    }

    /// Ends when Redis has decided for a second again.
    async fn keep_to_the_limit(self) {
        decided_by(&self.limiter, Source::Redis).await;
        sleep(SECOND).await;
        self.stop.store(true, Ordering::Relaxed);
        let admitted: u64 = self.callers.join_all().await.into_iter().sum();
        let limit = BURST as f64 + PER_SECOND * self.begin.elapsed().as_secs_f64();
        assert!(admitted >= BURST && admitted as f64 <= limit * 1.1, "{admitted} of {limit}: {:?}", self.limiter);
        assert!(self.limiter.decisions().admitted(Source::Fallback) > 0, "{:?}", self.limiter);
    }
}

async fn gateway(redis: &Redis, test: &str) -> RateLimiter {
    connected(RateLimiter::builder().namespace(namespace(test)), RedisSettings::new(redis.url())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_6_what_was_admitted_while_redis_was_frozen_is_charged_when_it_is_back() {
    let redis = Redis::private(&[]);
    let limiter = gateway(&redis, "frozen").await;
    // The bucket is full, there and here.
    redis.freeze();
    let callers = Callers::start(&limiter);
    sleep(full_or(8, 3) * SECOND).await;
    redis.thaw();
    callers.keep_to_the_limit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_6_a_redis_that_freezes_each_other_second_gives_nobody_more() {
    let redis = Redis::private(&[]);
    let limiter = gateway(&redis, "flapping").await;
    let callers = Callers::start(&limiter);
    for _ in 0..full_or(7, 4) {
        redis.freeze();
        sleep(SECOND).await;
        redis.thaw();
        sleep(SECOND).await;
    }
    callers.keep_to_the_limit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_6_connections_that_are_killed_again_and_again_give_nobody_more() {
    let redis = Redis::private(&[]);
    let limiter = gateway(&redis, "killed").await;
    let mut connection = redis.connection();
    let callers = Callers::start(&limiter);
    for _ in 0..full_or(11, 7) {
        sleep(Duration::from_millis(700)).await;
        connection.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    callers.keep_to_the_limit().await;
}

#[tokio::test]
async fn rl_6_who_calls_seldom_is_denied_nothing_after_a_long_outage() {
    let redis = Redis::private(&[]);
    let limiter = gateway(&redis, "seldom").await;
    // It fills within 100 ms.
    let calls = Rule::new("calls", Rate::per_second(10, 100.0).unwrap());
    redis.freeze();
    decided_by(&limiter, Source::Fallback).await;
    for _ in 0..30 {
        assert!(limiter.decide(&calls, "anna").await.is_admitted());
        sleep(Duration::from_millis(50)).await;
    }
    redis.thaw();
    decided_by(&limiter, Source::Redis).await;
    // All but what was sent while it was frozen, if Redis has still read that.
    for _ in 0..5 {
        assert!(limiter.decide(&calls, "anna").await.is_admitted());
    }
}
