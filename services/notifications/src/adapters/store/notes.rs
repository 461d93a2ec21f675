//! What is kept of confirmed orders until their pieces are allocated, and when the service began.

use meshwork_api::{OrderName, UserName};
use meshwork_sql::from_micros;
use sqlx::{AssertSqlSafe, Error, Row as _};
use time::OffsetDateTime;

use super::{Connection, NOW, SKIP_LOCKED, index_hint, rows};
use crate::domain::{Amount, Occasion};

/// What deletes some of the notes that were made before.
pub fn prune() -> String {
    format!(
        "WITH old AS MATERIALIZED (SELECT order_name FROM order_note{} \
         WHERE noted_at < (SELECT {NOW}) - $1 ORDER BY noted_at LIMIT $2{SKIP_LOCKED}) \
         DELETE FROM order_note WHERE order_name IN (SELECT order_name FROM old)",
        index_hint("order_note_noted")
    )
}

/// When the service began, and the time.
///
/// # Errors
/// When the store fails.
pub async fn start_and_now(connection: &mut Connection) -> Result<(OffsetDateTime, OffsetDateTime), Error> {
    let sql = format!("SELECT at, {NOW} AS now FROM notification_start WHERE id = 1");
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok((from_micros(row.try_get("at")?), rows::now(&row)?))
}

/// Notes that an order is confirmed.
///
/// # Errors
/// When the store fails.
pub async fn put(
    connection: &mut Connection,
    order: &OrderName,
    customer: &UserName,
    total: Option<&Amount>,
) -> Result<(), Error> {
    let total = total.map(serde_json::to_string).transpose().map_err(|error| Error::Encode(error.into()))?;
    let sql = format!(
        "INSERT INTO order_note (order_name, customer, total, noted_at) VALUES ($1, $2, $3, {NOW}) ON CONFLICT DO NOTHING"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(order.to_string())
        .bind(customer.to_string())
        .bind(total)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes out what was noted of an order: whom to write to, and what. `None` when nothing was, or nothing that this release
/// understands.
///
/// # Errors
/// When the store fails.
pub async fn take(connection: &mut Connection, order: &OrderName) -> Result<Option<(UserName, Occasion)>, Error> {
    let row = sqlx::query("DELETE FROM order_note WHERE order_name = $1 RETURNING customer, total")
        .bind(order.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (customer, total): (String, Option<String>) = (row.try_get("customer")?, row.try_get("total")?);
    let Ok(customer) = customer.parse() else {
        tracing::error!(%order, "whose order was confirmed can't be read; there is no letter");
        return Ok(None);
    };
    // The letter is worth more than its sum.
    let total = total.and_then(|total| serde_json::from_str(&total).ok());
    Ok(Some((customer, Occasion::OrderConfirmed { order: order.clone(), total })))
}
