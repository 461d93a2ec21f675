//! The pool of a server: its defaults, its bounds and what it tells.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meshwork_sql::{Error, Kind, Observer, PoolStats, Postgres, PostgresOptions, TransactionEnd};

use crate::tables;
use crate::worlds::{Server, eventually};

/// Notes what it is told.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) connections: Mutex<Vec<bool>>,
    pub(crate) transactions: Mutex<Vec<(u32, TransactionEnd)>>,
}

impl Observer for Notes {
    fn connection(&self, _waited: Duration, acquired: bool) {
        self.connections.lock().unwrap().push(acquired);
    }

    fn transaction(&self, _took: Duration, attempts: u32, end: TransactionEnd) {
        self.transactions.lock().unwrap().push((attempts, end));
    }
}

pub(crate) async fn insert(db: &Postgres, n: i64) -> Result<(), Error> {
    db.write(n, |connection, n| {
        Box::pin(async move {
            sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(*n).execute(connection).await?;
            Ok(())
        })
    })
    .await
}

#[test]
fn the_defaults_are_as_documented() {
    let options = PostgresOptions::new("postgres://somebody:secret@host/database");
    assert_eq!((options.max_connections, options.min_connections), (20, 1));
    assert_eq!((options.acquire_timeout, options.idle_timeout), (Duration::from_secs(2), Duration::from_secs(30)));
    assert_eq!(options.statement_timeout, Duration::from_secs(10));
    assert_eq!((options.max_lag, options.max_lag_bytes), (Duration::from_secs(2), 16 << 20));
    assert!(options.replicas.is_empty() && options.observer.is_none());
    assert!(!format!("{options:?}").contains("secret"));
}

#[tokio::test]
async fn the_wait_for_a_connection_is_bounded_and_told() {
    let mut world = Server::new();
    let notes = Arc::new(Notes::default());
    world.options.max_connections = 1;
    world.options.acquire_timeout = Duration::from_millis(200);
    world.options.observer = Some(notes.clone());
    let db = world.open().await;
    insert(&db, 1).await.unwrap();
    eventually("an idle connection", async || db.stats() == PoolStats { connections: 1, idle: 1, max: 1 }).await;

    let held = db.snapshot().await.unwrap();
    assert_eq!(db.stats(), PoolStats { connections: 1, idle: 0, max: 1 });
    let asked = Instant::now();
    let refused = insert(&db, 2).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!(matches!(db.ping().await, Err(error) if error.kind() == Kind::Unavailable));

    drop(held);
    insert(&db, 2).await.unwrap();
    assert_eq!(*notes.connections.lock().unwrap(), [true, false, true]);
    let (done, not) = ((1, TransactionEnd::Committed), (1, TransactionEnd::NotBegun));
    assert_eq!(*notes.transactions.lock().unwrap(), [done, not, done]);
}

#[tokio::test]
async fn idle_connections_are_closed_down_to_those_that_are_kept() {
    let mut world = Server::new();
    world.options.idle_timeout = Duration::from_millis(100);
    let db = world.open().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(db.snapshot().await.unwrap());
    }
    assert_eq!(db.stats(), PoolStats { connections: 4, idle: 0, max: 20 });
    drop(held);
    eventually("the end of idle connections", async || db.stats().connections == 1).await;
}

#[tokio::test]
async fn a_wrong_url_is_no_server_to_wait_for() {
    let options = PostgresOptions::new("postgres://127.0.0.1:port/database");
    for error in [
        Postgres::open(&options, &[]).await.err().unwrap(),
        Postgres::open_when_reached(&options, &[]).await.err().unwrap(),
    ] {
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
    }
}

#[tokio::test]
async fn work_in_nobody_s_way_is_done_once() {
    let mut world = Server::new();
    let notes = Arc::new(Notes::default());
    world.options.observer = Some(notes.clone());
    let db = Postgres::open(&world.options, tables::ALL.as_slice()).await.unwrap();
    for n in 1..=3 {
        insert(&db, n).await.unwrap();
    }
    assert_eq!(*notes.transactions.lock().unwrap(), [(1, TransactionEnd::Committed); 3]);
    // A row that is there stays in the way.
    assert_eq!(insert(&db, 3).await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(notes.transactions.lock().unwrap().last(), Some(&(8, TransactionEnd::Conflict)));
}
