//! What goes wrong between us and a server, each provoked.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use meshwork_sql::{Component, Error, Kind, Postgres, PostgresOptions, TransactionEnd, on_commit};
use meshwork_testkit::Postgres as TestServer;
use sqlx::Row as _;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use crate::pool::{Notes, insert};
use crate::tables;
use crate::worlds::{Server, eventually};

/// The time within which a fault must be told.
const SOON: Duration = Duration::from_secs(5);

fn options(url: String) -> PostgresOptions {
    PostgresOptions { acquire_timeout: Duration::from_millis(500), ..PostgresOptions::new(url) }
}

async fn count(db: &Postgres) -> i64 {
    sqlx::query("SELECT count(*) FROM numbers").fetch_one(db.reader()).await.unwrap().get(0)
}

/// Runs statements, each in the same transaction.
async fn run(db: &Postgres, statements: &'static [&'static str]) -> Result<(), Error> {
    db.write(statements, |connection, statements| {
        Box::pin(async move {
            for sql in *statements {
                sqlx::query(*sql).execute(&mut *connection).await?;
            }
            Ok(())
        })
    })
    .await
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_unavailable_and_leaves_nothing() {
    let mut world = Server::new();
    world.options.statement_timeout = Duration::from_millis(100);
    let db = world.open().await;
    let slow = run(&db, &["INSERT INTO numbers (n) VALUES (1)", "SELECT pg_sleep(30)"]).await.unwrap_err();
    assert_eq!(slow.kind(), Kind::Unavailable, "{slow}");
    assert_eq!(count(&db).await, 0);
}

#[tokio::test]
async fn work_that_passes_over_a_failed_statement_does_not_count_as_done() {
    let world = Server::new();
    let db = world.open().await;
    let passed_over = db.write::<_, (), Error, _>((), |connection, ()| {
        Box::pin(async move {
            sqlx::query("INSERT INTO numbers (n) VALUES (1)").execute(&mut *connection).await?;
            sqlx::query("SELECT nothing FROM nowhere").execute(connection).await.ok();
            Ok(())
        })
    });
    let error = passed_over.await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
    assert_eq!(count(&db).await, 0);
}

#[tokio::test]
async fn a_wait_for_a_lock_is_bounded_too() {
    let mut world = Server::new();
    let holding = world.open().await;
    insert(&holding, 1).await.unwrap();
    let mut holder = holding.reader().begin().await.unwrap();
    sqlx::query("SELECT n FROM numbers FOR UPDATE").execute(&mut *holder).await.unwrap();
    world.options.statement_timeout = Duration::from_millis(100);
    let db = world.open().await;
    let waits = run(&db, &["DELETE FROM numbers"]).await.unwrap_err();
    assert_eq!(waits.kind(), Kind::Unavailable, "{waits}");
    holder.rollback().await.unwrap();
    run(&db, &["DELETE FROM numbers"]).await.unwrap();
}

#[tokio::test]
async fn a_migration_may_take_longer_than_other_statements() {
    let mut world = Server::new();
    world.options.statement_timeout = Duration::from_millis(300);
    let db = world.open_with(&tables::slow()).await.unwrap();
    // The others are bounded as before.
    assert_eq!(run(&db, &["SELECT pg_sleep(30)"]).await.unwrap_err().kind(), Kind::Unavailable);
    insert(&db, 1).await.unwrap();
}

#[tokio::test]
async fn a_migration_that_needs_a_lock_says_so_and_passes_once_it_is_free() {
    let mut world = Server::new();
    let db = world.open().await;
    let mut holder = db.reader().begin().await.unwrap();
    sqlx::query("SELECT n FROM numbers").fetch_all(&mut *holder).await.unwrap();
    world.options.statement_timeout = Duration::from_millis(300);
    let Err(error) = world.open_with(&tables::newer()).await.map(drop) else { panic!("it was migrated") };
    assert!(matches!(error, Error::Locked { component: "numbers", .. }), "{error}");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("pg_stat_activity"), "{error}");
    holder.rollback().await.unwrap();
    assert_eq!(world.migrate(&tables::newer()).await, 2);
}

#[tokio::test]
async fn who_holds_a_lock_and_does_nothing_loses_it() {
    let mut world = Server::new();
    let db = world.open().await;
    insert(&db, 1).await.unwrap();
    world.options.statement_timeout = Duration::from_millis(100);
    let idle = world.open().await;
    let mut holder = idle.reader().begin().await.unwrap();
    sqlx::query("SELECT n FROM numbers FOR UPDATE").execute(&mut *holder).await.unwrap();
    let began = Instant::now();
    run(&db, &["DELETE FROM numbers"]).await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    holder.commit().await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_is_killed_is_unavailable_and_used_again_when_it_is_back() {
    let mut server = TestServer::private();
    let db = Postgres::open(&options(server.database()), tables::ALL.as_slice()).await.unwrap();
    insert(&db, 1).await.unwrap();
    server.kill();
    for n in 2..=3 {
        let asked = Instant::now();
        assert_eq!(insert(&db, n).await.unwrap_err().kind(), Kind::Unavailable);
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    server.restart();
    eventually("a write", async || insert(&db, 4).await.is_ok()).await;
    let kept = sqlx::query("SELECT n FROM numbers ORDER BY n").fetch_all(db.reader()).await.unwrap();
    assert_eq!(kept.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [1, 4]);
}

/// Waits until the server is at a statement.
async fn is_at(db: &Postgres, statement: &str) {
    eventually(statement, async || {
        let found = "SELECT 1 FROM pg_stat_activity \
                     WHERE query = $1 AND state = 'active' AND datname = current_database()";
        let found = sqlx::query(found);
        found.bind(statement).fetch_optional(db.reader()).await.unwrap().is_some()
    })
    .await;
}

/// Has each commit of an insert take its time, by a trigger that is deferred to it.
const SLOW_COMMITS: &[&str] = &[
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON numbers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
     EXECUTE FUNCTION slow()",
    "CREATE TABLE late (n BIGINT)",
];

/// A write of one number, under way, and how often its callback was called.
fn writing(db: &Postgres) -> (JoinHandle<Result<(), Error>>, Arc<AtomicU32>) {
    let (db, calls) = (db.clone(), Arc::new(AtomicU32::new(0)));
    let called = calls.clone();
    let task = tokio::spawn(async move {
        db.write(called, |connection, called| {
            Box::pin(async move {
                sqlx::query("INSERT INTO numbers (n) VALUES (1)").execute(connection).await?;
                let called = called.clone();
                on_commit(move || _ = called.fetch_add(1, Ordering::Relaxed));
                Ok(())
            })
        })
        .await
    });
    (task, calls)
}

#[tokio::test]
async fn a_commit_whose_connection_is_ended_has_an_unknown_outcome() {
    let mut world = Server::new();
    let notes = Arc::new(Notes::default());
    world.options.observer = Some(notes.clone());
    let db = world.open().await;
    run(&db, SLOW_COMMITS).await.unwrap();
    let (cut, calls) = writing(&db);
    is_at(&db, "COMMIT").await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE query = 'COMMIT' AND state = 'active' AND datname = current_database()";
    sqlx::query(end).execute(db.reader()).await.unwrap();
    let error = cut.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::OutcomeUnknown, "{error}");
    // It was not done again: that is safe only where it is known as the same.
    assert_eq!(notes.transactions.lock().unwrap().last(), Some(&(1, TransactionEnd::OutcomeUnknown)));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_server_that_is_killed_amid_the_work_has_written_nothing_and_amid_the_commit_nobody_knows() {
    let mut server = TestServer::private();
    let db = Postgres::open(&options(server.database()), tables::ALL.as_slice()).await.unwrap();
    run(&db, SLOW_COMMITS).await.unwrap();
    let working = db.clone();
    let slow =
        tokio::spawn(async move { run(&working, &["INSERT INTO late VALUES (1)", "SELECT pg_sleep(30)"]).await });
    is_at(&db, "SELECT pg_sleep(30)").await;
    server.kill();
    assert_eq!(slow.await.unwrap().unwrap_err().kind(), Kind::Unavailable);
    server.restart();
    eventually("the server", async || db.ping().await.is_ok()).await;
    let kept = sqlx::query("SELECT n FROM late").fetch_all(db.reader()).await.unwrap();
    assert!(kept.is_empty());

    let (cut, calls) = writing(&db);
    is_at(&db, "COMMIT").await;
    server.kill();
    let error = cut.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), calls.load(Ordering::Relaxed)), (Kind::OutcomeUnknown, 0), "{error}");
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_has_a_known_outcome() {
    let mut world = Server::new();
    let notes = Arc::new(Notes::default());
    world.options.observer = Some(notes.clone());
    let db = world.open().await;
    run(
        &db,
        &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted''; END'",
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON numbers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
             EXECUTE FUNCTION refuse()",
            "CREATE TABLE late (n BIGINT UNIQUE DEFERRABLE INITIALLY DEFERRED)",
            "INSERT INTO late (n) VALUES (1)",
        ],
    )
    .await
    .unwrap();
    assert_eq!(insert(&db, 1).await.unwrap_err().kind(), Kind::Damaged);
    assert_eq!(notes.transactions.lock().unwrap().last(), Some(&(1, TransactionEnd::Undone)));
    assert_eq!(run(&db, &["INSERT INTO late (n) VALUES (1)"]).await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(notes.transactions.lock().unwrap().last(), Some(&(8, TransactionEnd::Conflict)));
    assert_eq!(count(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_wait_for_each_other_one_is_done_again_and_both_succeed() {
    let mut world = Server::new();
    let notes = Arc::new(Notes::default());
    world.options.observer = Some(notes.clone());
    let db = world.open().await;
    run(&db, &["INSERT INTO numbers (n, note) VALUES (1, ''), (2, '')"]).await.unwrap();
    let (both, calls) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    let crosswise = |order: [i64; 2]| {
        let (db, input) = (db.clone(), (order, AtomicU32::new(0), both.clone(), calls.clone()));
        tokio::spawn(async move {
            db.write(input, |connection, (order, tries, both, calls)| {
                Box::pin(async move {
                    let first = tries.fetch_add(1, Ordering::Relaxed) == 0;
                    for (at, n) in (0..).zip(order) {
                        if at == 1 && first {
                            both.wait().await;
                        }
                        let append = sqlx::query("UPDATE numbers SET note = note || 'x' WHERE n = $1");
                        append.bind(*n).execute(&mut *connection).await?;
                    }
                    let calls = calls.clone();
                    on_commit(move || _ = calls.fetch_add(1, Ordering::Relaxed));
                    Ok::<_, Error>(())
                })
            })
            .await
        })
    };
    let (one, other) = (crosswise([1, 2]), crosswise([2, 1]));
    one.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    let notes_of = sqlx::query("SELECT note FROM numbers").fetch_all(db.reader()).await.unwrap();
    assert!(notes_of.iter().all(|row| row.get::<String, _>(0) == "xx"), "each was done once");
    // Callbacks of what was undone are forgotten.
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let told = notes.transactions.lock().unwrap()[1..].to_vec();
    assert!(told.iter().all(|(_, end)| *end == TransactionEnd::Committed), "{told:?}");
    assert_eq!(told.iter().filter(|(attempts, _)| *attempts > 1).count(), 1, "{told:?}");
}

static LATE: LazyLock<&'static [Component]> = LazyLock::new(|| tables::ALL.as_slice());

#[tokio::test]
async fn a_server_that_comes_later_does_not_stop_the_start() {
    let mut server = TestServer::private();
    let options = options(server.database());
    server.kill();
    assert_eq!(Postgres::open(&options, &LATE).await.err().unwrap().kind(), Kind::Unavailable);
    let asked = Instant::now();
    let db = Postgres::open_when_reached(&options, &LATE).await.unwrap();
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    assert_eq!(insert(&db, 1).await.unwrap_err().kind(), Kind::Unavailable);
    server.restart();
    eventually("the tables", async || insert(&db, 1).await.is_ok()).await;
    assert_eq!(count(&db).await, 1);
}

/// A host that hangs answers nothing, and says nothing either.
#[tokio::test]
async fn a_server_that_hangs_gives_no_connection_within_the_bound() {
    let server = TestServer::private();
    let db = Postgres::open(&options(server.database()), tables::ALL.as_slice()).await.unwrap();
    insert(&db, 1).await.unwrap();
    server.freeze();
    let asked = Instant::now();
    assert_eq!(insert(&db, 2).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    server.thaw();
    eventually("a write", async || insert(&db, 3).await.is_ok()).await;
    assert_eq!(count(&db).await, 2);
}

#[tokio::test]
async fn sessions_that_are_read_only_by_default_write_all_the_same() {
    let mut world = Server::new();
    world.options.max_connections = 1;
    let db = world.open().await;
    insert(&db, 1).await.unwrap();
    // As an operator or a failover leaves sessions behind that are in use.
    sqlx::query("SET default_transaction_read_only = on").execute(db.reader()).await.unwrap();
    insert(&db, 2).await.unwrap();
    assert_eq!(count(&db).await, 2);
}
