//! What both drivers do alike.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use meshwork_sql::dialect::printable;
use meshwork_sql::{Error, Kind, WorkError, carried, carrying, on_commit};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Connection, Database, FOR_UPDATE, NOW, SKIP_LOCKED, World, index_hint};

async fn put(connection: &mut Connection, n: i64) -> Result<(), Error> {
    sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(n).execute(connection).await?;
    Ok(())
}

async fn insert(db: &Database, n: i64) -> Result<(), Error> {
    db.write(n, |connection, n| Box::pin(put(connection, *n))).await
}

async fn count(db: &Database) -> i64 {
    sqlx::query("SELECT count(*) FROM numbers").fetch_one(db.reader()).await.unwrap().get(0)
}

/// Runs one statement in a transaction.
async fn run(db: &Database, sql: &'static str) -> Result<(), Error> {
    db.write((), move |connection, ()| {
        Box::pin(async move {
            sqlx::query(sql).execute(connection).await?;
            Ok(())
        })
    })
    .await
}

/// The error of a caller's work, which has reasons of its own.
#[derive(Debug)]
enum Undo {
    Refused,
    Store(Error),
}

impl From<Error> for Undo {
    fn from(error: Error) -> Self {
        Undo::Store(error)
    }
}

impl WorkError for Undo {
    fn is_conflict(&self) -> bool {
        matches!(self, Undo::Store(error) if error.is_conflict())
    }
}

#[tokio::test]
async fn what_is_written_is_seen_by_the_next_read_and_by_other_processes() {
    let world = World::new();
    let (one, other) = (world.open().await, world.open().await);
    insert(&one, 1).await.unwrap();
    assert_eq!((count(&one).await, count(&other).await), (1, 1));
}

#[tokio::test]
async fn work_that_fails_is_undone_and_its_error_comes_back() {
    let world = World::new();
    let db = world.open().await;
    let refused = db.write(7, |connection, n| {
        Box::pin(async move {
            put(connection, *n).await?;
            Err::<(), _>(Undo::Refused)
        })
    });
    assert!(matches!(refused.await, Err(Undo::Refused)));
    assert_eq!(count(&db).await, 0);
    insert(&db, 7).await.unwrap();
}

#[tokio::test]
async fn work_that_panics_is_undone_and_the_next_is_not_harmed() {
    let world = World::new();
    let db = world.open().await;
    let panicked = db.write(7, |connection, n| {
        Box::pin(async move {
            put(connection, *n).await?;
            panic!("planted")
        })
    });
    let error: Error = Result::<(), _>::unwrap_err(panicked.await);
    assert!(matches!(error, Error::Panicked));
    assert_eq!(error.kind(), Kind::Damaged);
    assert_eq!(count(&db).await, 0);
    insert(&db, 7).await.unwrap();
}

#[tokio::test]
async fn failures_have_their_kinds() {
    let world = World::new();
    let db = world.open().await;
    insert(&db, 1).await.unwrap();
    let twice = insert(&db, 1).await.unwrap_err();
    assert_eq!(twice.kind(), Kind::Conflict);
    assert!(twice.is_unique_violation() && twice.is_conflict());
    for (what, sql) in [
        ("a check", "INSERT INTO numbers (n) VALUES (-1)"),
        ("NULL", "INSERT INTO numbers (n) VALUES (NULL)"),
        ("a missing table", "DELETE FROM nowhere"),
        ("a missing column", "DELETE FROM numbers WHERE nothing = 1"),
        ("a typing error", "DELETE FORM numbers"),
    ] {
        let error = run(&db, sql).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "{what}: {error}");
        assert!(!error.is_unique_violation());
    }
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn the_database_s_clock_tells_microseconds() {
    let world = World::new();
    let db = world.open().await;
    let now = async || {
        let row = sqlx::query(AssertSqlSafe(format!("SELECT {NOW}"))).fetch_one(db.reader()).await.unwrap();
        row.get::<i64, _>(0)
    };
    let ours = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let (theirs, later) = (now().await, now().await);
    assert!(theirs.abs_diff(ours) < 1_000_000, "{theirs} is not within a second of {ours}");
    assert!(later >= theirs, "{later} is before {theirs}");
}

#[tokio::test]
async fn the_clock_goes_on_within_a_transaction() {
    let world = World::new();
    let db = world.open().await;
    let times = db.write((), |connection, ()| {
        Box::pin(async move {
            let sql = format!("SELECT {NOW}");
            let first =
                sqlx::query(AssertSqlSafe(sql.clone())).fetch_one(&mut *connection).await?.try_get::<i64, _>(0)?;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let second = sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await?.try_get::<i64, _>(0)?;
            Ok::<_, Error>(second - first)
        })
    });
    assert!(times.await.unwrap() >= 10_000);
}

/// Adds one to a number that it has read before: only a lock keeps two from reading the same.
async fn add_one(connection: &mut Connection) -> Result<(), Error> {
    let sql = format!("SELECT note FROM numbers WHERE n = 1{FOR_UPDATE}");
    let note: String = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?.try_get(0)?;
    let next = note.parse::<i64>().unwrap() + 1;
    tokio::task::yield_now().await;
    let sql = "UPDATE numbers SET note = $1 WHERE n = 1";
    sqlx::query(sql).bind(next.to_string()).execute(connection).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_is_changed_by_one_at_a_time() {
    let world = World::new();
    let db = world.open().await;
    run(&db, "INSERT INTO numbers (n, note) VALUES (1, '0')").await.unwrap();
    let adding: Vec<_> = (0..32)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { db.write((), |connection, ()| Box::pin(add_one(connection))).await })
        })
        .collect();
    for task in adding {
        task.await.unwrap().unwrap();
    }
    let row = sqlx::query("SELECT note FROM numbers WHERE n = 1").fetch_one(db.reader()).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "32");
}

/// Takes some jobs that nobody has.
async fn claim(connection: &mut Connection, worker: i64) -> Result<Vec<i64>, Error> {
    let sql = format!(
        "UPDATE job SET worker = $1 WHERE id IN (SELECT id FROM job{} WHERE worker IS NULL ORDER BY id LIMIT 3{SKIP_LOCKED}) \
         RETURNING id",
        index_hint("job_worker")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(worker).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_a_queue_s_rows_is_claimed_once() {
    let world = World::new();
    let db = world.open().await;
    let jobs = db.write((), |connection, ()| {
        Box::pin(async move {
            for id in 0..60_i64 {
                sqlx::query("INSERT INTO job (id) VALUES ($1)").bind(id).execute(&mut *connection).await?;
            }
            Ok::<_, Error>(())
        })
    });
    jobs.await.unwrap();
    let workers: Vec<_> = (0..6_i64)
        .map(|worker| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                loop {
                    let some =
                        db.write(worker, |connection, worker| Box::pin(claim(connection, *worker))).await.unwrap();
                    if some.is_empty() {
                        return claimed;
                    }
                    claimed.extend(some);
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    assert_eq!(all.len(), 60, "none is claimed twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (0..60).collect());
}

#[tokio::test]
async fn a_callback_is_called_once_when_its_transaction_is_committed() {
    let world = World::new();
    let db = world.open().await;
    let calls = Arc::new(AtomicU32::new(0));
    let written = db.write(calls.clone(), |connection, calls| {
        Box::pin(async move {
            put(connection, 1).await?;
            let called = calls.clone();
            on_commit(move || _ = called.fetch_add(1, Ordering::Relaxed));
            tokio::task::yield_now().await;
            // Not before.
            Ok::<_, Error>(calls.load(Ordering::Relaxed))
        })
    });
    assert_eq!(written.await.unwrap(), 0);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    insert(&db, 2).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_callback_is_not_called_when_its_transaction_is_undone() {
    let world = World::new();
    let db = world.open().await;
    let calls = Arc::new(AtomicU32::new(0));
    for panics in [false, true] {
        let undone = db.write((calls.clone(), panics), |connection, (calls, panics)| {
            Box::pin(async move {
                put(connection, 1).await?;
                let calls = calls.clone();
                on_commit(move || _ = calls.fetch_add(1, Ordering::Relaxed));
                assert!(!panics, "planted");
                Err::<(), _>(Undo::Refused)
            })
        });
        undone.await.unwrap_err();
    }
    on_commit(|| panic!("outside of a transaction there is nothing to wait for"));
    insert(&db, 1).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn work_finds_what_its_caller_carries_and_nothing_of_others() {
    let world = World::new();
    let db = world.open().await;
    let found = async || {
        db.write((), |_, ()| Box::pin(async { Ok::<_, Error>(carried::<i64>().as_deref().copied()) })).await.unwrap()
    };
    let (one, none, two, other) = tokio::join!(
        carrying(Arc::new(1_i64), found()),
        found(),
        carrying(Arc::new(1_i64), carrying(Arc::new(2_i64), found())),
        carrying(Arc::new("a text"), found()),
    );
    assert_eq!((one, none, two, other), (Some(1), None, Some(2), None));
    let spawned = carrying(Arc::new(1_i64), async { tokio::spawn(async { carried::<i64>() }).await.unwrap() });
    assert_eq!(spawned.await, None);
}

#[tokio::test]
async fn a_snapshot_sees_one_moment() {
    let world = World::new();
    let db = world.open().await;
    insert(&db, 1).await.unwrap();
    let mut snapshot = db.snapshot().await.unwrap();
    let seen = "SELECT count(*) FROM numbers";
    assert_eq!(sqlx::query(seen).fetch_one(&mut *snapshot).await.unwrap().get::<i64, _>(0), 1);
    insert(&db, 2).await.unwrap();
    assert_eq!(sqlx::query(seen).fetch_one(&mut *snapshot).await.unwrap().get::<i64, _>(0), 1);
    assert_eq!(count(&db).await, 2);
    // It can only read.
    assert!(sqlx::query("DELETE FROM numbers").execute(&mut *snapshot).await.is_err());
}

#[tokio::test]
async fn a_ping_succeeds() {
    let world = World::new();
    world.open().await.ping().await.unwrap();
}

#[tokio::test]
async fn a_printable_text_comes_back_as_it_was() {
    let world = World::new();
    let db = world.open().await;
    let texts = ["plain", "with \0 in it", "ünïcödé ✓", ""];
    for (n, text) in (1_i64..).zip(texts) {
        let text = printable(text).into_owned();
        let written = db.write((n, text.clone()), |connection, (n, text)| {
            Box::pin(async move {
                let put = sqlx::query("INSERT INTO numbers (n, note) VALUES ($1, $2)").bind(*n).bind(text);
                put.execute(connection).await?;
                Ok::<_, Error>(())
            })
        });
        written.await.unwrap();
        let row = sqlx::query("SELECT note FROM numbers WHERE n = $1").bind(n).fetch_one(db.reader()).await.unwrap();
        assert_eq!(row.get::<String, _>(0), text);
    }
    assert_eq!(printable("a\0b"), "a\u{fffd}b");
}
