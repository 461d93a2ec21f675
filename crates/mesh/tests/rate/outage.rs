//! A Redis that freezes, goes away and comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meshwork::policy::CircuitBreaker;
use meshwork::server::rate::{OnFailure, Rate, RateLimiter, RedisSettings, Rule, Source};
use meshwork_testkit::Redis;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{DAY, call_from, connected, decided_by, layer, namespace, send};

/// How long Redis is frozen: longer with `cargo xtask test --full`.
fn outage() -> Duration {
    Duration::from_secs(if std::env::var_os("MESHWORK_TEST_FULL").is_some() { 10 } else { 3 })
}

fn ample(on_failure: OnFailure) -> Rule {
    Rule::new("ample", Rate::per_second(1_000_000, 1e6).unwrap()).on_failure(on_failure)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_6_a_frozen_redis_fails_no_call_of_an_open_route_and_closed_routes_deny() {
    let redis = Redis::private(&[]);
    let limiter = connected(RateLimiter::builder(), RedisSettings::new(redis.url())).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for (caller, on_failure) in [OnFailure::Open, OnFailure::OpenLocal].into_iter().cycle().take(6).enumerate() {
        let (stop, layer) = (Arc::clone(&stop), layer(&limiter, ample(on_failure)));
        callers.spawn(async move {
            let mut waits = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                send(&layer, call_from(&format!("192.0.2.{caller}"))).await.unwrap();
                waits.push(start.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            waits
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.freeze();
    let begin = Instant::now();
    decided_by(&limiter, Source::Fallback).await;
    let closed = layer(&limiter, ample(OnFailure::Closed));
    while begin.elapsed() < outage() {
        let status = send(&closed, call_from("192.0.2.9")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    redis.thaw();
    decided_by(&limiter, Source::Redis).await;
    stop.store(true, Ordering::Relaxed);
    let mut waits: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    waits.sort_unstable();
    assert!(waits.len() > 500, "{} calls", waits.len());
    // The bench has the figure (10 ms at most); here only that a call never waits for Redis itself.
    let p99 = waits[waits.len() * 99 / 100];
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    // Closed routes are open again.
    let begin = Instant::now();
    while send(&closed, call_from("192.0.2.9")).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_6_instances_that_decide_alone_admit_their_shares_of_the_limit() {
    const RATE: f64 = 200.0;
    let redis = Redis::private(&[]);
    let namespace = namespace("shares");
    let rule = Rule::new("calls", Rate::per_second(20, RATE).unwrap());
    let mut limiters = Vec::new();
    for _ in 0..2 {
        let builder = RateLimiter::builder().namespace(namespace.clone()).instances(2);
        limiters.push(connected(builder, RedisSettings::new(redis.url())).await);
    }
    let begin = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for limiter in limiters.clone() {
        let (stop, rule) = (Arc::clone(&stop), rule.clone());
        callers.spawn(async move {
            let mut admitted = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                admitted += u64::from(limiter.decide(&rule, "anna").await.is_admitted());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            admitted
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.freeze();
    tokio::time::sleep(outage()).await;
    stop.store(true, Ordering::Relaxed);
    let admitted: u64 = callers.join_all().await.into_iter().sum();
    let limit = 20.0 + RATE * begin.elapsed().as_secs_f64();
    assert!(admitted as f64 <= limit * 1.1, "{admitted} of {limit}");
    assert!(limiters.iter().all(|limiter| limiter.decisions().admitted(Source::Fallback) > 0), "{limiters:?}");
}

#[tokio::test]
async fn rl_6_what_was_spent_in_redis_is_not_spent_once_more_when_it_is_gone() {
    let redis = Redis::private(&[]);
    // Patient while it is there, and done with it at once when it isn't.
    let breaker = CircuitBreaker {
        consecutive_failures: Some(1),
        failure_rate: None,
        open_for: Duration::from_secs(1),
        ..CircuitBreaker::default()
    };
    let settings = RedisSettings::new(redis.url()).budget(Duration::from_secs(2)).breaker(breaker);
    let limiter = connected(RateLimiter::builder(), settings).await;
    let rule = Rule::new("calls", Rate::new(100, 1, DAY).unwrap());
    for _ in 0..90 {
        assert!(limiter.decide(&rule, "anna").await.is_admitted());
    }
    // It goes away, and its connections with it.
    drop(redis);
    let mut admitted = 0;
    for _ in 0..100 {
        admitted += u64::from(limiter.decide(&rule, "anna").await.is_admitted());
    }
    assert_eq!(admitted, 10);
    assert!(limiter.decisions().refused(Source::Fallback) > 0);
}

#[tokio::test]
async fn rl_6_a_server_starts_without_redis_and_finds_it_later() {
    // A Redis that hangs from the start: nobody is answered.
    let redis = Redis::private(&[]);
    redis.freeze();
    let limiter = RateLimiter::builder().redis(RedisSettings::new(redis.url())).unwrap();
    for _ in 0..20 {
        assert!(limiter.decide(&ample(OnFailure::OpenLocal), "anna").await.is_admitted());
    }
    assert_eq!(limiter.decisions().admitted(Source::Redis), 0);
    redis.thaw();
    decided_by(&limiter, Source::Redis).await;
}

#[tokio::test]
async fn rl_6_a_redis_that_is_killed_and_started_again_decides_again() {
    let redis = Redis::private(&[]);
    let limiter = connected(RateLimiter::builder(), RedisSettings::new(redis.url())).await;
    let open = layer(&limiter, ample(OnFailure::OpenLocal));
    redis.kill();
    for _ in 0..50 {
        send(&open, call_from("192.0.2.1")).await.unwrap();
    }
    redis.start_again();
    decided_by(&limiter, Source::Redis).await;
    send(&open, call_from("192.0.2.1")).await.unwrap();
}

/// An address that leads to `first`, and later to where the sender says, as a name does that moves. Connections stay where
/// they are.
async fn moving_address(first: SocketAddr) -> (SocketAddr, watch::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (move_to, now) = watch::channel(first);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let target = *now.borrow();
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                }
            });
        }
    });
    (address, move_to)
}

fn address(redis: &Redis) -> SocketAddr {
    redis.url().trim_start_matches("redis://").parse().unwrap()
}

/// The connection stays, and the server at its end takes no writes any more.
#[tokio::test]
async fn s15_rl_6_a_redis_that_was_demoted_is_left_for_the_one_that_took_its_place() {
    let (old, new) = (Redis::private(&[]), Redis::private(&[]));
    let (at, move_to) = moving_address(address(&old)).await;
    let limiter = connected(RateLimiter::builder(), RedisSettings::new(format!("redis://{at}"))).await;
    new.replica_of(&old);
    new.promote();
    old.replica_of(&new);
    move_to.send(address(&new)).unwrap();
    // Not one call of an open route fails meanwhile.
    let open = layer(&limiter, ample(OnFailure::OpenLocal));
    for _ in 0..20 {
        send(&open, call_from("192.0.2.1")).await.unwrap();
    }
    decided_by(&limiter, Source::Redis).await;
    let role = new.connection().command(&["ROLE"]);
    assert!(role.starts_with("master"), "{role}");
    // What is decided now is kept there.
    let once = Rule::new("once", Rate::new(5, 1, DAY).unwrap());
    assert!(limiter.decide(&once, "anna").await.is_admitted());
    assert!(limiter.decisions().admitted(Source::Redis) > 0, "{limiter:?}");
}

/// `old` can't decide any more, and another has its place.
async fn left_for_another(old: Redis, becomes_unfit: impl FnOnce(&Redis)) {
    let new = Redis::private(&[]);
    let (at, move_to) = moving_address(address(&old)).await;
    let limiter = connected(RateLimiter::builder(), RedisSettings::new(format!("redis://{at}"))).await;
    becomes_unfit(&old);
    move_to.send(address(&new)).unwrap();
    // The old one decides nothing: these are decisions of the new one.
    decided_by(&limiter, Source::Redis).await;
}

#[tokio::test]
async fn s15_a_redis_that_has_lost_its_primary_is_left_for_another() {
    left_for_another(Redis::private(&["--replica-serve-stale-data", "no"]), Redis::fall_behind).await;
}

#[tokio::test]
async fn s15_a_redis_that_has_lost_its_replicas_is_left_for_another() {
    left_for_another(Redis::private(&[]), |old| {
        let reply = old.connection().command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        assert_eq!(reply, "OK");
    })
    .await;
}

/// Tokens were taken for a call whose time was over when that was told.
#[tokio::test]
async fn s10_rl_8_tokens_in_advance_whose_answer_is_late_are_for_later_calls() {
    let redis = Redis::private(&[]);
    let limiter = connected(RateLimiter::builder(), RedisSettings::new(redis.url()).leases(true)).await;
    let rule = Rule::new("calls", Rate::new(1000, 1, DAY).unwrap());
    let spent = || limiter.decisions().admitted(Source::Lease);
    // On a machine that is held up the answer may come after the life of what was taken: then once more, with another.
    for caller in 0..20 {
        let (key, before) = (format!("caller-{caller}"), spent());
        redis.freeze();
        assert!(limiter.decide(&rule, &key).await.is_admitted());
        redis.thaw();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(limiter.decide(&rule, &key).await.is_admitted());
        if spent() > before {
            return;
        }
    }
    panic!("no call has spent what was taken for one before: {limiter:?}");
}
