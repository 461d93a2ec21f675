//! An event store as the source.

use std::path::PathBuf;
use std::sync::Arc;

use meshwork_events::StoreSource;
use meshwork_events::outbox::PARTITIONS;
use meshwork_eventstore::testing::command;
use meshwork_eventstore::{EventStore as _, Expected, SqliteEventStore};
use meshwork_sql::{Error, Sqlite};
use tempfile::TempDir;

use crate::shop::copy_database;

/// An event store in a file.
pub(crate) struct Orders {
    folder: Arc<TempDir>,
    file: PathBuf,
    store: Arc<SqliteEventStore>,
}

impl Orders {
    pub(crate) async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let file = folder.path().join("orders.db");
        Self::open(folder, file).await
    }

    async fn open(folder: Arc<TempDir>, file: PathBuf) -> Self {
        let store = Arc::new(SqliteEventStore::open(&file, PARTITIONS).await.unwrap());
        Self { folder, file, store }
    }

    /// The store as it is now, as it would be restored.
    pub(crate) async fn copy(&self) -> Self {
        let file = self.file.with_extension("copy");
        copy_database(&self.file, &file).await;
        Self::open(self.folder.clone(), file).await
    }

    /// Appends the commit of one event; `by` is the command, which its content tells.
    pub(crate) async fn append(&self, by: &str, subject: &str, version: i64) {
        let expected = if version == 1 { Expected::NoStream } else { Expected::Exact(version - 1) };
        self.store.append(command(subject, expected, &format!("{by}/{version}"), 1)).await.unwrap();
    }

    /// Damages a commit in the file, or puts it right.
    pub(crate) async fn damage(&self, subject: &str, version: i64, is_damaged: bool) {
        let (subject, hash) = (subject.to_owned(), if is_damaged { vec![0] } else { vec![7; 32] });
        let db = Sqlite::open(&self.file, &[]).await.unwrap();
        let done = db.write_once::<(), Error, _>(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE commits SET command_hash = ? WHERE stream = ? AND first_version = ?";
                let done = sqlx::query(sql).bind(hash).bind(subject).bind(version).execute(connection).await?;
                assert_eq!(done.rows_affected(), 1);
                Ok(())
            })
        });
        done.await.unwrap();
    }

    /// The store as a relay follows it.
    pub(crate) fn source(&self) -> Arc<StoreSource> {
        Arc::new(StoreSource::new(self.store.clone(), "shop", |_| true))
    }
}
