//! The embedded store through its public interface.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use meshwork_sql::{Component, Error, Sqlite};
use sqlx::Row;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use tempfile::TempDir;

fn component() -> Component {
    let migration = Migration::new(
        1,
        "numbers".into(),
        MigrationType::Simple,
        sqlx::SqlStr::from_static("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"),
        false,
    );
    Component { name: "numbers", migrator: Box::leak(Box::new(Migrator::with_migrations(vec![migration]))) }
}

async fn open() -> (Sqlite, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("deep/numbers.db"), &[component()]).await.unwrap();
    (store, folder)
}

async fn insert(store: &Sqlite, n: i64) -> Result<(), Error> {
    store
        .write_once(move |connection| {
            Box::pin(async move {
                sqlx::query("INSERT INTO numbers (n) VALUES (?)").bind(n).execute(connection).await?;
                Ok(())
            })
        })
        .await
}

async fn count(store: &Sqlite) -> i64 {
    sqlx::query("SELECT count(*) FROM numbers").fetch_one(store.reader()).await.unwrap().get(0)
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_read() {
    let (store, _folder) = open().await;
    insert(&store, 1).await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn every_one_of_many_concurrent_writers_is_answered_and_kept() {
    let (store, _folder) = open().await;
    let store = Arc::new(store);
    let writers = (0..500).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { insert(&store, n).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(count(&store).await, 500);
}

#[tokio::test]
async fn a_failure_undoes_its_own_work_and_none_of_its_neighbours() {
    let (store, _folder) = open().await;
    insert(&store, 7).await.unwrap();
    let bad = store.write_once::<(), Error, _>(|connection| {
        Box::pin(async move {
            sqlx::query("INSERT INTO numbers (n) VALUES (100)").execute(&mut *connection).await?;
            sqlx::query("INSERT INTO numbers (n) VALUES (7)").execute(&mut *connection).await?;
            Ok(())
        })
    });
    let (first, bad, second) = tokio::join!(insert(&store, 1), bad, insert(&store, 2));
    first.unwrap();
    second.unwrap();
    assert!(bad.unwrap_err().is_unique_violation());
    assert_eq!(count(&store).await, 3);
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_caller_and_the_writer_lives_on() {
    let (store, _folder) = open().await;
    let result = store.write_once::<(), Error, _>(|_| Box::pin(async { panic!("planted") })).await;
    assert!(matches!(result, Err(Error::Panicked)));
    insert(&store, 1).await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_panic_before_the_work_s_first_await_is_caught_too() {
    fn early(_: &mut sqlx::SqliteConnection) -> futures_util::future::BoxFuture<'_, Result<(), Error>> {
        panic!("planted")
    }
    let (store, _folder) = open().await;
    assert!(matches!(store.write_once(early).await, Err(Error::Panicked)));
    insert(&store, 1).await.unwrap();
}

#[tokio::test]
async fn hooks_are_called_after_a_commit_though_its_caller_has_gone() {
    let (store, _folder) = open().await;
    let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
    store.after_commit(move || called.send(()).unwrap());
    // Polled once, the work is queued; then its caller goes away.
    assert!(futures_util::FutureExt::now_or_never(insert(&store, 1)).is_none());
    tokio::time::timeout(std::time::Duration::from_secs(10), calls.recv()).await.unwrap().unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn readers_can_not_write() {
    let (store, _folder) = open().await;
    assert!(sqlx::query("INSERT INTO numbers (n) VALUES (1)").execute(store.reader()).await.is_err());
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.db");
    let first = Sqlite::migrate(&path, &[component()]).await.unwrap();
    assert_eq!(Sqlite::migrate(&path, &[component()]).await.unwrap(), first);
}

/// As several processes do that start at once on a new folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_can_be_opened_by_many_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.db");
        let opens: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                tokio::spawn(async move { Sqlite::open(&path, &[component()]).await.map(|_| ()) })
            })
            .collect();
        for open in opens {
            open.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_commit_is_on_the_disk_before_it_is_answered() {
    let (store, _folder) = open().await;
    let settings = store.write_once(|connection| {
        Box::pin(async move {
            let synchronous: i64 = sqlx::query("PRAGMA synchronous").fetch_one(&mut *connection).await?.get(0);
            let journal: String = sqlx::query("PRAGMA journal_mode").fetch_one(connection).await?.get(0);
            Ok::<_, Error>((synchronous, journal))
        })
    });
    // 2 is FULL: the journal is flushed at each commit.
    assert_eq!(settings.await.unwrap(), (2, "wal".to_owned()));
}

#[tokio::test]
async fn a_ping_succeeds_and_writes_nothing() {
    let (store, _folder) = open().await;
    insert(&store, 1).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_ping_waits_for_the_writer() {
    let (store, _folder) = open().await;
    let (let_go, held) = tokio::sync::oneshot::channel::<()>();
    let (began, begun) = tokio::sync::oneshot::channel();
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        writer
            .write_once::<(), Error, _>(|_| {
                Box::pin(async move {
                    began.send(()).unwrap();
                    held.await.unwrap();
                    Ok(())
                })
            })
            .await
    });
    begun.await.unwrap();
    let pinging = store.ping();
    tokio::pin!(pinging);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), &mut pinging).await.is_err());
    let_go.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(30), pinging).await.unwrap().unwrap();
    writing.await.unwrap().unwrap();
}
