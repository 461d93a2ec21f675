//! The stocks and reservations, as the use cases see them.

use std::collections::HashMap;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::{OrderName, ProductName};
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use sqlx::{FromRow as _, QueryBuilder, Row as _};

use super::super::damaged;
use super::super::rows::{LineRow, ReservationRow, cursor, limit, place};
use super::super::undo::Undo;
use super::reservations::{self, Carried};
use super::store::Store;
use super::{Connection, Driver, NOW, Row, SKIP_LOCKED, index_hint, stock};
use crate::domain::{Input, Line, Refusal, Reservation, Stock, StockChange};
use crate::ports::{Answer, Applied, Inventory, OrderEvent, ReservationFilter, StoreError};

/// The most bytes of a reservation as callers see it: 100 lines, each with a name of 72 and a number. Lines are read for the
/// rows of a page alone.
const RESERVATION_BYTES: usize = 10 << 10;

#[async_trait]
impl Inventory for Store {
    async fn stock(&self, product: &ProductName, freshness: Freshness) -> Result<Stock, StoreError> {
        let found =
            self.db.read(freshness, product.clone(), |connection, product| Box::pin(stock::find(connection, product)));
        found.await?.ok_or_else(|| Refusal::ProductNotFound { product: product.clone() }.into())
    }

    async fn change_stock(
        &self,
        product: ProductName,
        change: StockChange,
        request: Option<RequestKey>,
    ) -> Result<Answer<Stock>, StoreError> {
        let changed = self.db.write((product, change, request), |connection, (product, change, request)| {
            Box::pin(stock::change(connection, product, change, request.as_ref()))
        });
        Ok(changed.await?)
    }

    async fn apply(&self, event: OrderEvent) -> Result<Applied, StoreError> {
        #[cfg(feature = "ablation")]
        if self.planted == Some(super::super::Planted::InboxApart) {
            let noted =
                self.db.write(event.clone(), |connection, event| Box::pin(reservations::note_apart(connection, event)));
            if let Some(applied) = noted.await? {
                return Ok(applied);
            }
        }
        let applied = self.db.write((self.clone(), event), |connection, (store, event)| {
            Box::pin(reservations::apply(connection, store, event))
        });
        match applied.await {
            Ok(applied) | Err(Undo::Answer(applied)) => Ok(applied),
            Err(error) => Err(error.into()),
        }
    }

    async fn due(&self, limit: usize) -> Result<Vec<OrderName>, StoreError> {
        let mut sql = QueryBuilder::<Driver>::new("SELECT order_id FROM reservation");
        sql.push(index_hint("reservation_due")).push(" WHERE state = 'HELD' AND expires_at <= ");
        self.push_now(&mut sql);
        sql.push(" ORDER BY expires_at LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let ids: Vec<String> = sql.build_query_scalar().fetch_all(self.db.reader()).await?;
        ids.into_iter().map(|id| OrderName::new(id).map_err(damaged)).collect()
    }

    async fn expire(&self, order: OrderName) -> Result<bool, StoreError> {
        let carried = self.db.write((self.clone(), order), |connection, (store, order)| {
            // One that somebody is at is left to them: it is expired now, or is confirmed, or comes with the next sweep.
            Box::pin(reservations::carry_out(connection, store, order, &Input::Expired, SKIP_LOCKED))
        });
        Ok(matches!(carried.await?, Carried::Changed))
    }

    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: &PageRequest,
        freshness: Freshness,
    ) -> Result<Page<Reservation>, StoreError> {
        let found = self.db.read(freshness, (filter.clone(), page.clone()), |connection, (filter, page)| {
            Box::pin(list(connection, filter, page))
        });
        Ok(found.await?)
    }

    async fn position(&self) -> Option<WalPosition> {
        // Stocks aren't cached: only replicas could show them too late.
        self.db.replica_position().await
    }
}

async fn list(
    connection: &mut Connection,
    filter: &ReservationFilter,
    page: &PageRequest,
) -> Result<Page<Reservation>, Undo> {
    let mut sql = QueryBuilder::new("");
    select(&mut sql, filter, page)?;
    let rows = sql.build().fetch_all(&mut *connection).await?.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let cursor = |(id, created_at, _): &Listed| cursor(*created_at, id);
    let Page { items, next } = Page::cut(rows, page.size, cursor, |_| RESERVATION_BYTES);
    let mut lines = lines_of(connection, &items).await?;
    let readable = items.into_iter().filter_map(|(id, _, row)| {
        let of_order = lines.remove(&id).unwrap_or_else(|| Ok(Vec::new()));
        let found = row.and_then(|row| row.with(of_order?));
        if let Err(error) = &found {
            tracing::error!(order = id, %error, "a reservation can't be read; lists leave it out");
        }
        found.ok()
    });
    Ok(Page { items: readable.collect(), next })
}

/// A row of a list: its order, when the reservation was made, and what else there is, unless that can't be read.
type Listed = (String, i64, Result<ReservationRow, StoreError>);

fn listed(row: &Row) -> Result<Listed, sqlx::Error> {
    let reservation = ReservationRow::from_row(row).map_err(StoreError::from);
    Ok((row.try_get("order_id")?, row.try_get("created_at")?, reservation))
}

/// Writes the statement that reads a page. Only what is asked for is in it, so that an index in its order serves it.
pub(super) fn select(
    sql: &mut QueryBuilder<Driver>,
    filter: &ReservationFilter,
    page: &PageRequest,
) -> Result<(), StoreError> {
    // Lines know when their reservation was made, so that those of a product are at hand in the list's order. CROSS
    // keeps SQLite from beginning with the reservations.
    let (row, from) = match filter.product {
        Some(_) => ("r", "reservation_line k CROSS JOIN reservation r WHERE r.order_id = k.order_id"),
        None => ("k", "reservation k WHERE true"),
    };
    sql.push("SELECT ").push(row).push(".* FROM ").push(from);
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

/// The lines of reservations, by order; an error where one of them can't be read. Lines never change, so they may be read after
/// their reservations.
async fn lines_of(
    connection: &mut Connection,
    reservations: &[Listed],
) -> Result<HashMap<String, Result<Vec<Line>, StoreError>>, sqlx::Error> {
    let mut lines: HashMap<String, Result<Vec<Line>, StoreError>> = HashMap::new();
    if reservations.is_empty() {
        return Ok(lines);
    }
    let mut sql =
        QueryBuilder::<Driver>::new("SELECT order_id, product, quantity FROM reservation_line WHERE order_id IN (");
    let mut ids = sql.separated(", ");
    for (id, ..) in reservations {
        ids.push_bind(id.as_str());
    }
    sql.push(") ORDER BY order_id, product");
    for row in sql.build().fetch_all(connection).await? {
        let of_order = lines.entry(row.try_get("order_id")?).or_insert_with(|| Ok(Vec::new()));
        let line = LineRow::from_row(&row).map_err(StoreError::from).and_then(Line::try_from);
        match (of_order, line) {
            (Ok(read), Ok(line)) => read.push(line),
            (of_order, Err(error)) => *of_order = Err(error),
            (Err(_), Ok(_)) => {}
        }
    }
    Ok(lines)
}

impl Store {
    /// The time by which holds are over: a subquery, so that it is asked for once and can be looked up in an index, which
    /// PostgreSQL doesn't do with a clock that goes on.
    #[allow(clippy::unused_self, reason = "a planted bug has another")]
    fn push_now(&self, sql: &mut QueryBuilder<Driver>) {
        #[cfg(feature = "ablation")]
        if let Some(super::super::Planted::ApplicationClock(ahead)) = self.planted {
            sql.push_bind(meshwork_sql::to_micros(time::OffsetDateTime::now_utc() + ahead));
            return;
        }
        sql.push("(SELECT ").push(NOW).push(")");
    }
}
