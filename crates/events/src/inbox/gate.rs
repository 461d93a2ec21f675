//! The gate: one decision per event, in the transaction of its effect.

use meshwork_sql::Error;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Connection, FOR_UPDATE, NOW};
use crate::inbox::Gate;

/// Decides about the event of `subject` at `version`. Call it first in the transaction of the event's effect.
///
/// # Errors
/// When the store fails.
pub async fn gate(connection: &mut Connection, consumer: &str, subject: &str, version: i64) -> Result<Gate, Error> {
    // Mostly it is the next one and nothing is parked: one statement, which waits for others that are at the aggregate.
    let next = if version == 1 {
        format!(
            "INSERT INTO inbox (consumer, subject, last_version, seen_at) VALUES ($1, $2, $3, {NOW}) \
             ON CONFLICT DO NOTHING"
        )
    } else {
        format!(
            "UPDATE inbox SET last_version = $3, seen_at = {NOW} \
             WHERE consumer = $1 AND subject = $2 AND last_version = $3 - 1 \
             AND NOT EXISTS (SELECT 1 FROM dead_letter WHERE consumer = $1 AND subject = $2)"
        )
    };
    let next = sqlx::query(AssertSqlSafe(next)).bind(consumer).bind(subject).bind(version);
    if next.execute(&mut *connection).await?.rows_affected() == 1 {
        return Ok(Gate::Apply);
    }
    let last = lock(connection, consumer, subject).await?;
    if version <= last {
        return Ok(Gate::Duplicate);
    }
    if is_behind(connection, consumer, subject, last, version).await? {
        return Ok(Gate::Parked);
    }
    if version != last + 1 {
        return Ok(Gate::Hole { last });
    }
    advance(connection, consumer, subject, version).await?;
    Ok(Gate::Apply)
}

/// Locks the aggregate's row until the transaction's end, making it when missing; returns the last version that was applied.
pub(super) async fn lock(connection: &mut Connection, consumer: &str, subject: &str) -> Result<i64, Error> {
    let make = format!(
        "INSERT INTO inbox (consumer, subject, last_version, seen_at) VALUES ($1, $2, 0, {NOW}) ON CONFLICT DO NOTHING"
    );
    sqlx::query(AssertSqlSafe(make)).bind(consumer).bind(subject).execute(&mut *connection).await?;
    let lock = format!("SELECT last_version FROM inbox WHERE consumer = $1 AND subject = $2{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(lock)).bind(consumer).bind(subject).fetch_one(connection).await?;
    Ok(row.try_get(0)?)
}

/// Whether an event of the aggregate is parked that comes after `last` and before `version`.
pub(super) async fn is_behind(
    connection: &mut Connection,
    consumer: &str,
    subject: &str,
    last: i64,
    version: i64,
) -> Result<bool, Error> {
    let earlier = sqlx::query(
        "SELECT 1 FROM dead_letter WHERE consumer = $1 AND subject = $2 AND version > $3 AND version < $4 LIMIT 1",
    );
    let earlier = earlier.bind(consumer).bind(subject).bind(last).bind(version);
    Ok(earlier.fetch_optional(connection).await?.is_some())
}

/// Notes that the aggregate has come to `version`, in a transaction that has locked it: what is parked up to there is not
/// any more.
pub(super) async fn advance(
    connection: &mut Connection,
    consumer: &str,
    subject: &str,
    version: i64,
) -> Result<(), Error> {
    let advance = format!("UPDATE inbox SET last_version = $3, seen_at = {NOW} WHERE consumer = $1 AND subject = $2");
    sqlx::query(AssertSqlSafe(advance)).bind(consumer).bind(subject).bind(version).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM dead_letter WHERE consumer = $1 AND subject = $2 AND version <= $3")
        .bind(consumer)
        .bind(subject)
        .bind(version)
        .execute(connection)
        .await?;
    Ok(())
}
