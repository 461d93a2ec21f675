//! Reads with a position: a caller sees its own writes.

use std::sync::atomic::{AtomicI64, Ordering};

use meshwork_sql::{Freshness, Postgres, PostgresOptions, WalPosition};

use crate::worlds::{TABLES, World, eventually, find, insert, port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_read_with_a_token_sees_its_write_while_no_replica_does() {
    let world = World::new(2, false);
    let db = world.open().await;
    world.cluster.pause_replay(0);
    world.cluster.pause_replay(1);
    for n in 1..=200 {
        insert(&db, n).await.unwrap();
        let token = db.position().await.unwrap();
        assert_eq!(find(&db, Freshness::AtLeast(token), n).await.unwrap(), (true, world.primary_port()), "{n}");
    }
    // The replicas are read from, and really are behind.
    let (found, port_of_replica) = find(&db, Freshness::Bounded, 200).await.unwrap();
    assert!(!found && port_of_replica != world.primary_port());
    let token = db.position().await.unwrap();
    world.cluster.resume_replay(0);
    eventually("a replica that has replayed the token", async || {
        let (found, port) = find(&db, Freshness::AtLeast(token), 200).await.unwrap();
        assert!(found, "a stale read");
        port == world.replica_port(0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_replica_that_has_replayed_the_token_answers_at_once() {
    let world = World::new(1, false);
    let db = world.open().await;
    let next = AtomicI64::new(1);
    // More may be written beside, which the token covers too and no replica has yet.
    eventually("an answer of the replica", async || {
        let n = next.fetch_add(1, Ordering::Relaxed);
        insert(&db, n).await.unwrap();
        let token = db.position().await.unwrap();
        world.cluster.wait_for_replay(0);
        let (found, port) = find(&db, Freshness::AtLeast(token), n).await.unwrap();
        assert!(found, "a stale read");
        port == world.replica_port(0)
    })
    .await;
    assert!(db.replicas()[0].reads > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_tokens_of_another_history_go_to_the_primary() {
    let world = World::new(1, false);
    let db = world.open().await;
    let token = db.position().await.unwrap();
    assert_eq!(token.timeline, 1);
    assert!(db.replica_position().await.is_some());
    let early = WalPosition { lsn: 1, ..token };
    assert_eq!(port(&db, Freshness::AtLeast(early)).await, world.replica_port(0));
    for other in [
        WalPosition { system: token.system ^ 1, ..early },
        WalPosition { timeline: 2, ..early },
        WalPosition { timeline: 0, ..early },
        WalPosition { lsn: u64::MAX, ..early },
        WalPosition::UNKNOWN,
    ] {
        assert_eq!(port(&db, Freshness::AtLeast(other)).await, world.primary_port(), "{other}");
    }
    assert_eq!(port(&db, Freshness::Latest).await, world.primary_port());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_replicas_every_read_is_the_latest_and_there_is_no_position() {
    let world = World::new(0, false);
    let db = Postgres::open(&world.options, TABLES.as_slice()).await.unwrap();
    insert(&db, 1).await.unwrap();
    assert_eq!(db.position().await, None);
    assert!(db.replicas().is_empty());
    for freshness in [Freshness::Latest, Freshness::Bounded, Freshness::AtLeast(WalPosition::UNKNOWN)] {
        assert_eq!(find(&db, freshness, 1).await.unwrap(), (true, world.primary_port()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_told_without_replicas_where_they_are_asked_for() {
    let world = World::new(0, false);
    let options = PostgresOptions { positions: true, ..world.options.clone() };
    let db = Postgres::open(&options, TABLES.as_slice()).await.unwrap();
    let mut last: Option<WalPosition> = None;
    for n in 1..=3 {
        insert(&db, n).await.unwrap();
        let position = db.position().await.unwrap();
        assert_eq!(position.timeline, 1);
        if let Some(last) = last {
            assert_eq!(position.system, last.system);
            assert!(position.lsn > last.lsn, "{position} covers what was written behind {last}");
        }
        assert_eq!(find(&db, Freshness::AtLeast(position), n).await.unwrap(), (true, world.primary_port()));
        last = Some(position);
    }
    // Another process tells of the same history.
    let other = Postgres::open(&options, TABLES.as_slice()).await.unwrap().position().await.unwrap();
    assert!(last.is_some_and(|last| (other.system, other.timeline) == (last.system, last.timeline) && other.lsn >= last.lsn));
    assert_eq!(db.replica_position().await, None, "there is no replica that could be behind");
    db.reader().close().await;
    assert_eq!(db.position().await, Some(WalPosition::UNKNOWN), "nobody has told it");
}
