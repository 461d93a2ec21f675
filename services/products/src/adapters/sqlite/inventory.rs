//! The stocks and reservations, as the use cases see them.

use std::collections::HashMap;

use async_trait::async_trait;
use meshwork_api::{OrderName, ProductName};
use meshwork_chassis::page::{Page, PageRequest};
use meshwork_chassis::request::RequestKey;
use meshwork_sql::to_micros;
use time::OffsetDateTime;

use super::reservations::{self, Abort, Carried};
use super::rows::{LineRow, ReservationRow, cursor, limit, place};
use super::{SqliteStore, damaged, stock};
use crate::domain::{Input, Line, Refusal, Reservation, State, Stock, StockChange};
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
            .write(move |connection| {
                Box::pin(async move { stock::change(connection, &product, &change, request.as_ref(), now).await })
            })
            .await
    }

    async fn apply(&self, event: OrderEvent, now: OffsetDateTime) -> Result<Applied, StoreError> {
        let outbox = self.outbox.clone();
        let applied = self
            .db
            .write(move |connection| {
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
            "SELECT order_id FROM reservation WHERE state = 'HELD' AND expires_at <= ? ORDER BY expires_at LIMIT ?",
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
            .write(move |connection| {
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
        let place = place(page)?;
        let rows: Vec<ReservationRow> = sqlx::query_as(
            "SELECT r.* FROM reservation r WHERE (?1 IS NULL OR r.state = ?1) AND (?2 IS NULL OR r.order_id = ?2) \
             AND (?3 IS NULL OR EXISTS \
                  (SELECT 1 FROM reservation_line l WHERE l.order_id = r.order_id AND l.product = ?3)) \
             AND (?4 IS NULL OR (r.created_at, r.order_id) < (?4, ?5)) \
             ORDER BY r.created_at DESC, r.order_id DESC LIMIT ?6",
        )
        .bind(filter.state.map(State::as_str))
        .bind(filter.order.as_ref().map(OrderName::id))
        .bind(filter.product.as_ref().map(ProductName::id))
        .bind(place.map(|(created_at, _)| created_at))
        .bind(place.map(|(_, id)| id))
        .bind(limit(page))
        .fetch_all(self.db.reader())
        .await?;
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

impl SqliteStore {
    /// The lines of reservations, by order. Lines never change, so they may be read after their reservations.
    async fn lines(&self, reservations: &[ReservationRow]) -> Result<HashMap<String, Vec<Line>>, StoreError> {
        let ids: Vec<_> = reservations.iter().map(|row| row.order_id.as_str()).collect();
        let ids = serde_json::to_string(&ids).map_err(|error| StoreError::Failed(error.to_string()))?;
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
