//! The embedded store against the conformance suite, and what is its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use meshwork_chassis::page::PageRequest;
use meshwork_events::inbox::sqlite as inbox;
use meshwork_notifications::adapters::{COMPONENT, SqliteNotificationStore};
use meshwork_notifications::domain::State;
use meshwork_notifications::ports::{NotificationStore, Selection};
use meshwork_notifications::testing::{conformance, delivered, first};
use meshwork_sql::Sqlite;
use time::OffsetDateTime;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

async fn open(path: &Path) -> (SqliteNotificationStore, Sqlite) {
    let db = Sqlite::open(path, &[COMPONENT, inbox::COMPONENTS[0], inbox::COMPONENTS[1]]).await.unwrap();
    (SqliteNotificationStore::new(db.clone()), db)
}

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    conformance(|| async {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(open(&folder.path().join(format!("{number}.db"))).await.0) as Arc<dyn NotificationStore>
    })
    .await;
}

#[tokio::test]
async fn a_row_that_can_not_be_read_is_given_up_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (store, db) = open(&folder.path().join("notifications.db")).await;
    store.record(first("damaged"), Some(delivered("damaged", "anna", NOW))).await.unwrap();
    store.record(first("sound"), Some(delivered("sound", "bert", NOW))).await.unwrap();
    db.write_once::<_, meshwork_sql::Error, _>(|connection| {
        Box::pin(async move {
            sqlx::query("UPDATE notification SET occasion = '{}' WHERE about = 'orders/damaged'")
                .execute(connection)
                .await?;
            Ok(())
        })
    })
    .await
    .unwrap();
    let [claimed] = store.claim(NOW, 9).await.unwrap().try_into().unwrap();
    assert_eq!(claimed.occasion.about(), "orders/sound");
    let failed = sqlx::query("SELECT 1 FROM notification WHERE about = 'orders/damaged' AND state = 'FAILED'");
    assert!(failed.fetch_optional(db.reader()).await.unwrap().is_some());
    let sending = Selection { state: Some(State::Sending), ..Selection::default() };
    assert_eq!(store.list(sending, PageRequest { size: 9, after: None }).await.unwrap().items.len(), 1);
}
