//! A replica becomes the primary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_sql::{Error, Freshness, Kind, Postgres, PostgresOptions};
use tokio::task::JoinHandle;

use crate::worlds::{LONG, TABLES, World, eventually, find, insert, numbers, port, selected};

/// How often each of several callers was answered.
type Progress = Arc<Mutex<BTreeMap<usize, u64>>>;

/// Writes numbers without end, and notes those that were acknowledged.
struct Writer {
    stopped: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<i64>>>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(db: &Postgres) -> Self {
        let (stopped, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
        let (db, stop, noted) = (db.clone(), stopped.clone(), acknowledged.clone());
        let task = tokio::spawn(async move {
            for n in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                match insert(&db, n).await {
                    Ok(()) => _ = noted.lock().unwrap().insert(n),
                    Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::OutcomeUnknown) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { stopped, acknowledged, task }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Returns after some more writes.
    async fn go_on(&self) {
        let enough = self.count() + 50;
        eventually("the next writes", async || self.count() >= enough || self.task.is_finished()).await;
    }

    async fn stop(self) -> BTreeSet<i64> {
        self.stopped.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.acknowledged.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_promotion_loses_no_acknowledged_write_and_old_tokens_go_to_the_new_primary() {
    let mut world = World::new(2, true);
    let db = world.open().await;
    let writer = Writer::start(&db);
    writer.go_on().await;
    let token = db.position().await.unwrap();
    world.cluster.primary_mut().kill();
    let promoted = world.cluster.most_advanced();
    world.cluster.promote(promoted);
    writer.go_on().await;
    let acknowledged = writer.stop().await;
    let there: BTreeSet<_> = numbers(&db).await.into_iter().collect();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "{lost:?}");

    let (new_port, other) = (world.replica_port(promoted), 1 - promoted);
    assert_eq!(port(&db, Freshness::Latest).await, new_port);
    let first = *acknowledged.first().unwrap();
    // The other one still follows the old primary, or nobody.
    assert_eq!(find(&db, Freshness::AtLeast(token), first).await.unwrap(), (true, new_port));
    world.cluster.follow(other, promoted);
    eventually("reads on the other one", async || port(&db, Freshness::Bounded).await == world.replica_port(other))
        .await;
    assert_eq!(find(&db, Freshness::AtLeast(token), first).await.unwrap(), (true, new_port));
    let token = db.position().await.unwrap();
    assert_eq!(token.timeline, 2);
    eventually("an answer to the new token", async || {
        let (found, port) = find(&db, Freshness::AtLeast(token), first).await.unwrap();
        assert!(found, "a stale read");
        port == world.replica_port(other)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_an_old_primary_that_comes_back_is_not_written_to() {
    let mut world = World::new(1, false);
    let db = world.open().await;
    insert(&db, -1).await.unwrap();
    world.cluster.wait_for_replay(0);
    world.cluster.primary_mut().kill();
    world.cluster.promote(0);
    eventually("a write at the new primary", async || insert(&db, -2).await.is_ok()).await;
    world.cluster.primary_mut().restart();
    let old = format!("127.0.0.1:{}", world.primary_port());
    eventually("the old primary's problem", async || {
        let replicas = db.replicas();
        assert_eq!(replicas.len(), 1);
        replicas[0].name == old && replicas[0].problem.as_ref().is_some_and(|problem| problem.contains("promoted"))
    })
    .await;
    assert_eq!(selected(&db), 0);
    for n in 1..=100 {
        insert(&db, n).await.unwrap();
    }
    // Neither is it by a process that starts now, though its URL comes first.
    let fresh = Postgres::open(&world.options, TABLES.as_slice()).await.unwrap();
    insert(&fresh, 101).await.unwrap();
    assert_eq!(port(&fresh, Freshness::Latest).await, world.replica_port(0));
    assert_eq!(numbers(&db).await.len(), 103);
    assert_eq!(world.cluster.primary().sql(world.database(), "SELECT count(*) FROM numbers"), "1");
}

/// As a host that hangs and goes on after others have taken its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_connections_to_an_old_primary_that_goes_on_are_not_written_to() {
    let world = World::new(1, false);
    let db = world.open().await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(db.reader().acquire().await.unwrap());
    }
    drop(held);
    eventually("idle connections", async || db.stats().idle >= 5).await;
    world.cluster.primary().freeze();
    world.cluster.promote(0);
    eventually("a write at the new primary", async || insert(&db, 1).await.is_ok()).await;
    world.cluster.primary().thaw();
    for n in 2..=50 {
        insert(&db, n).await.unwrap();
    }
    assert_eq!(numbers(&db).await.len(), 50);
    assert_eq!(world.cluster.primary().sql(world.database(), "SELECT count(*) FROM numbers"), "0");
}

/// As a host that hangs for good, amid the work of as many as there are connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_what_is_under_way_at_a_primary_that_hangs_ends_when_a_replica_is_promoted() {
    let mut world = World::new(1, false);
    // No bound of a statement ends it.
    world.options.statement_timeout = LONG;
    let db = world.open().await;
    let (stopped, next, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(1)), Progress::default());
    let callers: Vec<_> = (0..20_usize)
        .map(|caller| {
            let (db, stopped, next, done) = (db.clone(), stopped.clone(), next.clone(), done.clone());
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    // Every fourth one reads.
                    let result = match caller % 4 {
                        0 => find(&db, Freshness::Latest, 0).await.map(drop),
                        _ => insert(&db, next.fetch_add(1, Ordering::Relaxed)).await,
                    };
                    match result {
                        Ok(()) => {
                            _ = done.lock().unwrap().entry(caller).and_modify(|times| *times += 1).or_insert(1_u64);
                        }
                        Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::OutcomeUnknown) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let all_go_on = async |callers: &[JoinHandle<()>]| {
        let before = done.lock().unwrap().clone();
        let have_gone_on = || {
            let now = done.lock().unwrap().clone();
            (0..callers.len())
                .all(|caller| callers[caller].is_finished() || now.get(&caller).copied() > before.get(&caller).copied())
        };
        eventually("what each of them does next", async || have_gone_on()).await;
    };
    all_go_on(callers.as_slice()).await;
    world.cluster.primary().freeze();
    // Some have given up before, at whatever they were.
    callers.iter().take(5).for_each(JoinHandle::abort);
    world.cluster.promote(0);
    all_go_on(callers.as_slice()).await;
    stopped.store(true, Ordering::Relaxed);
    for (caller, task) in callers.into_iter().enumerate() {
        match task.await {
            Ok(()) => {}
            Err(error) => assert!(error.is_cancelled() && caller < 5, "{caller}: {error}"),
        }
    }
    assert_eq!(port(&db, Freshness::Latest).await, world.replica_port(0));
    // The old primary still hangs, and keeps none of the connections.
    eventually("twenty connections at once", async || {
        let mut held = Vec::new();
        while let Ok(connection) = db.reader().acquire().await {
            held.push(connection);
            if held.len() == 20 {
                return true;
            }
        }
        false
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_found_wherever_it_stands_in_the_list() {
    let world = World::new(1, false);
    let options = PostgresOptions {
        replicas: vec![world.url.clone()],
        acquire_timeout: Duration::from_secs(1),
        ..PostgresOptions::new(world.cluster.replica_url(0, &world.url))
    };
    let db = Postgres::open(&options, TABLES.as_slice()).await.unwrap();
    insert(&db, 1).await.unwrap();
    assert_eq!(port(&db, Freshness::Latest).await, world.primary_port());
    eventually("the replica", async || port(&db, Freshness::Bounded).await == world.replica_port(0)).await;
    // Replicas alone can't be migrated.
    let alone = PostgresOptions { replicas: vec![options.url.clone()], ..options.clone() };
    let refused: Error = Postgres::open(&alone, TABLES.as_slice()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!(refused.to_string().contains("all of them are replicas"), "{refused}");
}
