//! A source that can't be read while Redis comes back keeps it from nobody, and hides nothing.

use std::sync::Arc;

use meshwork_cache::LinkState;

use crate::log::Log;
use crate::world::{Instance, eventually, is_up, on_redis, redis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_a_database_that_hangs_keeps_redis_from_nobody_and_is_caught_up_with_once_it_answers() {
    let log = Arc::new(Log::new());
    log.commit("bert");
    let (redis, config) = redis().await;
    let instance = Instance::over(log.clone(), &log.truth, on_redis(&config).await);
    instance.notes(1).await;
    assert_eq!(instance.read("bert").await, 2);

    redis.freeze();
    eventually("the loss of Redis", async || instance.tiers.state() != Some(LinkState::Up)).await;
    log.hang(true);
    log.commit("bert");
    redis.thaw();
    is_up(&instance.tiers).await;
    // Everything was dropped that may be of the source.
    assert_eq!(instance.read("bert").await, 3);
    // What is committed now is known once it can be read.
    log.commit("bert");
    assert_eq!(instance.read("bert").await, 3, "it is cached");
    log.hang(false);
    // The look that hangs takes its time.
    eventually("the last version", async || instance.read("bert").await == 4).await;
    instance.notes(3).await;
    instance.stop().await;
}
