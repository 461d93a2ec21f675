//! The answers, in the transactions of their effects.

use sqlx::{AssertSqlSafe, Row as _};

use super::{Connection, NOW, SKIP_LOCKED, not_foreign};
use crate::Error;
use crate::replay::{Known, RETENTION, Request};

/// How many answers past their retention go with each that is stored.
const PRUNE: i64 = 16;

/// Looks up a request, in the transaction that would carry it out.
///
/// # Errors
/// When the store fails.
pub async fn find(connection: &mut Connection, request: &Request) -> Result<Known, Error> {
    let row = sqlx::query("SELECT hash, answer FROM replay WHERE principal = $1 AND method = $2 AND request_id = $3")
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
/// When the store fails; [`Kind::Conflict`](crate::Kind::Conflict) when another transaction has answered it meanwhile.
pub async fn store(connection: &mut Connection, request: &Request, answer: &[u8]) -> Result<(), Error> {
    prune(connection, "TRUE").await?;
    let store = format!(
        "INSERT INTO replay (principal, method, request_id, hash, answer, stored_at) \
         VALUES ($1, $2, $3, $4, $5, {NOW} / 1000000)"
    );
    sqlx::query(AssertSqlSafe(store))
        .bind(&request.principal)
        .bind(request.method)
        .bind(&request.id)
        .bind(request.hash.as_slice())
        .bind(answer)
        .execute(connection)
        .await?;
    Ok(())
}

/// As [`store`], with the space, the slot and the key of what the request is about: the answer goes where that goes. For a database
/// with the columns of `PLACED`, which in PostgreSQL is a [shard](crate::shards::COMPONENT). Answers that lie there only because they
/// are being moved aren't dropped: their owner does that.
///
/// # Errors
/// As [`store`].
pub async fn store_placed(
    connection: &mut Connection,
    request: &Request,
    answer: &[u8],
    space: i16,
    slot: i64,
    key: &str,
) -> Result<(), Error> {
    prune(connection, &not_foreign("replay.slot", "replay.key", space)).await?;
    let store = format!(
        "INSERT INTO replay (principal, method, request_id, hash, answer, stored_at, slot, key) \
         VALUES ($1, $2, $3, $4, $5, {NOW} / 1000000, $6, $7)"
    );
    sqlx::query(AssertSqlSafe(store))
        .bind(&request.principal)
        .bind(request.method)
        .bind(&request.id)
        .bind(request.hash.as_slice())
        .bind(answer)
        .bind(slot)
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}

/// Drops some answers past [`RETENTION`], of those that a condition holds for.
async fn prune(connection: &mut Connection, condition: &str) -> Result<(), Error> {
    let retention = i64::try_from(RETENTION.as_secs()).unwrap_or(i64::MAX);
    // What another transaction is at is left to it: to wait for each other crosswise would be a deadlock.
    let prune = format!(
        "WITH old AS MATERIALIZED (SELECT principal, method, request_id FROM replay \
         WHERE stored_at < (SELECT {NOW}) / 1000000 - $1 AND {condition} LIMIT {PRUNE}{SKIP_LOCKED}) \
         DELETE FROM replay WHERE (principal, method, request_id) IN (SELECT principal, method, request_id FROM old)"
    );
    sqlx::query(AssertSqlSafe(prune)).bind(retention).execute(connection).await?;
    Ok(())
}
