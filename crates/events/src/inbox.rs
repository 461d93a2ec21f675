//! The inbox: which events a consumer has applied, kept in the transaction of their effect (NT-5).

use meshwork_sql::{Component, Error};
use sqlx::Row;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/inbox");

/// The inbox's table.
pub const COMPONENT: Component = Component { name: "inbox", migrator: &MIGRATOR };

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is the aggregate's next; the inbox has noted it. Apply it in this transaction.
    Apply,
    /// It was applied before; do nothing.
    Duplicate,
    /// Events before it are missing; undo the transaction and try again later.
    Hole {
        /// The version that was applied last; 0 for none.
        last: i64,
    },
}

/// Decides about the event of `subject` at `version`. Call it first in the transaction of the event's effect.
///
/// # Errors
/// When the store fails.
pub async fn gate(
    connection: &mut SqliteConnection,
    consumer: &str,
    subject: &str,
    version: i64,
) -> Result<Gate, Error> {
    let sql = if version == 1 {
        "INSERT INTO inbox (consumer, subject, last_version) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE inbox SET last_version = ?3 WHERE consumer = ?1 AND subject = ?2 AND last_version = ?3 - 1"
    };
    let changed = sqlx::query(sql).bind(consumer).bind(subject).bind(version).execute(&mut *connection).await?;
    if changed.rows_affected() == 1 {
        return Ok(Gate::Apply);
    }
    let last: Option<i64> = sqlx::query("SELECT last_version FROM inbox WHERE consumer = ? AND subject = ?")
        .bind(consumer)
        .bind(subject)
        .fetch_optional(connection)
        .await?
        .map(|row| row.try_get(0))
        .transpose()?;
    let last = last.unwrap_or(0);
    Ok(if version <= last { Gate::Duplicate } else { Gate::Hole { last } })
}
