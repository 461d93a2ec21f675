//! CA-8: a Redis that is made a replica, and a primary again, under load.

use std::time::Duration;

use meshwork_testkit::Redis;
use tokio::time::sleep;

use crate::outage::{ends_well, two_under};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_redis_demoted_and_promoted_under_load() {
    let (redis, primary) = (Redis::private(&[]), Redis::private(&[]));
    let (processes, traffic) = two_under(redis.url(), "demoted").await;
    redis.replica_of(&primary);
    for process in &processes {
        process.goes_down().await;
    }
    sleep(Duration::from_millis(700)).await;
    redis.promote();
    ends_well(&processes, traffic).await;
}
