//! The stocks.

use meshwork_api::ProductName;
use meshwork_chassis::request::RequestKey;
use meshwork_sql::to_micros;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use super::super::rows::StockRow;
use super::super::undo::Undo;
use super::store::{Store, answer_before, keep_answer};
use super::{Connection, FOR_UPDATE, NOW};
use crate::domain::{Delta, MAX_PIECES, Refusal, Stock, StockChange};
use crate::ports::Answer;

/// The stock of a product that is for sale.
pub(super) async fn find(connection: &mut Connection, product: &ProductName) -> Result<Option<Stock>, Undo> {
    let row: Option<StockRow> = sqlx::query_as(
        "SELECT s.* FROM stock s JOIN product p ON p.id = s.product WHERE s.product = $1 AND p.deleted_at IS NULL",
    )
    .bind(product.id())
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Stock::try_from).transpose()?)
}

/// A product's stock, which nobody else changes until the transaction's end.
pub(super) async fn lock(connection: &mut Connection, product: &ProductName) -> Result<Option<Stock>, Undo> {
    let sql = format!("SELECT * FROM stock WHERE product = $1{FOR_UPDATE}");
    let row: Option<StockRow> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(product.id()).fetch_optional(connection).await?;
    Ok(row.map(Stock::try_from).transpose()?)
}

/// Makes the empty stock of a new product.
pub(super) async fn open(
    connection: &mut Connection,
    product: &ProductName,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO stock (product, available, held, allocated, shipped, received, updated_at) \
         VALUES ($1, 0, 0, 0, 0, 0, $2)",
    )
    .bind(product.id())
    .bind(to_micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes the stock of a product that is deleted, unless orders hold pieces of it; returns whether it was closed.
pub(super) async fn close(
    connection: &mut Connection,
    product: &ProductName,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let closed = sqlx::query("UPDATE stock SET deleted_at = $2 WHERE product = $1 AND held = 0 AND allocated = 0")
        .bind(product.id())
        .bind(to_micros(now))
        .execute(connection)
        .await?;
    Ok(closed.rows_affected() == 1)
}

/// Adds `delta` to a stock, if its product is for sale and every number stays in its bounds; returns whether it was.
///
/// The condition is part of the update, so it holds for the numbers that are changed. It is that of [`Stock::changed`].
pub(super) async fn shift(
    connection: &mut Connection,
    product: &ProductName,
    delta: Delta,
) -> Result<bool, sqlx::Error> {
    let Delta { available, held, allocated, shipped, received } = delta;
    if [available, held, allocated, shipped, received]
        .iter()
        .any(|more| more.unsigned_abs() > MAX_PIECES.unsigned_abs())
    {
        // No stock has so many, and the sums might be more than a number can be.
        return Ok(false);
    }
    // Who waits for a row sees its newest form, but of other tables only what was there before: a deletion that the update
    // has waited for is told by the stock itself. The product is asked too, for what the release before has deleted.
    let sql = format!(
        "UPDATE stock SET available = available + $2, held = held + $3, allocated = allocated + $4, \
         shipped = shipped + $5, received = received + $6, updated_at = {NOW} \
         WHERE product = $1 AND available + $2 >= 0 AND held + $3 >= 0 AND allocated + $4 >= 0 AND shipped + $5 >= 0 \
         AND received + $6 BETWEEN 0 AND $7 AND deleted_at IS NULL \
         AND EXISTS (SELECT 1 FROM product WHERE id = $1 AND deleted_at IS NULL)"
    );
    let shifted = sqlx::query(AssertSqlSafe(sql))
        .bind(product.id())
        .bind(available)
        .bind(held)
        .bind(allocated)
        .bind(shipped)
        .bind(received)
        .bind(MAX_PIECES)
        .execute(connection)
        .await?;
    Ok(shifted.rows_affected() == 1)
}

/// Changes a stock as staff asks for, once for each request id.
pub(super) async fn change(
    connection: &mut Connection,
    product: &ProductName,
    change: &StockChange,
    request: Option<&RequestKey>,
) -> Result<Answer<Stock>, Undo> {
    if let Some(row) = answer_before::<StockRow>(connection, request).await? {
        return Ok(Answer { value: row.try_into()?, replayed: true });
    }
    let shifted = shift(connection, product, change.delta()).await?;
    if !shifted && let Some(row) = answer_before::<StockRow>(connection, request).await? {
        // The same request has come twice at once, and the other one was waited for.
        return Ok(Answer { value: row.try_into()?, replayed: true });
    }
    let not_found = || Refusal::ProductNotFound { product: product.clone() };
    let stock = find(connection, product).await?.ok_or_else(not_found)?;
    if !shifted {
        return match stock.changed(change.delta(), stock.updated_at) {
            Err(refusal) => Err(refusal.into()),
            Ok(_) => Err(Undo::conflict(product)),
        };
    }
    if let StockChange::Adjust { delta, reason, actor } = change {
        let sql =
            format!("INSERT INTO stock_adjustment (product, delta, reason, actor, at) VALUES ($1, $2, $3, $4, {NOW})");
        sqlx::query(AssertSqlSafe(sql))
            .bind(product.id())
            .bind(delta)
            .bind(reason)
            .bind(actor)
            .execute(&mut *connection)
            .await?;
    }
    keep_answer(connection, request, &StockRow::from(&stock)).await?;
    Ok(Answer { value: stock, replayed: false })
}

/// As [`shift`], with a bug: the stock may have changed between the two statements.
#[cfg(feature = "ablation")]
async fn read_then_write(connection: &mut Connection, product: &ProductName, delta: Delta) -> Result<bool, Undo> {
    let Some(stock) = find(connection, product).await? else { return Ok(false) };
    let Ok(after) = stock.changed(delta, stock.updated_at) else { return Ok(false) };
    sqlx::query(
        "UPDATE stock SET available = $2, held = $3, allocated = $4, shipped = $5, received = $6 WHERE product = $1",
    )
    .bind(product.id())
    .bind(after.available)
    .bind(after.held)
    .bind(after.allocated)
    .bind(after.shipped)
    .bind(after.received)
    .execute(connection)
    .await?;
    Ok(true)
}

/// [`shift`] for an order.
pub(super) async fn shift_of_order(
    connection: &mut Connection,
    store: &Store,
    product: &ProductName,
    delta: Delta,
) -> Result<bool, Undo> {
    #[cfg(feature = "ablation")]
    if store.planted == Some(super::super::Planted::ReadThenWrite) {
        return read_then_write(connection, product, delta).await;
    }
    _ = store;
    Ok(shift(connection, product, delta).await?)
}
