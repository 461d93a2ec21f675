//! CA-8: a Redis that is made a replica, and a primary again, under load.

use std::time::Duration;

use meshwork_testkit::Redis;
use tokio::time::sleep;

use crate::outage::Outage;
use crate::world::{Healing, is_full};

async fn demoted_and_promoted(healing: Healing) {
    let (redis, primary) = (Redis::private(&[]), Redis::private(&[]));
    let outage = Outage::begin(redis.url(), "demoted", healing).await;
    redis.replica_of(&primary);
    outage.goes_down().await;
    sleep(Duration::from_millis(700)).await;
    redis.promote();
    outage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_redis_demoted_and_promoted_under_load() {
    if is_full() {
        demoted_and_promoted(Healing::Following).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_redis_demoted_and_promoted_under_load_and_nobody_follows() {
    demoted_and_promoted(Healing::Marks).await;
}
