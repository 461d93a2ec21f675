//! CA-7 and CA-8 in a cluster: nobody is told there, so nothing is held for long; slots move under load.

use std::sync::Arc;
use std::time::Duration;

use meshwork_testkit::redis::RedisCluster;
use tokio::time::sleep;

use crate::outage::{MAX_LOADS, bounded};
use crate::server::{eventually, prefix};
use crate::traffic::Traffic;
use crate::truth::Truth;
use crate::world::{Healing, Process, hasty, patient, steady};

const NODES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_slots_of_a_cluster_move_under_load_and_nothing_is_held_for_more_than_a_second() {
    let cluster = RedisCluster::start(NODES);
    let keys: Vec<String> = (0..6).map(|n| format!("k{n}")).collect();
    let mut traffic = Vec::new();
    for healing in [Healing::Following, Healing::Marks] {
        let (prefix, truth) = (prefix("cluster"), Truth::new());
        truth.slow(Duration::from_millis(1));
        let mut processes = Vec::new();
        for _ in 0..2 {
            let process = Arc::new(Process::connected(hasty(&cluster.url(), &prefix), bounded(), &truth).await);
            assert!(!process.tiers.stats().tracking, "messages of one node only would be no messages");
            process.heal(healing).await;
            processes.push(process);
        }
        traffic.push(Traffic::start(&processes, &keys, healing));
    }
    sleep(Duration::from_millis(400)).await;
    for key in &keys[..3] {
        let slot = cluster.slot(key);
        let from = cluster.owner(slot);
        let to = (from + 1) % NODES;
        cluster.move_slot(slot, from, to);
        sleep(Duration::from_millis(300)).await;
        cluster.move_slot(slot, to, from);
    }
    sleep(Duration::from_millis(500)).await;
    for traffic in traffic {
        traffic.end(u64::try_from(2 * MAX_LOADS).unwrap()).await;
    }

    // Without a follower, and told by nobody: at most a second.
    let (prefix, truth) = (prefix("untold"), Truth::new());
    let (reader, writer) = (
        Process::connected(patient(&cluster.url(), &prefix), steady(), &truth).await,
        Process::connected(patient(&cluster.url(), &prefix), steady(), &truth).await,
    );
    for key in &keys {
        reader.read(key).await;
        let version = writer.write(key, "the last").await;
        let seen = async || reader.read(key).await == version;
        eventually("the write is seen", Duration::from_millis(1_250), seen).await;
    }
}
