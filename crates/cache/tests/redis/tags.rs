//! CA-6: a counter for each tag; an entry is valid while all of its are those of now.

use std::sync::Arc;

use meshwork_cache::Remote as _;

use crate::fills::remote;
use crate::server::{PATIENCE, eventually, prefix, shared, tag_key};
use crate::truth::Truth;
use crate::world::{Process, patient, steady};

/// Articles read with and without a tag.
async fn two_processes(test: &str) -> (Arc<meshwork_testkit::Redis>, String, Process, Process) {
    let (redis, prefix, truth) = (shared(), prefix(test), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    for key in ["a", "b"] {
        truth.commit(key, Some("text"));
        assert_eq!((process.read_tagged(key, "letters").await, other.read_tagged(key, "letters").await), (1, 1));
    }
    truth.commit("c", Some("text"));
    assert_eq!((process.read_tagged("c", "others").await, other.read_tagged("c", "others").await), (1, 1));
    assert_eq!(truth.loads(), 3);
    (redis, prefix, process, other)
}

/// All three articles change, and nobody is told.
fn change_all(truth: &Truth) {
    for key in ["a", "b", "c"] {
        truth.commit(key, Some("changed"));
    }
}

#[tokio::test]
async fn ca_6_a_tag_drops_all_that_carry_it_and_nothing_else_in_all_processes() {
    let (_redis, _prefix, process, other) = two_processes("tag").await;
    change_all(&process.truth);
    process.tiers.invalidate_tag("letters", None).await;
    for key in ["a", "b"] {
        assert_eq!(process.read_tagged(key, "letters").await, 2);
        eventually("the other process sees it", PATIENCE, async || other.read_tagged(key, "letters").await == 2).await;
    }
    assert_eq!((process.read_tagged("c", "others").await, other.read_tagged("c", "others").await), (1, 1));
}

#[tokio::test]
async fn ca_6_a_kind_drops_everything_of_it() {
    let (_redis, _prefix, process, other) = two_processes("kind").await;
    change_all(&process.truth);
    process.tiers.invalidate_kind("articles").await;
    for (key, tag) in [("a", "letters"), ("b", "letters"), ("c", "others")] {
        assert_eq!(process.read_tagged(key, tag).await, 2);
        eventually("the other process sees it", PATIENCE, async || other.read_tagged(key, tag).await == 2).await;
    }
}

#[tokio::test]
async fn ca_6_a_counter_that_was_evicted_never_comes_back_to_an_old_number() {
    let (redis, prefix, process, other) = two_processes("evicted").await;
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let tags = ["letters".to_owned()];
    let before = remote.tags(&tags).await.unwrap();
    let mut connection = redis.connection();
    connection.command(&["DEL", &tag_key(&prefix, "letters")]);
    let after = remote.tags(&tags).await.unwrap();
    assert!(after[0] > before[0], "{after:?} after {before:?}");
    change_all(&process.truth);
    for process in [&process, &other] {
        eventually("the entry is no more", PATIENCE, async || process.read_tagged("a", "letters").await == 2).await;
    }
    // Bumped right after the eviction too.
    connection.command(&["DEL", &tag_key(&prefix, "letters")]);
    assert!(remote.bump("letters", None).await.unwrap() > after[0]);
}

#[tokio::test]
async fn ca_6_a_cause_bumps_once() {
    let (redis, prefix) = (shared(), prefix("cause"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let tags = ["products".to_owned(), "unheard of".to_owned()];
    let first = remote.tags(&tags).await.unwrap();
    assert_eq!(remote.tags(&tags).await.unwrap(), first);
    let bumped = remote.bump("products", Some("products/lamp@7")).await.unwrap();
    assert!(bumped > first[0]);
    for _ in 0..3 {
        remote.bump("products", Some("products/lamp@7")).await.unwrap();
    }
    assert_eq!(remote.tags(&tags).await.unwrap(), [bumped, first[1]]);
    let next = remote.bump("products", Some("products/{l}amp %@8")).await.unwrap();
    assert!(next > bumped);
    assert!(remote.bump("products", None).await.unwrap() > next);
}

#[tokio::test]
async fn ca_6_a_load_that_began_before_a_bump_is_not_kept_as_valid_after_it() {
    let (redis, prefix, truth) = (shared(), prefix("slowtag"), Truth::new());
    let process = Arc::new(Process::connected(patient(redis.url(), &prefix), steady(), &truth).await);
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("list", Some("old"));
    truth.slow(std::time::Duration::from_millis(500));
    let slow = Arc::clone(&process);
    let slow = tokio::spawn(async move { slow.read_tagged("list", "lists").await });
    eventually("the load has begun", PATIENCE, async || truth.loads() == 1).await;
    truth.commit("list", Some("new"));
    truth.slow(std::time::Duration::ZERO);
    other.tiers.invalidate_tag("lists", None).await;
    assert_eq!(tokio::time::timeout(PATIENCE, slow).await.unwrap().unwrap(), 1);
    assert_eq!((process.read_tagged("list", "lists").await, other.read_tagged("list", "lists").await), (2, 2));
}
