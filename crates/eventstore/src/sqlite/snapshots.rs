//! Snapshots beside the commits.

use async_trait::async_trait;
use meshwork_sql::Error as SqlError;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteEventStore;
use crate::{Snapshot, SnapshotStore, StoreError};

#[async_trait]
impl SnapshotStore for SqliteEventStore {
    async fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let saved = self.db.write_once::<_, SqlError, _>(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO snapshots (stream, schema, version, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                )
                .bind(&snapshot.stream)
                .bind(&snapshot.schema)
                .bind(snapshot.version)
                .bind(snapshot.data.as_ref())
                .execute(&mut *connection)
                .await?;
                sqlx::query(
                    "DELETE FROM snapshots WHERE stream = $1 AND schema = $2 AND version < (SELECT version FROM snapshots \
                     WHERE stream = $1 AND schema = $2 ORDER BY version DESC LIMIT 1 OFFSET 1)",
                )
                .bind(&snapshot.stream)
                .bind(&snapshot.schema)
                .execute(connection)
                .await?;
                Ok(())
            })
        });
        Ok(saved.await?)
    }

    async fn latest(&self, stream: &str, schema: &str) -> Result<Option<Snapshot>, StoreError> {
        let row = sqlx::query(
            "SELECT version, data FROM snapshots WHERE stream = ? AND schema = ? ORDER BY version DESC LIMIT 1",
        )
        .bind(stream)
        .bind(schema)
        .fetch_optional(self.db.reader())
        .await
        .map_err(SqlError::from)?;
        let snapshot = |row: SqliteRow| -> Result<Snapshot, sqlx::Error> {
            Ok(Snapshot {
                stream: stream.to_owned(),
                version: row.try_get(0)?,
                schema: schema.to_owned(),
                data: row.try_get::<Vec<u8>, _>(1)?.into(),
            })
        };
        Ok(row.map(snapshot).transpose().map_err(SqlError::from)?)
    }
}
