//! Rows of notifications.

use meshwork_api::public_reason;
use meshwork_sql::dialect::printable;
use meshwork_sql::{from_micros, to_micros};
use sqlx::{AssertSqlSafe, Error, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, FOR_UPDATE, NOW, Row};
use crate::domain::{Notification, Occasion, State};

/// The columns that [`read`] reads.
pub const COLUMNS: &str = "seq, id, event_id, template, recipient, about, occasion, subject, state, reason, attempts, \
     next_try_at, lease_until, created_at, sent_at";

/// Reads a row. What it tells may be beyond this release; the rest must not be.
///
/// # Errors
/// When a column can't be understood.
pub fn read(row: &Row) -> Result<Notification, Error> {
    let damaged = |column: &str, problem: &dyn std::fmt::Display| Error::Decode(format!("{column}: {problem}").into());
    let (id, recipient, state): (String, String, String) =
        (row.try_get("id")?, row.try_get("recipient")?, row.try_get("state")?);
    let time = |column| row.try_get::<i64, _>(column).map(from_micros);
    Ok(Notification {
        id: id.parse().map_err(|error: uuid::Error| damaged("id", &error))?,
        event_id: row.try_get("event_id")?,
        recipient: recipient.parse().map_err(|error| damaged("recipient", &error))?,
        template: row.try_get("template")?,
        about: row.try_get("about")?,
        occasion: occasion(row),
        subject: row.try_get("subject")?,
        state: state.parse().map_err(|error| damaged("state", &error))?,
        state_reason: row.try_get("reason")?,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).map_err(|error| damaged("attempts", &error))?,
        next_try_time: time("next_try_at")?,
        lease_until: time("lease_until")?,
        create_time: time("created_at")?,
        send_time: row.try_get::<Option<i64>, _>("sent_at")?.map(from_micros),
    })
}

fn occasion(row: &Row) -> Option<Occasion> {
    let occasion: String = row.try_get("occasion").ok()?;
    serde_json::from_str(&occasion).ok().map(public)
}

/// The occasion without numbers of pieces that are left, which the first releases have stored: its letter may be sent
/// yet, or again.
fn public(occasion: Occasion) -> Occasion {
    let told = |reason: String| public_reason(&reason).into_owned();
    match occasion {
        Occasion::OrderRejected { order, reason } => Occasion::OrderRejected { order, reason: told(reason) },
        Occasion::OrderCancelled { order, reason } => Occasion::OrderCancelled { order, reason: told(reason) },
        occasion => occasion,
    }
}

/// What the database's clock says, from a row that has it as `now`.
///
/// # Errors
/// When it doesn't.
pub fn now(row: &Row) -> Result<OffsetDateTime, Error> {
    row.try_get::<i64, _>("now").map(from_micros)
}

/// Finds a notification and keeps it from others until the transaction's end; with the time.
///
/// # Errors
/// When the store fails, or the row can't be read.
pub async fn find(connection: &mut Connection, id: Uuid) -> Result<Option<(Notification, OffsetDateTime)>, Error> {
    let sql = format!("SELECT {COLUMNS}, {NOW} AS now FROM notification WHERE id = $1{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(connection).await?;
    row.map(|row| Ok((read(&row)?, now(&row)?))).transpose()
}

/// Stores a new notification, unless there is one of its event, template and recipient.
///
/// # Errors
/// When the store fails.
pub async fn insert(
    connection: &mut Connection,
    notification: &Notification,
    occasion: &Occasion,
) -> Result<(), Error> {
    let occasion = serde_json::to_string(occasion).map_err(|error| Error::Encode(error.into()))?;
    sqlx::query(
        "INSERT INTO notification (id, event_id, template, recipient, about, occasion, subject, state, reason, \
         attempts, next_try_at, created_at, sent_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
         ON CONFLICT DO NOTHING",
    )
    .bind(notification.id.to_string())
    .bind(printable(&notification.event_id).into_owned())
    .bind(&notification.template)
    .bind(notification.recipient.to_string())
    .bind(&notification.about)
    .bind(occasion)
    .bind(&notification.subject)
    .bind(notification.state.as_str())
    .bind(&notification.state_reason)
    .bind(i64::from(notification.attempts))
    .bind(to_micros(notification.next_try_time))
    .bind(to_micros(notification.create_time))
    .bind(notification.send_time.map(to_micros))
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores where a notification stands by `now`.
///
/// # Errors
/// When the store fails.
pub async fn update(
    connection: &mut Connection,
    notification: &Notification,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let ended_at = if matches!(notification.state, State::Sent | State::Failed) { to_micros(now) } else { 0 };
    sqlx::query(
        "UPDATE notification SET state = $1, reason = $2, attempts = $3, next_try_at = $4, lease_until = $5, \
         sent_at = $6, ended_at = $7 WHERE id = $8",
    )
    .bind(notification.state.as_str())
    .bind(&notification.state_reason)
    .bind(i64::from(notification.attempts))
    .bind(to_micros(notification.next_try_time))
    .bind(to_micros(notification.lease_until))
    .bind(notification.send_time.map(to_micros))
    .bind(ended_at)
    .bind(notification.id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}
