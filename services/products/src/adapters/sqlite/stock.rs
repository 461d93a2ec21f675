//! The stocks.

use meshwork_api::ProductName;
use meshwork_chassis::request::RequestKey;
use meshwork_sql::to_micros;
use sqlx::SqliteExecutor;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::rows::StockRow;
use super::{answer_before, damaged, keep_answer};
use crate::domain::{Delta, MAX_PIECES, Refusal, Stock, StockChange};
use crate::ports::{Answer, StoreError};

/// The stock of a product that is for sale.
pub(super) async fn find(
    executor: impl SqliteExecutor<'_>,
    product: &ProductName,
) -> Result<Option<Stock>, StoreError> {
    let row: Option<StockRow> = sqlx::query_as(
        "SELECT s.* FROM stock s JOIN product p ON p.id = s.product WHERE s.product = ? AND p.deleted_at IS NULL",
    )
    .bind(product.id())
    .fetch_optional(executor)
    .await?;
    row.map(Stock::try_from).transpose()
}

/// Makes the empty stock of a new product.
pub(super) async fn open(
    connection: &mut SqliteConnection,
    product: &ProductName,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO stock (product, available, held, allocated, shipped, received, updated_at) \
         VALUES (?, 0, 0, 0, 0, 0, ?)",
    )
    .bind(product.id())
    .bind(to_micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds `delta` to a stock, if its product is for sale and every number stays in its bounds; returns whether it was.
///
/// The condition is part of the update, so it holds for the numbers that are changed. It is that of [`Stock::changed`].
pub(super) async fn shift(
    connection: &mut SqliteConnection,
    product: &ProductName,
    delta: Delta,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let shifted = sqlx::query(
        "UPDATE stock SET available = available + ?2, held = held + ?3, allocated = allocated + ?4, \
         shipped = shipped + ?5, received = received + ?6, updated_at = ?7 \
         WHERE product = ?1 AND available + ?2 >= 0 AND held + ?3 >= 0 AND allocated + ?4 >= 0 AND shipped + ?5 >= 0 \
         AND received + ?6 BETWEEN 0 AND ?8 \
         AND EXISTS (SELECT 1 FROM product WHERE id = ?1 AND deleted_at IS NULL)",
    )
    .bind(product.id())
    .bind(delta.available)
    .bind(delta.held)
    .bind(delta.allocated)
    .bind(delta.shipped)
    .bind(delta.received)
    .bind(to_micros(now))
    .bind(MAX_PIECES)
    .execute(connection)
    .await?;
    Ok(shifted.rows_affected() == 1)
}

/// Changes a stock as staff asks for, once for each request id.
pub(super) async fn change(
    connection: &mut SqliteConnection,
    product: &ProductName,
    change: &StockChange,
    request: Option<&RequestKey>,
    now: OffsetDateTime,
) -> Result<Answer<Stock>, StoreError> {
    if let Some(row) = answer_before::<StockRow>(connection, request).await? {
        return Ok(Answer { value: row.try_into()?, replayed: true });
    }
    let shifted = shift(connection, product, change.delta(), now).await?;
    let not_found = || Refusal::ProductNotFound { product: product.clone() };
    let stock = find(&mut *connection, product).await?.ok_or_else(not_found)?;
    if !shifted {
        return match stock.changed(change.delta(), now) {
            Err(refusal) => Err(refusal.into()),
            Ok(_) => Err(damaged(format_args!("the stock of {product} refuses a change that it admits"))),
        };
    }
    if let StockChange::Adjust { delta, reason, actor } = change {
        sqlx::query("INSERT INTO stock_adjustment (product, delta, reason, actor, at) VALUES (?, ?, ?, ?, ?)")
            .bind(product.id())
            .bind(delta)
            .bind(reason)
            .bind(actor)
            .bind(to_micros(now))
            .execute(&mut *connection)
            .await?;
    }
    keep_answer(connection, request, &StockRow::from(&stock)).await?;
    Ok(Answer { value: stock, replayed: false })
}
