//! The stores against the conformance suite, and what is a driver's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meshwork_aip::page::PageRequest;
use meshwork_chassis::config::{PostgresConfig, Secret};
use meshwork_notifications::Config;
use meshwork_notifications::adapters::store::{postgres, sqlite};
use meshwork_notifications::adapters::stores;
use meshwork_notifications::adapters::{PostgresNotificationStore, SqliteNotificationStore};
use meshwork_notifications::domain::{Freshness, State};
use meshwork_notifications::ports::{Arrival, NotificationStore, Recorded, Selection};
use meshwork_notifications::testing::{Bench, conformance, delivered, first};
use meshwork_sql::{Postgres, PostgresOptions, Sqlite};
use sqlx::AssertSqlSafe;

const STRICT: Freshness = Freshness { mail_old_events: false, max_age: Duration::from_secs(3600) };

async fn open(path: &Path) -> (SqliteNotificationStore, Sqlite) {
    let db = Sqlite::open(path, &sqlite::COMPONENTS).await.unwrap();
    (SqliteNotificationStore::new(db.clone()), db)
}

async fn execute(db: &Sqlite, sql: String) {
    db.write::<_, _, meshwork_sql::Error, _>(sql, |connection, sql| {
        Box::pin(async move {
            sqlx::query(AssertSqlSafe(sql.clone())).execute(connection).await?;
            Ok(())
        })
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU32::new(0);
    conformance(|| async {
        let file = folder.path().join(format!("{}.db", number.fetch_add(1, Ordering::Relaxed)));
        let ((store, db), (other, _)) = (open(&file).await, open(&file).await);
        let sql = move |sql| {
            let db = db.clone();
            Box::pin(async move { execute(&db, sql).await }) as _
        };
        Bench { store: Arc::new(store), other: Arc::new(other), sql: Box::new(sql) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_conforms() {
    let server = Arc::new(tokio::task::spawn_blocking(meshwork_testkit::Postgres::start).await.unwrap());
    conformance(|| async {
        let server = server.clone();
        let url = tokio::task::spawn_blocking(move || server.database()).await.unwrap();
        let options = PostgresOptions { max_connections: 4, ..PostgresOptions::new(url) };
        let open = async || Postgres::open(&options, &postgres::COMPONENTS).await.unwrap();
        let (db, other) = (open().await, open().await);
        let store = PostgresNotificationStore::new(db.clone());
        let sql = move |sql: String| {
            let db = db.clone();
            Box::pin(async move {
                sqlx::query(AssertSqlSafe(sql)).execute(db.reader()).await.unwrap();
            }) as _
        };
        let other = PostgresNotificationStore::new(other);
        Bench { store: Arc::new(store), other: Arc::new(other), sql: Box::new(sql) }
    })
    .await;
}

#[tokio::test]
async fn notifications_in_the_folder_are_not_left_behind_for_a_database_without_any() {
    let folder = tempfile::tempdir().unwrap();
    let server = tokio::task::spawn_blocking(meshwork_testkit::Postgres::start).await.unwrap();
    let (file, away) = (folder.path().join("notifications.db"), folder.path().join("away.db"));
    let config = Config {
        data: folder.path().to_owned(),
        postgres: PostgresConfig { url: Secret::new(server.database()), ..PostgresConfig::default() },
        ..Config::default()
    };
    open(&file).await;
    let refused = stores::open(&config).await.err().unwrap();
    let shown = config.postgres.shown();
    assert!(refused.sentence.ends_with(&format!("and the database {shown} has none")), "{refused}");
    assert!(refused.hint.contains("`notifications.postgres.url`") && refused.hint.contains(file.to_str().unwrap()));
    // Out of the way, a new shop begins; then the file may lie there again.
    std::fs::rename(&file, &away).unwrap();
    let store = stores::open(&config).await.unwrap_or_else(|error| panic!("{error}")).notifications;
    let any_age = Freshness { mail_old_events: true, max_age: Duration::MAX };
    store.record(first("a"), delivered("a", "anna"), any_age).await.unwrap();
    std::fs::rename(&away, &file).unwrap();
    stores::open(&config).await.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn a_folder_s_letters_that_were_under_way_at_a_crash_wait_for_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data: folder.path().to_owned(), ..Config::default() };
    let opened = async || stores::open(&config).await.unwrap_or_else(|error| panic!("{error}")).notifications;
    let (store, lease) = (opened().await, Duration::from_secs(3600));
    let any_age = Freshness { mail_old_events: true, max_age: Duration::MAX };
    store.record(first("a"), delivered("a", "anna"), any_age).await.unwrap();
    assert_eq!(store.claim(8, lease).await.unwrap().len(), 1);
    assert_eq!(store.claim(8, lease).await.unwrap().len(), 0);
    // The next process: a folder is one process's.
    let again = opened().await.claim(8, lease).await.unwrap();
    assert_eq!(again.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [2]);
}

/// A database that the first release has made and worked on.
async fn old_database(path: &Path, state: &str) {
    let old = Sqlite::open(path, &sqlite::COMPONENTS[..1]).await.unwrap();
    execute(&old, old_row("a", "anna", state)).await;
}

/// What the first release writes.
fn old_row(order: &str, user: &str, state: &str) -> String {
    let occasion = format!(r#"{{"template":"order_delivered","order":"orders/{order}"}}"#);
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, order.as_bytes());
    format!(
        "INSERT INTO notification (id, event_id, template, recipient, about, occasion, subject, state, reason, attempts, \
         next_try_at, created_at, sent_at) VALUES ('{id}', 'orders/{order}:1', 'order_delivered', 'users/{user}', \
         'orders/{order}', '{occasion}', 'subject', '{state}', '', 1, 0, 0, NULL)"
    )
}

#[tokio::test]
async fn letters_that_the_release_before_had_under_way_are_due_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notifications.db");
    old_database(&file, "SENDING").await;
    let (store, db) = open(&file).await;
    let [claimed] = store.claim(9, Duration::from_secs(30)).await.unwrap().try_into().unwrap();
    assert_eq!((claimed.about.as_str(), claimed.attempts), ("orders/a", 2));
    // Back to that release, which takes back all that is SENDING and knows no leases, and forward again.
    execute(&db, "UPDATE notification SET state = 'PENDING', next_try_at = 0 WHERE state = 'SENDING'".to_owned()).await;
    execute(&db, old_row("b", "bert", "PENDING")).await;
    let (store, _) = open(&file).await;
    let claimed = store.claim(9, Duration::from_secs(30)).await.unwrap();
    assert_eq!(claimed.iter().map(|it| it.about.as_str()).collect::<Vec<_>>(), ["orders/a", "orders/b"]);
}

#[tokio::test]
async fn what_the_release_before_has_ended_long_ago_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notifications.db");
    old_database(&file, "SENT").await;
    let (store, _) = open(&file).await;
    assert_eq!(store.prune(Duration::from_secs(3600), 9).await.unwrap(), 1);
}

#[tokio::test]
async fn a_service_that_has_written_letters_before_goes_on_with_what_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notifications.db");
    old_database(&file, "SENT").await;
    let waits = |order| Arrival { time: first(order).time - Duration::from_secs(60), ..first(order) };
    let (store, _) = open(&file).await;
    let recorded = store.record(waits("b"), delivered("b", "anna"), STRICT).await.unwrap();
    assert_eq!(recorded, Recorded::Applied);
    let pending = Selection { state: Some(State::Pending), ..Selection::default() };
    let page = PageRequest { size: 9, after: None };
    assert_eq!(store.list(pending.clone(), page.clone()).await.unwrap().items.len(), 1);

    // The start of a new one is written once.
    let file = folder.path().join("new.db");
    let (store, db) = open(&file).await;
    let start = async |db: &Sqlite| {
        let at = sqlx::query_scalar::<_, i64>("SELECT at FROM notification_start").fetch_one(db.reader()).await;
        at.unwrap()
    };
    let at = start(&db).await;
    store.record(waits("b"), delivered("b", "anna"), STRICT).await.unwrap();
    assert_eq!(store.list(pending, page).await.unwrap().items, []);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(start(&open(&file).await.1).await, at);
}
