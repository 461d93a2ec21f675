//! More callers than connections, and servers that go away under them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_sql::{Error, Kind, PoolStats, Postgres, PostgresOptions};
use meshwork_testkit::Postgres as TestServer;

use crate::cancelled::all_serve;
use crate::pool::insert;
use crate::tables;
use crate::worlds::{Server, eventually};

/// On one thread, so that they ask in the order in which they are started.
#[tokio::test]
async fn a_hundred_callers_on_twenty_connections_are_served_in_turn() {
    let world = Server::alone();
    let db = world.open().await;
    // All connections are there: the time that it takes to make one is no part of it.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(db.snapshot().await.unwrap());
    }
    drop(held);
    let all = PoolStats { connections: 20, idle: 20, max: 20 };
    eventually("twenty idle connections", async || db.stats() == all).await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let callers: Vec<_> = (0..100_usize)
        .map(|caller| {
            let (db, input) = (db.clone(), (caller, served.clone()));
            tokio::spawn(async move {
                let work = db.write(input, |connection, (caller, served)| {
                    Box::pin(async move {
                        served.lock().unwrap().push(*caller);
                        sqlx::query("SELECT pg_sleep(0.05)").execute(connection).await?;
                        Ok::<_, Error>(())
                    })
                });
                work.await
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let served = served.lock().unwrap().clone();
    assert_eq!(served.len(), 100);
    // As many as there are connections may overtake each other, and no more by far.
    for (turn, caller) in served.iter().enumerate() {
        assert!(turn.abs_diff(*caller) <= 40, "caller {caller} was the one to be served at turn {turn}: {served:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_for_whom_no_connection_gets_free_are_told_so_and_what_to_do() {
    let world = Server::alone();
    let db = world.open().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(db.snapshot().await.unwrap());
    }
    let callers: Vec<_> = (1..=80)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move { insert(&db, n).await })
        })
        .collect();
    for caller in callers {
        let refused = caller.await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), Kind::Unavailable);
        let sentence = refused.to_string();
        for part in
            ["no connection to the database was free within 2s", "all 20 are in use", "try again", "max_connections"]
        {
            assert!(sentence.contains(part), "{part:?} isn't in {sentence:?}");
        }
    }
    let (snapshot, ping) = tokio::join!(db.snapshot(), db.ping());
    for error in [snapshot.map(drop).unwrap_err(), ping.unwrap_err()] {
        assert!(matches!(error, Error::NoConnection(_)), "{error}");
    }
    drop(held);
    for n in 1..=80 {
        insert(&db, n).await.unwrap();
    }
}

/// Callers that write numbers of their own without end; some of them are impatient.
struct Load {
    stopped: Arc<AtomicBool>,
    answered: Arc<Mutex<BTreeSet<i64>>>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(db: &Postgres) -> Self {
        let (stopped, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
        let callers = (0..16_i64).map(|caller| {
            let (db, stopped, answered) = (db.clone(), stopped.clone(), answered.clone());
            tokio::spawn(async move {
                for n in (caller..).step_by(16) {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    // Cancelled at any point, if it takes so long.
                    let impatient = Duration::from_millis(1 + n.unsigned_abs() / 16 % 8);
                    let patience = if caller % 2 == 0 { Duration::from_secs(60) } else { impatient };
                    match tokio::time::timeout(patience, insert(&db, n)).await {
                        Ok(Ok(())) => _ = answered.lock().unwrap().insert(n),
                        Ok(Err(error)) => {
                            let kind = error.kind();
                            assert!(matches!(kind, Kind::Unavailable | Kind::OutcomeUnknown), "{kind:?}: {error}");
                        }
                        Err(_) => {}
                    }
                }
            })
        });
        let callers = callers.collect();
        Self { stopped, answered, callers }
    }

    /// Returns after some more writes were answered.
    async fn go_on(&self) {
        let count = || self.answered.lock().unwrap().len();
        let enough = count() + 200;
        let is_over = || self.callers.iter().any(tokio::task::JoinHandle::is_finished);
        eventually("the next writes", async || count() >= enough || is_over()).await;
    }

    /// Ends it, and returns what was answered.
    async fn stop(self) -> BTreeSet<i64> {
        self.stopped.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        self.answered.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_under_load_loses_no_write_that_was_answered() {
    let mut server = TestServer::private();
    let options = PostgresOptions { max_connections: 8, ..PostgresOptions::new(server.database()) };
    let db = Postgres::open(&options, tables::ALL.as_slice()).await.unwrap();
    let load = Load::start(&db);
    for _ in 0..3 {
        load.go_on().await;
        server.kill();
        server.restart();
    }
    load.go_on().await;
    let answered = load.stop().await;
    let there: Vec<i64> = sqlx::query_scalar("SELECT n FROM numbers").fetch_all(db.reader()).await.unwrap();
    let there: BTreeSet<_> = there.into_iter().collect();
    let lost: Vec<_> = answered.difference(&there).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let other = Postgres::open(&options, tables::ALL.as_slice()).await.unwrap();
    all_serve(&db, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_that_hangs_leaves_behind_keeps_no_connection() {
    let server = TestServer::private();
    let url = server.database();
    let patient = PostgresOptions { max_connections: 8, min_connections: 0, ..PostgresOptions::new(&url) };
    let db = Postgres::open(&patient, tables::ALL.as_slice()).await.unwrap();
    let load = Load::start(&db);
    load.go_on().await;
    server.freeze();
    // Their callers give up, at whatever they are.
    load.callers.iter().for_each(tokio::task::JoinHandle::abort);
    let is_free = async || {
        let stats = db.stats();
        stats.connections == stats.idle
    };
    eventually("the end of all that was under way", is_free).await;
    server.thaw();
    let other = Postgres::open(&PostgresOptions::new(&url), tables::ALL.as_slice()).await.unwrap();
    all_serve(&db, &other).await;
}
