//! The stocks and reservations, as the use cases see them.

use std::collections::HashMap;

use async_trait::async_trait;
use meshwork_api::{OrderName, ProductName};
use meshwork_chassis::page::{Page, PageRequest};
use meshwork_chassis::request::RequestKey;
use meshwork_sql::to_micros;
use sqlx::{QueryBuilder, Sqlite};
use time::OffsetDateTime;

use super::reservations::{self, Abort, Carried};
use super::rows::{LineRow, ReservationRow, cursor, limit, place};
use super::{SqliteStore, damaged, stock};
use crate::domain::{Input, Line, Refusal, Reservation, Stock, StockChange};
use crate::ports::{Answer, Applied, Inventory, OrderEvent, ReservationFilter, StoreError};

#[async_trait]
impl Inventory for SqliteStore {
    async fn stock(&self, product: &ProductName) -> Result<Stock, StoreError> {
        let stock = stock::find(self.db.reader(), product).await?;
        stock.ok_or_else(|| Refusal::ProductNotFound { product: product.clone() }.into())
    }

    async fn change_stock(
        &self,
        product: ProductName,
        change: StockChange,
        request: Option<RequestKey>,
        now: OffsetDateTime,
    ) -> Result<Answer<Stock>, StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move { stock::change(connection, &product, &change, request.as_ref(), now).await })
            })
            .await
    }

    async fn apply(&self, event: OrderEvent, now: OffsetDateTime) -> Result<Applied, StoreError> {
        let outbox = self.outbox.clone();
        let applied = self
            .db
            .write_once(move |connection| {
                Box::pin(async move { reservations::apply(connection, &outbox, &event, now).await })
            })
            .await;
        match applied {
            Ok(applied) => Ok(applied),
            Err(Abort::Contradiction(why)) => Ok(Applied::Contradiction(why)),
            Err(Abort::Store(error)) => Err(error),
        }
    }

    async fn due(&self, now: OffsetDateTime, limit: usize) -> Result<Vec<OrderName>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT order_id FROM reservation INDEXED BY reservation_due WHERE state = 'HELD' AND expires_at <= ? \
             ORDER BY expires_at LIMIT ?",
        )
        .bind(to_micros(now))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.db.reader())
        .await?;
        ids.into_iter().map(|id| OrderName::new(id).map_err(damaged)).collect()
    }

    async fn expire(&self, order: OrderName, now: OffsetDateTime) -> Result<bool, StoreError> {
        let outbox = self.outbox.clone();
        let carried = self
            .db
            .write_once(move |connection| {
                Box::pin(
                    async move { reservations::carry_out(connection, &outbox, &order, &Input::Expired, now).await },
                )
            })
            .await;
        match carried {
            Ok(Carried::Changed) => Ok(true),
            Ok(Carried::Nothing | Carried::Alarm(_)) => Ok(false),
            Err(Abort::Contradiction(why)) => Err(damaged(why)),
            Err(Abort::Store(error)) => Err(error),
        }
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: &PageRequest,
    ) -> Result<Page<Reservation>, StoreError> {
        let mut sql = QueryBuilder::new("");
        select(&mut sql, filter, page)?;
        let rows: Vec<ReservationRow> = sql.build_query_as().fetch_all(self.db.reader()).await?;
        let mut lines = self.lines(&rows).await?;
        let reservations = rows
            .into_iter()
            .map(|row| {
                let lines = lines.remove(&row.order_id).unwrap_or_default();
                row.with(lines)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(reservations, page.size, |found| cursor(found.created_at, found.order.id())))
    }
}

/// Writes the statement that reads a page. Only what is asked for is in it, so that an index in its order serves it.
fn select(sql: &mut QueryBuilder<Sqlite>, filter: &ReservationFilter, page: &PageRequest) -> Result<(), StoreError> {
    // Lines know when their reservation was made, so that those of a product are at hand in the list's order. CROSS
    // keeps SQLite from beginning with the reservations.
    let from = if filter.product.is_some() {
        "reservation_line k CROSS JOIN reservation r ON r.order_id = k.order_id"
    } else {
        "reservation k"
    };
    let row = if filter.product.is_some() { "r" } else { "k" };
    sql.push("SELECT ").push(row).push(".* FROM ").push(from).push(" WHERE true");
    if let Some(product) = &filter.product {
        sql.push(" AND k.product = ").push_bind(product.id().to_owned());
    }
    if let Some(order) = &filter.order {
        sql.push(" AND k.order_id = ").push_bind(order.id().to_owned());
    }
    if let Some(state) = filter.state {
        sql.push(" AND ").push(row).push(".state = ").push_bind(state.as_str());
    }
    if let Some((created_at, id)) = place(page)? {
        sql.push(" AND (k.created_at, k.order_id) < (").push_bind(created_at);
        sql.push(", ").push_bind(id.to_owned()).push(")");
    }
    sql.push(" ORDER BY k.created_at DESC, k.order_id DESC LIMIT ").push_bind(limit(page));
    Ok(())
}

impl SqliteStore {
    /// The lines of reservations, by order. Lines never change, so they may be read after their reservations.
    async fn lines(&self, reservations: &[ReservationRow]) -> Result<HashMap<String, Vec<Line>>, StoreError> {
        let ids: Vec<_> = reservations.iter().map(|row| row.order_id.as_str()).collect();
        let ids = serde_json::to_string(&ids).map_err(damaged)?;
        let rows: Vec<LineRow> = sqlx::query_as(
            "SELECT order_id, product, quantity FROM reservation_line \
             WHERE order_id IN (SELECT value FROM json_each(?)) ORDER BY order_id, product",
        )
        .bind(ids)
        .fetch_all(self.db.reader())
        .await?;
        let mut lines: HashMap<String, Vec<Line>> = HashMap::new();
        for row in rows {
            lines.entry(row.order_id.clone()).or_default().push(row.try_into()?);
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row;
    use time::Duration;

    use super::*;
    use crate::domain::State;

    #[tokio::test]
    async fn every_list_is_read_by_an_index_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let all = ReservationFilter::default;
        let (product, order) = (ProductName::new("lamp").ok(), OrderName::new("o1").ok());
        let state = Some(State::Held);
        let cursor = Some(cursor(OffsetDateTime::UNIX_EPOCH + Duration::DAY, "o1"));
        for (filter, by) in [
            (all(), "reservation_newest"),
            (ReservationFilter { state, ..all() }, "reservation_state (state=?"),
            (ReservationFilter { product: product.clone(), ..all() }, "reservation_line_product (product=?"),
            (ReservationFilter { product, state, ..all() }, "reservation_line_product (product=?"),
            (ReservationFilter { order, ..all() }, "PRIMARY KEY (order_id=?"),
        ] {
            for after in [None, cursor.clone()] {
                let mut sql = QueryBuilder::new("EXPLAIN QUERY PLAN ");
                let second = after.is_some();
                select(&mut sql, &filter, &PageRequest { size: 10, after }).unwrap();
                let plan = sql.build().fetch_all(store.db.reader()).await.unwrap();
                let plan: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
                assert!(plan[0].contains(by), "{filter:?}: {plan:?}");
                assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{filter:?}: {plan:?}");
                if second && filter.order.is_none() {
                    let sought = plan[0].starts_with("SEARCH") && plan[0].contains("created_at");
                    assert!(sought, "the second page reads the first: {filter:?}: {plan:?}");
                }
            }
        }
    }
}
