//! The embedded adapter against the conformance suite, and what is its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use meshwork_eventstore::testing::{command, conformance};
use meshwork_eventstore::{EventStore, Expected, SqliteEventStore, StoreError};
use meshwork_sql::Sqlite;

#[tokio::test]
async fn conforms() {
    for partitions in [1, 16] {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteEventStore::open(&folder.path().join("orders.db"), partitions).await.unwrap();
        conformance(Arc::new(store)).await;
    }
}

#[tokio::test]
async fn a_store_keeps_its_partitions_and_commits_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let appended = {
        let store = SqliteEventStore::open(&path, 4).await.unwrap();
        store.append(command("kept", Expected::NoStream, "a", 2)).await.unwrap()
    };
    let store = SqliteEventStore::open(&path, 16).await.unwrap();
    assert_eq!(store.partitions(), 4);
    assert_eq!(store.read("kept", 0).await.unwrap(), [appended.commit]);
}

#[tokio::test]
async fn a_damaged_row_is_an_error_of_its_stream_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = SqliteEventStore::open(&path, 1).await.unwrap();
    store.append(command("damaged", Expected::NoStream, "a", 1)).await.unwrap();
    store.append(command("sound", Expected::NoStream, "a", 1)).await.unwrap();
    Sqlite::open(&path, &[])
        .await
        .unwrap()
        .write::<_, meshwork_sql::Error, _>(|connection| {
            Box::pin(async move {
                sqlx::query("UPDATE commits SET command_hash = x'00' WHERE stream = 'damaged'")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    let error = store.read("damaged", 0).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { place, .. } if place == "damaged"), "{error}");
    assert_eq!(store.read("sound", 0).await.unwrap().len(), 1);
}
