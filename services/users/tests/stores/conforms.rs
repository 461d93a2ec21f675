//! All stores pass the suite.

use std::sync::Arc;

use meshwork_chassis::config::StrategyConfig;
use meshwork_users::adapters::store::SqliteStore;
use meshwork_users::testing::conformance;

use crate::rooms::{Room, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let make = async || {
        let own = folder.path().join(uuid::Uuid::new_v4().to_string());
        Arc::new(SqliteStore::open(&own).await.unwrap())
    };
    conformance(make).await;
}

/// The suite over the shards of a room, which is emptied each time.
async fn shards_conform(room: Room) {
    let store = room.sharded().await;
    conformance(async || {
        room.empty().await;
        store.clone()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_database_conforms() {
    shards_conform(Room::one(&server().await).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_three_shards_by_hash_conform() {
    shards_conform(Room::three(&server().await, StrategyConfig::Hash).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_three_shards_by_range_conform() {
    shards_conform(Room::three(&server().await, StrategyConfig::Range).await).await;
}
