//! CA-3: what was committed is dropped from the cache, though nobody has told it.

use std::sync::Arc;
use std::time::Duration;

use crate::log::Log;
use crate::world::{
    Database, Failed, Instance, TAGS, Thing, Truth, in_process, is_up, long, on_redis, redis, tiers_of, within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_what_is_announced_is_dropped() {
    let database = Database::new().await;
    let (_redis, config) = redis().await;
    let instance = Instance::start(&database, on_redis(&config).await).await;
    instance.notes(0).await;
    for commits in 1..=3 {
        database.commit().await;
        within(Duration::from_secs(5), "the invalidation", async || instance.invalidations() >= commits).await;
    }
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_a_commit_that_no_cache_was_told_of_is_seen_within_a_second() {
    let database = Database::new().await;
    let (_redis, config) = redis().await;
    let (one, other) = (on_redis(&config).await, on_redis(&config).await);
    let one = Instance::start(&database, one).await;
    let other = Instance::start(&database, other).await;
    one.notes(0).await;
    for version in 2..=5 {
        assert_eq!((one.read("anna").await, other.read("anna").await), (version - 1, version - 1));
        database.commit().await;
        let both = async || one.read("anna").await == version && other.read("anna").await == version;
        within(Duration::from_secs(1), "the new version", both).await;
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_what_was_committed_while_nobody_followed_is_dropped_by_the_next_process() {
    let database = Database::new().await;
    let (_redis, config) = redis().await;
    let before = Instance::start(&database, on_redis(&config).await).await;
    database.commit().await;
    before.notes(1).await;
    assert_eq!(before.read("anna").await, 2);
    before.stop().await;
    // It ends behind the commit: Redis has the old version, for an hour.
    database.commit().await;
    let after = Instance::start(&database, on_redis(&config).await).await;
    after.shows("anna", 3).await;
    after.notes(2).await;
    after.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_where_nothing_is_noted_everything_is_dropped() {
    let database = Database::new().await;
    let (_redis, config) = redis().await;
    let tiers = on_redis(&config).await;
    tiers.cache::<Thing, Failed>(long()).put("anna", TAGS, Thing(1), 1).await;
    database.commit().await;
    let after = Instance::start(&database, on_redis(&config).await).await;
    after.shows("anna", 2).await;
    after.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_has_not_moved_is_not_read() {
    let log = Arc::new(Log::new());
    let (_redis, config) = redis().await;
    let instance = Instance::over(log.clone(), &log.truth, on_redis(&config).await);
    log.commit("anna");
    instance.notes(1).await;
    let (looks, reads) = log.asked();
    within(Duration::from_secs(10), "more looks", async || log.asked().0 >= looks + 4).await;
    assert_eq!(log.asked().1, reads);
    log.commit("anna");
    instance.notes(2).await;
    assert_eq!(log.asked().1, reads + 1);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_nothing_is_followed() {
    let log = Arc::new(Log::new());
    let instance = Instance::over(log.clone(), &log.truth, in_process());
    log.commit("anna");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(log.asked(), (0, 0));
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_that_share_a_redis_never_meet_there() {
    let (_redis, config) = redis().await;
    let (one, other) = (Truth::default(), Truth::default());
    one.set("anna", 7, 7);
    let quiet = || Arc::new(Log::new());
    let first = Instance::over(quiet(), &one, tiers_of(&config, "aaaaaaaaaaaa").await);
    let second = Instance::over(quiet(), &other, tiers_of(&config, "bbbbbbbbbbbb").await);
    for instance in [&first, &second] {
        instance.notes(0).await;
    }
    assert_eq!((first.read("anna").await, second.read("anna").await), (7, 1));
    // One of the same database, which has nothing in its process.
    let third = Instance::over(quiet(), &other, tiers_of(&config, "aaaaaaaaaaaa").await);
    is_up(&third.tiers).await;
    assert_eq!(third.read("anna").await, 7, "it is in Redis");
    for instance in [first, second, third] {
        instance.stop().await;
    }
}
