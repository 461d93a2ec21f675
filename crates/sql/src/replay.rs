//! Repeatable writes: a request id gives one effect and the same answer, however often it comes (AIP-155).
//!
//! The answer is stored in the transaction of the effect, under (principal, method, request id), with a hash of the
//! request. Only successes are stored: a request that was refused may be sent again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::Row;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

use crate::{Component, Error};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/replay");

/// The table of answers.
pub const COMPONENT: Component = Component { name: "replay", migrator: &MIGRATOR };

/// How long an answer is kept.
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who sends it; two principals never share an answer.
    pub principal: String,
    /// The method, such as `CreateUser`.
    pub method: &'static str,
    /// The id that its sender gave it.
    pub id: String,
    /// SHA-256 of the request without its id.
    pub hash: [u8; 32],
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It hasn't come before.
    New,
    /// It has been answered by this.
    Answered(Vec<u8>),
    /// Its id came with another body.
    Reused,
}

/// Looks up a request, in the transaction that would carry it out.
///
/// # Errors
/// When the store fails.
pub async fn find(connection: &mut SqliteConnection, request: &Request) -> Result<Known, Error> {
    let row = sqlx::query("SELECT hash, answer FROM replay WHERE principal = ? AND method = ? AND request_id = ?")
        .bind(&request.principal)
        .bind(request.method)
        .bind(&request.id)
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(Known::New) };
    if row.try_get::<Vec<u8>, _>("hash")? == request.hash {
        Ok(Known::Answered(row.try_get("answer")?))
    } else {
        Ok(Known::Reused)
    }
}

/// Stores the answer to a request, in the transaction that carried it out, and drops some answers past [`RETENTION`].
///
/// # Errors
/// When the store fails.
pub async fn store(connection: &mut SqliteConnection, request: &Request, answer: &[u8]) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    sqlx::query("DELETE FROM replay WHERE rowid IN (SELECT rowid FROM replay WHERE stored_at < ? LIMIT 16)")
        .bind(seconds(now.saturating_sub(RETENTION)))
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO replay (principal, method, request_id, hash, answer, stored_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&request.principal)
    .bind(request.method)
    .bind(&request.id)
    .bind(request.hash.as_slice())
    .bind(answer)
    .bind(seconds(now))
    .execute(connection)
    .await?;
    Ok(())
}
