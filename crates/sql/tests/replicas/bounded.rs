//! Reads within the bounds of lag.

use std::time::Duration;

use meshwork_sql::{Error, Freshness, Kind, Postgres, ReplicaStats};
use sqlx::AssertSqlSafe;

use crate::worlds::{World, eventually, find, insert, numbers, port, selected};

/// The replica of a port.
fn replica(db: &Postgres, port: i32) -> ReplicaStats {
    db.replicas().into_iter().find(|replica| replica.name.ends_with(&format!(":{port}"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_bounded_reads_take_turns_over_the_replicas() {
    let world = World::new(2, false);
    let db = world.open().await;
    let mut answered = Vec::new();
    for _ in 0..20 {
        answered.push(port(&db, Freshness::Bounded).await);
    }
    for replica in 0..2 {
        let expected = world.replica_port(replica);
        assert_eq!(answered.iter().filter(|port| **port == expected).count(), 10, "{answered:?}");
    }
    assert_eq!(db.replicas().iter().map(|replica| replica.reads).collect::<Vec<_>>(), [10, 10]);
    assert_eq!(port(&db, Freshness::Latest).await, world.primary_port());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_replica_that_is_too_many_bytes_behind_is_left_out_until_it_has_caught_up() {
    let mut world = World::new(2, false);
    world.options.max_lag_bytes = 64 << 10;
    let db = world.open().await;
    let (late, other) = (world.replica_port(0), world.replica_port(1));
    world.cluster.pause_replay(0);
    let many = "INSERT INTO numbers (n) SELECT generate_series(1000, 6000)";
    sqlx::query(many).execute(db.reader()).await.unwrap();
    eventually("the end of reads on the late replica", async || !replica(&db, late).selected).await;
    let told = replica(&db, late);
    assert!(told.lag_bytes.unwrap() > 64 << 10 && told.problem.unwrap().contains("bytes behind"));
    eventually("reads on the other one", async || replica(&db, other).selected).await;
    for _ in 0..4 {
        assert_ne!(port(&db, Freshness::Bounded).await, late);
    }
    world.cluster.resume_replay(0);
    eventually("reads on it again", async || port(&db, Freshness::Bounded).await == late).await;
    assert_eq!(replica(&db, late).problem, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_replica_that_is_too_long_behind_is_left_out_and_an_idle_primary_makes_none_late() {
    let mut world = World::new(1, false);
    world.options.max_lag = Duration::from_secs(1);
    let db = world.open().await;
    insert(&db, 1).await.unwrap();
    // Nothing is written for longer than a replica may be behind.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = async || {
        let told = replica(&db, world.replica_port(0));
        told.selected && told.lag == Some(Duration::ZERO)
    };
    eventually("a replica that has everything", told).await;
    world.cluster.pause_replay(0);
    insert(&db, 2).await.unwrap();
    eventually("the end of reads on it", async || selected(&db) == 0).await;
    assert!(replica(&db, world.replica_port(0)).problem.unwrap().contains("behind"));
    assert_eq!(find(&db, Freshness::Bounded, 2).await.unwrap(), (true, world.primary_port()));
    world.cluster.resume_replay(0);
    eventually("reads on it again", async || selected(&db) == 1).await;
    assert!(find(&db, Freshness::Bounded, 2).await.unwrap().0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_read_that_writes_is_refused() {
    let world = World::new(2, false);
    let db = world.open().await;
    for n in 1..=4 {
        let written = db.read(Freshness::Bounded, n, |connection, n| {
            Box::pin(async move {
                let sql = format!("INSERT INTO numbers (n) VALUES ({n})");
                sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
                Ok::<_, Error>(())
            })
        });
        let refused: Error = written.await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
        assert!(refused.to_string().contains("read-only"), "{refused}");
    }
    assert!(numbers(&db).await.is_empty());
    // Nothing is wrong with the replicas for it, nor with the connections of the primary.
    assert_eq!(selected(&db), 2);
    insert(&db, 1).await.unwrap();
    for n in 2..30_i32 {
        sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(i64::from(n)).execute(db.reader()).await.unwrap();
    }
}
