//! Callers that are cancelled, at any point: their connections serve the next ones.

use std::net::Ipv4Addr;
use std::str::FromStr as _;
use std::time::Duration;

use meshwork_sql::{Error, Place, Postgres, PostgresOptions, shards};
use meshwork_testkit::{FaultProxy, Postgres as TestServer};
use sqlx::postgres::PgConnectOptions;

use crate::tables;
use crate::worlds::{Server, eventually};

/// The connections of a pool.
const CONNECTIONS: u32 = 4;
/// Longer than a test: no server ends what was left behind.
const LONG: Duration = Duration::from_secs(120);

/// Whether each connection of a pool takes what is written, and others see it at once: none is in a transaction.
pub(crate) async fn all_serve(db: &Postgres, other: &Postgres) {
    let mut held = Vec::new();
    for _ in 0..db.stats().max {
        held.push(db.reader().acquire().await.unwrap());
    }
    // Apart from what the tests write themselves, which may still come.
    let last = sqlx::query_scalar("SELECT coalesce(max(n), $1) FROM numbers WHERE n > $1").bind(1_i64 << 40);
    let last: i64 = last.fetch_one(other.reader()).await.unwrap();
    for (n, connection) in (last + 1..).zip(&mut held) {
        sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(n).execute(&mut **connection).await.unwrap();
    }
    let seen = sqlx::query_scalar("SELECT count(*) FROM numbers WHERE n > $1").bind(last);
    let seen: i64 = seen.fetch_one(other.reader()).await.unwrap();
    assert_eq!(seen, i64::from(db.stats().max));
}

/// How many advisory locks are held or waited for in the database.
async fn locks(db: &Postgres) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
               WHERE d.datname = current_database() AND l.locktype = 'advisory'";
    sqlx::query_scalar(sql).fetch_one(db.reader()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_cancelled_while_they_enter_a_piece_leave_no_lock_and_no_transaction() {
    let mut world = Server::alone();
    let other = world.open().await;
    world.options.max_connections = CONNECTIONS;
    world.options.acquire_timeout = Duration::from_secs(10);
    world.options.statement_timeout = LONG;
    let db = world.open_with(&[shards::COMPONENT]).await.unwrap();
    sqlx::query("INSERT INTO shard_owned (space, piece, version) VALUES (0, 1, 1)").execute(db.reader()).await.unwrap();
    let place = Place { space: 0, piece: 1, version: 1 };
    let write = |n: i64| {
        let db = db.clone();
        tokio::spawn(async move {
            let places = [place];
            let written = db.write_at(&places, n, |connection, n| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(*n).execute(connection).await?;
                    Ok::<_, Error>(())
                })
            });
            written.await
        })
    };
    for round in 0..40_u32 {
        let mut holder = other.reader().begin().await.unwrap();
        sqlx::query("SELECT pg_advisory_xact_lock(19799, 1)").execute(&mut *holder).await.unwrap();
        let first = i64::from(round * CONNECTIONS);
        let writes: Vec<_> = (first..).take(4).map(&write).collect();
        tokio::time::sleep(Duration::from_micros(u64::from(round) * 300)).await;
        let (cancelled, freed) = writes.split_at(2);
        cancelled.iter().for_each(tokio::task::JoinHandle::abort);
        // Some are cancelled while they wait, others when they have just entered.
        holder.rollback().await.unwrap();
        freed.iter().for_each(tokio::task::JoinHandle::abort);
        for write in writes {
            if let Ok(written) = write.await {
                written.unwrap();
            }
        }
    }
    eventually("the end of all locks", async || locks(&other).await == 0).await;
    all_serve(&db, &other).await;
    write(1_000_000).await.unwrap().unwrap();
    assert_eq!(locks(&other).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_cancelled_while_others_keep_its_piece_frees_its_connection() {
    let mut world = Server::alone();
    let other = world.open().await;
    world.options.max_connections = 1;
    world.options.acquire_timeout = Duration::from_secs(10);
    world.options.statement_timeout = LONG;
    let db = world.open_with(&[shards::COMPONENT]).await.unwrap();
    let mut holder = other.reader().begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(19799, 1)").execute(&mut *holder).await.unwrap();
    let waiting = tokio::spawn({
        let db = db.clone();
        async move {
            let place = Place { space: 0, piece: 1, version: 1 };
            db.write_at(&[place], (), |_, ()| Box::pin(async { Ok::<_, Error>(()) })).await
        }
    });
    eventually("the wait", async || locks(&other).await == 2).await;
    waiting.abort();
    // The lock is still held: nobody waits for it on the only connection any more, nor at the server.
    all_serve(&db, &other).await;
    eventually("the end of the wait", async || locks(&other).await == 1).await;
    holder.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_that_are_cancelled_while_they_begin_leave_no_transaction() {
    let server = TestServer::private();
    let url = server.database();
    let other = Postgres::open(&PostgresOptions::new(&url), tables::ALL.as_slice()).await.unwrap();
    let port = PgConnectOptions::from_str(&url).unwrap().get_port();
    let proxy = FaultProxy::start((Ipv4Addr::LOCALHOST, port).into()).await;
    let options = PostgresOptions {
        max_connections: CONNECTIONS,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: LONG,
        ..PostgresOptions::new(url.replace(&format!(":{port}/"), &format!(":{}/", proxy.addr().port())))
    };
    let db = Postgres::open(&options, tables::ALL.as_slice()).await.unwrap();
    all_serve(&db, &other).await;
    // A round to the server takes its time, so that each part of a beginning is met.
    proxy.latency(Duration::from_millis(10), Duration::ZERO);
    for round in 0..40_u32 {
        let begins: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move { db.snapshot().await.map(drop) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 2)).await;
        begins.iter().for_each(tokio::task::JoinHandle::abort);
    }
    proxy.latency(Duration::ZERO, Duration::ZERO);
    all_serve(&db, &other).await;
}
