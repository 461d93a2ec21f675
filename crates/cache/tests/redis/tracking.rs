//! CA-7: what others write is told, and who can't be told holds nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_cache::Remote as _;
use meshwork_testkit::Redis;
use tokio::task::JoinSet;

use crate::fills::remote;
use crate::server::{PATIENCE, eventually, prefix, shared, value_key};
use crate::truth::Truth;
use crate::world::{Process, hasty, patient, steady};

/// One second, and what a busy machine adds to it.
const A_SECOND: Duration = Duration::from_millis(1_250);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_7_another_process_s_write_drops_the_local_entry_within_100_ms() {
    let (redis, prefix, truth) = (shared(), prefix("told"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let mut took = Vec::new();
    for n in 0..21 {
        let version = if n % 2 == 0 { other.write("a", "put").await } else { other.change("a", Some("changed")).await };
        let begin = Instant::now();
        eventually("the write is seen", A_SECOND, async || process.read("a").await == version).await;
        took.push(begin.elapsed());
        process.comes_to_hold("a").await;
    }
    took.sort_unstable();
    assert!(took[10] <= Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn ca_7_an_entry_is_held_for_more_than_a_second_only_while_tracking_works() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("held"), Truth::new());
    let process = Process::connected(hasty(redis.url(), &prefix), steady(), &truth).await;
    assert!(process.tiers.stats().tracking);
    truth.commit("a", Some("text"));
    process.comes_to_hold("a").await;
    tokio::time::sleep(A_SECOND).await;
    let hits = process.stats().local_hits;
    process.read("a").await;
    assert_eq!((process.stats().local_hits, truth.loads()), (hits + 1, 1));

    redis.freeze();
    process.goes_down().await;
    assert!(!process.tiers.stats().tracking);
    assert!(process.tiers.check().is_err());
    truth.commit("a", Some("new"));
    assert_eq!(process.read("a").await, 2, "the local tier was dropped");
    truth.commit("a", Some("newer"));
    eventually("at most a second old", A_SECOND, async || process.read("a").await == 3).await;
    redis.thaw();
    process.comes_up().await;
    assert_eq!(process.tiers.check(), Ok(()));
    eventually("tracking works again", PATIENCE, async || process.tiers.stats().tracking).await;
    assert!(process.tiers.stats().outages > 0);
}

#[tokio::test]
async fn ca_7_names_with_odd_characters_are_told_too() {
    let (redis, prefix, truth) = (shared(), prefix("odd"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let long = "k".repeat(512);
    for key in ["a{b}c", "{}", "}{", "50%25", "%", "müsli", "two\nlines", "two words", "\"quoted\"", "a:b:c", &long] {
        let first = truth.commit(key, Some("first"));
        assert_eq!(other.read(key).await, first);
        let loads = truth.loads();
        assert_eq!((process.read(key).await, truth.loads()), (first, loads), "{key:?} is found by its name");
        let second = other.write(key, "second").await;
        eventually(key, A_SECOND, async || process.read(key).await == second).await;
        let third = other.change(key, Some("third")).await;
        eventually(key, A_SECOND, async || process.read(key).await == third).await;
        assert_eq!(other.read(key).await, third);
    }
}

#[tokio::test]
async fn ca_7_who_listens_is_told_the_names_that_others_have_written() {
    let (redis, prefix) = (shared(), prefix("names"));
    let (_own, heard) = remote(patient(redis.url(), &prefix)).await;
    let (other, _heard) = remote(patient(redis.url(), &prefix)).await;
    other.tombstone("articles", "50% of {it}", Some(1)).await.unwrap();
    other.bump("kind:articles", None).await.unwrap();
    eventually("both are told", PATIENCE, async || {
        !heard.keys.lock().unwrap().is_empty() && !heard.tags.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!(*heard.keys.lock().unwrap(), [("articles".to_owned(), "50% of {it}".to_owned())]);
    assert_eq!(*heard.tags.lock().unwrap(), ["kind:articles"]);
}

#[tokio::test]
async fn ca_7_a_flush_drops_the_local_tier() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("flushed"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    for command in ["FLUSHALL", "FLUSHDB"] {
        let before = truth.commit("a", Some("text"));
        process.comes_to_hold("a").await;
        assert_eq!(process.read("a").await, before);
        truth.commit("a", Some("new"));
        redis.connection().command(&[command]);
        eventually("the local tier is dropped", A_SECOND, async || process.read("a").await > before).await;
        process.comes_up().await;
        process.cache.invalidate("a", None).await;
    }
    assert!(process.tiers.stats().outages >= 2);
}

#[tokio::test]
async fn ca_7_what_was_changed_while_the_connection_was_away_is_not_answered() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("cut"), Truth::new());
    let process = Process::connected(hasty(redis.url(), &prefix), steady(), &truth).await;
    let mut connection = redis.connection();
    for _ in 0..3 {
        process.comes_up().await;
        let version = process.change("a", Some("text")).await;
        process.comes_to_hold("a").await;
        assert_eq!(process.read("a").await, version);
        connection.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        // Another process invalidates before the connection is there again: this one isn't told.
        let next = truth.commit("a", Some("new"));
        connection.command(&["SET", &value_key(&prefix, "a"), &format!("{next:020}T"), "PX", "60000"]);
        eventually("the change is seen", A_SECOND, async || process.read("a").await == next).await;
    }
}

#[tokio::test]
async fn ca_7_a_frozen_redis_holds_nobody_to_what_is_old() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("frozen"), Truth::new());
    let process = Process::connected(hasty(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(hasty(redis.url(), &prefix), steady(), &truth).await;
    let version = other.change("a", Some("text")).await;
    eventually("the change is seen", A_SECOND, async || process.read("a").await == version).await;
    process.comes_to_hold("a").await;
    redis.freeze();
    let next = other.change("a", Some("new")).await;
    eventually("the change is seen", A_SECOND, async || process.read("a").await == next).await;
    redis.thaw();
    process.comes_up().await;
    other.comes_up().await;
    // What `other` couldn't write was written before its link was up.
    eventually("it stays seen", A_SECOND, async || process.read("a").await == next).await;
    assert_eq!(other.read("a").await, next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_7_more_changes_than_the_queue_of_messages_holds_lose_none() {
    const KEYS: usize = 1_000;
    let (redis, prefix, truth) = (shared(), prefix("burst"), Truth::new());
    let process = Arc::new(Process::connected(patient(redis.url(), &prefix), steady(), &truth).await);
    let other = Arc::new(Process::connected(patient(redis.url(), &prefix), steady(), &truth).await);
    let on_all = async |process: &Arc<Process>, writes: bool| {
        let mut calls = JoinSet::new();
        for n in 0..KEYS {
            let process = Arc::clone(process);
            calls.spawn(async move {
                let key = format!("k{n}");
                if writes { process.write(&key, "text").await } else { process.read(&key).await }
            });
        }
        tokio::time::timeout(PATIENCE, calls.join_all()).await.unwrap()
    };
    on_all(&other, true).await;
    assert!(on_all(&process, false).await.iter().all(|version| *version == 1));
    on_all(&other, true).await;
    tokio::time::sleep(A_SECOND).await;
    let old = on_all(&process, false).await.iter().filter(|version| **version != 2).count();
    assert_eq!(old, 0, "{old} of {KEYS} changes were not told");
}
