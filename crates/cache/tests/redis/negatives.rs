//! CA-5: what isn't there is remembered, for a short time and for few; errors are not.

use std::time::{Duration, Instant};

use meshwork_cache::{CacheOptions, Wanted};

use crate::server::{PATIENCE, eventually, prefix, pttl, shared, value_key};
use crate::truth::{Failure, Truth};
use crate::world::{Process, patient, steady};

#[tokio::test]
async fn ca_5_absence_is_remembered_for_a_short_time_by_all_processes() {
    let (redis, prefix, truth) = (shared(), prefix("absent"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    assert_eq!((process.read("nobody").await, process.read("nobody").await, other.read("nobody").await), (0, 0, 0));
    assert_eq!(truth.loads(), 1);
    assert_eq!(process.stats().negatives, 1);
    let left = pttl(&mut redis.connection(), &value_key(&prefix, "nobody"));
    assert!((3_000..=33_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn ca_5_a_creation_ends_the_absence_everywhere() {
    let (redis, prefix, truth) = (shared(), prefix("created"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    for (key, by_put) in [("put", true), ("invalidated", false)] {
        assert_eq!((process.read(key).await, other.read(key).await), (0, 0));
        if by_put {
            process.write(key, "here").await;
        } else {
            process.change(key, Some("here")).await;
        }
        assert_eq!(process.read(key).await, 1);
        eventually("the other process sees it", PATIENCE, async || other.read(key).await == 1).await;
    }
}

#[tokio::test]
async fn ca_5_a_deletion_reaches_every_process() {
    let (redis, prefix, truth) = (shared(), prefix("deleted"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    process.write("anna", "a name").await;
    assert_eq!((process.read("anna").await, other.read("anna").await), (1, 1));
    process.change("anna", None).await;
    assert_eq!(process.read("anna").await, 0);
    eventually("the other process sees it", PATIENCE, async || other.read("anna").await == 0).await;
    let stored = redis.connection().command(&["GET", &value_key(&prefix, "anna")]);
    assert!(!stored.contains("a name"), "{stored}");
}

#[tokio::test]
async fn ca_5_few_absences_are_stored_each_second_and_all_are_answered() {
    let (redis, prefix, truth) = (shared(), prefix("many"), Truth::new());
    let options = CacheOptions { negatives_per_second: 5, ..steady() };
    let process = Process::connected(patient(redis.url(), &prefix), options, &truth).await;
    let begin = Instant::now();
    for n in 0..100 {
        assert_eq!(process.read(&format!("guess-{n}")).await, 0);
    }
    let most = 5 * (begin.elapsed().as_secs() + 2);
    // The leases of those over the bound are ended by what lives for a millisecond.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let keys = redis.connection().command(&["KEYS", &format!("{prefix}:v:*")]);
    let stored = u64::try_from(keys.lines().count()).unwrap();
    assert!((1..=most).contains(&stored), "{stored} of at most {most}");
    assert_eq!((process.stats().negatives, truth.loads()), (stored, 100));
}

#[tokio::test]
async fn ca_5_errors_are_not_cached() {
    let (redis, prefix, truth) = (shared(), prefix("errors"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("a", Some("text"));
    truth.fail(true);
    for _ in 0..3 {
        assert_eq!(process.try_read("a", Wanted::Recent).await, Err(Failure::Unavailable));
    }
    truth.fail(false);
    // The lease of the one that failed may be waited for, but no longer than a wait takes.
    let begin = Instant::now();
    assert_eq!(process.read("a").await, 1);
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(process.stats().failed_loads, 3);
}
