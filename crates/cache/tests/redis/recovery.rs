//! CA-7 and CA-8: Redis comes back in ways that tell nobody: on another connection, with older data, or too slowly to be
//! of use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_cache::{LinkState, Wanted};
use meshwork_testkit::{FaultProxy, Redis};
use tokio::time::sleep;

use crate::server::{PATIENCE, eventually, prefix, shared, value_key};
use crate::truth::{Article, Truth};
use crate::world::{Healing, Process, hasty, patient, steady};

/// Within which time another connection is used: a silence is one after two seconds; a busy machine adds to it.
const ANOTHER: Duration = Duration::from_secs(6);
/// For how long Redis is slow, and how often at most the link is lost in that time.
const SLOW: (Duration, u64) = (Duration::from_secs(6), 7);

async fn proxy(redis: &Redis) -> FaultProxy {
    FaultProxy::start(redis.url().trim_start_matches("redis://").parse().unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_7_a_connection_that_died_in_silence_is_given_up_for_another() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("silent"), Truth::new());
    let proxy = proxy(&redis).await;
    let process = Process::connected(hasty(&proxy.url("redis"), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("a", Some("text"));
    process.comes_to_hold("a").await;
    let connections = proxy.connections();
    proxy.swallow_current().await;
    process.goes_down().await;
    // Whoever writes on meanwhile writes into nothing.
    let mut last = 1;
    eventually("another connection is used", ANOTHER, async || {
        last = process.write("a", "more text").await;
        assert_eq!(process.read("a").await, last);
        process.tiers.state() == Some(LinkState::Up)
    })
    .await;
    assert!(proxy.connections() > connections);
    assert_eq!(process.tiers.stats().queued, 0);
    assert_eq!(other.read("a").await, last);
    // What others write is told on the new one.
    process.comes_to_hold("a").await;
    let next = other.change("a", Some("by another")).await;
    eventually("the change is seen", Duration::from_secs(1), async || process.read("a").await == next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_redis_with_the_data_of_before_a_bump_and_a_tombstone_answers_nothing_that_is_old() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("older"), Truth::new());
    let mut processes = Vec::new();
    for _ in 0..2 {
        let process = Arc::new(Process::connected(hasty(redis.url(), &prefix), steady(), &truth).await);
        process.heal(Healing::Marks).await;
        processes.push(process);
    }
    for key in ["written", "changed", "deleted", "item"] {
        processes[0].change(key, Some("old")).await;
    }
    for process in &processes {
        process.comes_up().await;
        eventually("all is read", PATIENCE, async || process.sees().await == [1, 1, 1, 1]).await;
    }
    let stored = redis.connection().command(&["GET", &value_key(&prefix, "written")]);
    assert!(stored.starts_with("00000000000000000001") && !stored.ends_with('T'), "{stored}");
    processes[0].has_noted_all().await;
    redis.save_now();

    let [first, second] = &processes[..] else { panic!("there are two") };
    first.write("written", "new").await;
    second.change("changed", Some("new")).await;
    second.change("deleted", None).await;
    first.relist("new").await;
    let now = [2, 2, 0, 2];
    for process in &processes {
        eventually("what was written is seen", PATIENCE, async || process.sees().await == now).await;
    }
    first.has_noted_all().await;
    redis.kill();
    for process in &processes {
        process.goes_down().await;
    }
    redis.start_again();
    let (mut begin, deadline) = (Instant::now(), Instant::now() + PATIENCE);
    // Until both have used it for a second.
    while begin.elapsed() < Duration::from_secs(1) {
        assert!(Instant::now() < deadline, "it is not used");
        for process in &processes {
            assert_eq!(process.sees().await, now, "{:?}", process.tiers.stats().link);
        }
        if processes.iter().any(|process| process.tiers.state() != Some(LinkState::Up)) {
            begin = Instant::now();
        }
        sleep(Duration::from_millis(5)).await;
    }
    // To a process that has known nothing, too.
    let third = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    assert_eq!(third.sees().await, now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_a_slow_redis_fails_no_read_and_is_not_taken_up_again_and_again() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("slow"), Truth::new());
    let proxy = proxy(&redis).await;
    let process = Process::connected(hasty(&proxy.url("redis"), &prefix), steady(), &truth).await;
    let before = process.tiers.stats().outages;
    // There and back: it answers within 50 to 100 ms, which is in time for what is patient.
    proxy.latency(Duration::from_millis(25), Duration::from_millis(25));
    let (begin, (window, most)) = (Instant::now(), SLOW);
    let mut n = 0;
    while begin.elapsed() < window {
        n += 1;
        let key = format!("k{n}");
        truth.commit(&key, Some("text"));
        assert_eq!(process.try_read(&key, Wanted::Recent).await, Ok(1));
        sleep(Duration::from_millis(10)).await;
    }
    let outages = process.tiers.stats().outages - before;
    assert!((1..=most).contains(&outages), "{outages} outages within {window:?}");
    proxy.heal().await;
    process.comes_up().await;
}

#[tokio::test]
async fn ca_2_write_throughs_that_are_late_after_an_eviction_are_kept_nowhere() {
    let (redis, prefix, truth) = (shared(), prefix("evicted"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("a", Some("first"));
    assert_eq!((process.read("a").await, other.read("a").await), (1, 1));
    let late = [truth.commit("a", Some("late")), truth.commit("a", Some("later"))];
    let last = other.write("a", "last").await;
    eventually("it is seen", PATIENCE, async || process.read("a").await == last).await;
    redis.connection().command(&["DEL", &value_key(&prefix, "a")]);
    for version in late.into_iter().rev() {
        process.cache.put("a", &[], Article { version, text: "late".to_owned() }, version).await;
        assert_eq!((process.read("a").await, other.read("a").await), (last, last), "after {version}");
        redis.connection().command(&["DEL", &value_key(&prefix, "a")]);
    }
}
