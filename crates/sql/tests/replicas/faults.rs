//! Replicas and primaries that are killed or hang.

use std::sync::LazyLock;
use std::time::Duration;

use meshwork_sql::{Component, Freshness, Kind, Postgres, WalPosition};

use crate::worlds::{Readers, TABLES, World, eventually, find, insert, port, selected};

static LATE: LazyLock<&'static [Component]> = LazyLock::new(|| TABLES.as_slice());

/// Readers of all kinds that a replica may serve.
async fn readers(db: &Postgres) -> Readers {
    let token = Freshness::AtLeast(db.position().await.unwrap());
    Readers::start(db, &[Freshness::Bounded, Freshness::Bounded, Freshness::Bounded, token])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_replicas_that_are_killed_fail_no_read_and_are_read_from_again_once_they_are_back() {
    let mut world = World::new(2, false);
    let db = world.open().await;
    let readers = readers(&db).await;
    readers.go_on().await;
    world.cluster.replica_mut(0).kill();
    readers.go_on().await;
    eventually("the end of reads on the killed one", async || selected(&db) == 1).await;
    readers.go_on().await;
    world.cluster.replica_mut(1).kill();
    readers.go_on().await;
    eventually("the end of reads on replicas", async || selected(&db) == 0).await;
    readers.go_on().await;
    assert_eq!(port(&db, Freshness::Bounded).await, world.primary_port());
    assert!(db.replicas().iter().all(|replica| replica.problem.is_some()), "{:?}", db.replicas());
    world.cluster.replica_mut(0).restart();
    world.cluster.replica_mut(1).restart();
    eventually("reads on both again", async || selected(&db) == 2).await;
    readers.go_on().await;
    readers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_replicas_that_hang_fail_no_read() {
    let world = World::new(2, false);
    let db = world.open().await;
    let readers = readers(&db).await;
    readers.go_on().await;
    world.cluster.replica(0).freeze();
    eventually("the end of reads on the one that hangs", async || selected(&db) == 1).await;
    readers.go_on().await;
    world.cluster.replica(1).freeze();
    eventually("the end of reads on replicas", async || selected(&db) == 0).await;
    readers.go_on().await;
    world.cluster.replica(0).thaw();
    world.cluster.replica(1).thaw();
    eventually("reads on both again", async || selected(&db) == 2).await;
    readers.go_on().await;
    readers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_replicas_answer_bounded_reads_while_the_primary_is_gone() {
    let mut world = World::new(1, false);
    let db = world.open().await;
    insert(&db, 1).await.unwrap();
    let token = db.position().await.unwrap();
    world.cluster.wait_for_replay(0);
    world.cluster.primary_mut().kill();
    assert_eq!(find(&db, Freshness::Bounded, 1).await.unwrap(), (true, world.replica_port(0)));
    assert_eq!(find(&db, Freshness::Latest, 1).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(insert(&db, 2).await.unwrap_err().kind(), Kind::Unavailable);
    // No position is known then, and no replica has it.
    assert_eq!(db.position().await, Some(WalPosition::UNKNOWN));
    let unknown = find(&db, Freshness::AtLeast(WalPosition::UNKNOWN), 1).await;
    assert_eq!(unknown.unwrap_err().kind(), Kind::Unavailable);
    world.cluster.primary_mut().restart();
    eventually("a write", async || insert(&db, 3).await.is_ok()).await;
    assert!(find(&db, Freshness::AtLeast(token), 1).await.unwrap().0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_comes_later_does_not_stop_the_start() {
    let mut world = World::new(1, false);
    world.cluster.primary_mut().kill();
    let refused = Postgres::open(&world.options, TABLES.as_slice()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!(refused.to_string().contains("promote a replica"), "{refused}");
    let db = Postgres::open_when_reached(&world.options, &LATE).await.unwrap();
    assert_eq!(selected(&db), 0);
    world.cluster.primary_mut().restart();
    eventually("the tables", async || insert(&db, 1).await.is_ok()).await;
    eventually("the replica", async || selected(&db) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_are_not_asked_any_more_once_the_database_is_dropped_or_closed() {
    let world = World::new(1, false);
    let asking = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'meshwork-probe'";
        let counts = [world.cluster.primary(), world.cluster.replica(0)].map(|server| server.sql("postgres", sql));
        counts.map(|count| count.parse::<u32>().unwrap())
    };
    let (one, two) = (world.open().await, world.open().await);
    eventually("two that ask each server", async || asking().await == [2, 2]).await;
    drop(one);
    eventually("one that asks", async || asking().await == [1, 1]).await;
    two.reader().close().await;
    eventually("the end of questions", async || asking().await == [0, 0]).await;
    let closed = tokio::time::timeout(Duration::from_secs(20), find(&two, Freshness::Bounded, 1)).await.unwrap();
    assert_eq!(closed.unwrap_err().kind(), Kind::Unavailable);
}
