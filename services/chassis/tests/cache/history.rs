//! CA-3: an outbox that has another history than the one that was followed. Its database was put back to an older copy, or a replica
//! was promoted that lacks the last commits: what is cached of them is of no version that there is.

use std::sync::Arc;
use std::time::Duration;

use meshwork_testkit::Redis;

use crate::log::Log;
use crate::world::{Instance, on_redis, redis};

/// A log with two events, of anna and of bert, which an instance has followed. Both are cached at their second versions.
async fn followed() -> (Arc<Log>, Instance, Redis, meshwork_chassis::config::RedisConfig) {
    let log = Arc::new(Log::new());
    log.commit("anna");
    log.commit("bert");
    let (redis, config) = redis().await;
    let instance = Instance::over(log.clone(), &log.truth, on_redis(&config).await);
    instance.notes(2).await;
    assert_eq!((instance.read("anna").await, instance.read("bert").await), (2, 2));
    (log, instance, redis, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_a_database_that_was_put_back_to_an_older_copy_has_everything_dropped() {
    let (log, instance, _redis, _config) = followed().await;
    log.truth.set("bert", 1, 1);
    log.put_back(1);
    instance.shows("bert", 1).await;
    // Marks, which only go up, tell of the new history.
    instance.notes(1).await;
    // A version that is given again is another one.
    log.commit("bert");
    log.truth.set("bert", 2, 102);
    instance.shows("bert", 102).await;
    instance.notes(2).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_commits_that_were_lost_are_missed_though_others_have_taken_their_places() {
    let (log, instance, _redis, _config) = followed().await;
    log.truth.set("bert", 1, 1);
    log.replace(2);
    log.commit("anna");
    instance.shows("bert", 1).await;
    instance.shows("anna", 3).await;
    instance.notes(3).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_after_a_failure_the_places_are_looked_at_though_nothing_is_new() {
    let (log, instance, _redis, _config) = followed().await;
    log.fail(true);
    tokio::time::sleep(Duration::from_millis(600)).await;
    log.truth.set("bert", 1, 1);
    log.replace(2);
    log.fail(false);
    instance.shows("bert", 1).await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_a_process_that_starts_knows_another_history_by_its_marks() {
    let (log, before, _redis, config) = followed().await;
    before.stop().await;
    log.truth.set("bert", 1, 1);
    log.replace(2);
    let after = Instance::over(log.clone(), &log.truth, on_redis(&config).await);
    after.shows("bert", 1).await;
    after.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_a_process_that_starts_goes_on_behind_events_that_were_removed_by_their_age() {
    let (log, before, _redis, config) = followed().await;
    before.stop().await;
    log.commit("anna");
    log.remove(1);
    log.remove(2);
    let after = Instance::over(log.clone(), &log.truth, on_redis(&config).await);
    after.shows("anna", 3).await;
    after.notes(3).await;
    // Nothing else was dropped: bert is in Redis as he was cached.
    log.truth.set("bert", 2, 102);
    assert_eq!(after.read("bert").await, 2);
    after.stop().await;
}

/// What the bus holds and the older copy doesn't is gone, but for a copy of its last event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_a_relay_that_went_on_behind_the_bus_is_known_by_the_hole_before_it() {
    let (log, before, _redis, config) = followed().await;
    log.commit("anna");
    before.notes(3).await;
    assert_eq!((before.read("anna").await, before.read("bert").await), (3, 2));
    before.stop().await;
    log.truth.set("bert", 1, 1);
    log.remove(2);
    log.commit("anna");
    let after = Instance::over(log.clone(), &log.truth, on_redis(&config).await);
    after.shows("bert", 1).await;
    after.shows("anna", 4).await;
    after.notes(4).await;
    after.stop().await;
}
