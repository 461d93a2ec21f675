//! What queries read: the live version. Which one that is, is asked in the statement itself, so that a switch is seen by
//! all at once. Lists may be read from a replica; what decides, as the search for orders that wait, from the primary.

use std::time::Duration;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::UserName;
use meshwork_chassis::consistency::Freshness;
use meshwork_sql::{Error as SqlError, from_micros, to_micros};
use prost::Message as _;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};
use time::OffsetDateTime;

use super::super::order_row::{cursor, parse, parse_cursor};
use super::{Connection, Driver, ReadModel, Row, index_hint};
use crate::adapters::convert::order_to_proto;
use crate::domain::Order;
use crate::ports::{Awaited, OrderFilter, OrderReadModel, Position, StoreError, ViewPage, Waiting};

/// How often a query that waits for the view looks how far it has come.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn unavailable(error: sqlx::Error) -> StoreError {
    SqlError::from(error).into()
}

/// Where a list goes on behind a row, and its order, unless that can't be read.
fn listed(row: &Row) -> Result<(String, Option<Order>), sqlx::Error> {
    let (id, created_at): (String, i64) = (row.try_get("id")?, row.try_get("created_at")?);
    let order = row.try_get::<&str, _>("body").map_err(unavailable).and_then(parse);
    if let Err(error) = &order {
        tracing::error!(order = id, %error, "a row of the view can't be read; lists leave it out until it is made anew");
    }
    Ok((cursor(created_at, &id), order.ok()))
}

/// Finds orders that wait for the inventory. Their condition is the index's own, word for word: with another one it would not
/// be used. A row that can't be read is taken for one that waits, since only the order's history can tell.
pub(crate) fn waiting() -> String {
    let index = index_hint("orders_unanswered");
    format!(
        "SELECT o.id, o.updated_at FROM orders o{index} \
         WHERE o.view_version = (SELECT version FROM view_versions WHERE state = 'live') \
         AND (o.state = 'PENDING' OR (o.state = 'CONFIRMED' AND o.body NOT LIKE '%\"allocated_at\":\"%')) \
         AND o.updated_at <= $1 AND (o.updated_at, o.id) > ($2, $3) \
         AND NOT EXISTS (SELECT 1 FROM parked_orders p WHERE p.view_version = o.view_version AND p.id = o.id) \
         ORDER BY o.updated_at, o.id LIMIT $4"
    )
}

/// Counts a customer's orders that are pending or confirmed, up to a bound.
pub(crate) const OPEN_ORDERS: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM orders \
     WHERE view_version = (SELECT version FROM view_versions WHERE state = 'live') \
     AND customer = $1 AND state IN ('PENDING', 'CONFIRMED') LIMIT $2) AS counted";

/// Which rows of the view are wanted.
#[derive(Clone)]
struct Wanted {
    filter: OrderFilter,
    /// The time and the id behind which the page begins.
    after: Option<(i64, String)>,
    size: usize,
}

impl Wanted {
    fn new(filter: &OrderFilter, page: &PageRequest) -> Result<Self, StoreError> {
        let after = page.after.as_deref().map(|cursor| parse_cursor(cursor).ok_or(StoreError::Cursor)).transpose()?;
        Ok(Self { filter: filter.clone(), after, size: page.size })
    }
}

/// The page, with an order that isn't followed any more for a sign that it is incomplete.
async fn read(connection: &mut Connection, wanted: &Wanted) -> Result<ViewPage, SqlError> {
    let Wanted { filter, after, size } = wanted;
    // Before the rows: one that is parked no more may be shown, and not the other way round. Of one that was parked at
    // its creation the view doesn't know whose it is.
    let mut sql = QueryBuilder::<Driver>::new(
        "SELECT 1 FROM parked_orders p JOIN view_versions v ON v.version = p.view_version AND v.state = 'live' \
         LEFT JOIN orders o ON o.view_version = p.view_version AND o.id = p.id",
    );
    if let Some(customer) = &filter.customer {
        sql.push(" WHERE o.customer IS NULL OR o.customer = ").push_bind(customer.to_string());
    }
    sql.push(" LIMIT 1");
    let parked = sql.build().fetch_optional(&mut *connection).await?.is_some();

    let mut sql = QueryBuilder::<Driver>::new(
        "SELECT id, created_at, body FROM orders WHERE view_version = (SELECT version FROM view_versions WHERE state = 'live')",
    );
    if let Some(customer) = &filter.customer {
        sql.push(" AND customer = ").push_bind(customer.to_string());
    }
    if let Some(state) = filter.state {
        sql.push(" AND state = ").push_bind(state.as_str());
    }
    if let Some((at, id)) = after {
        sql.push(" AND (created_at, id) < (").push_bind(*at).push(", ").push_bind(id.clone()).push(")");
    }
    let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
    sql.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(limit);
    let rows = sql.build().fetch_all(connection).await?;
    let rows = rows.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let bytes = |order: &Option<Order>| order.as_ref().map_or(0, |order| order_to_proto(order).encoded_len());
    let Page { items, next } = Page::cut(rows, *size, |(cursor, _)| cursor.clone(), |(_, order)| bytes(order));
    let all = items.len();
    let items: Vec<_> = items.into_iter().filter_map(|(_, order)| order).collect();
    Ok(ViewPage { incomplete: parked || items.len() < all, page: Page { items, next }, behind: false })
}

/// Whether the live version has applied everything up to `position` of its partition.
async fn is_reached(connection: &mut Connection, position: Position) -> Result<bool, SqlError> {
    let reached = sqlx::query(
        "SELECT 1 FROM checkpoints WHERE view_version = (SELECT version FROM view_versions WHERE state = 'live') \
         AND partition = $1 AND n >= $2",
    )
    .bind(i64::from(position.partition))
    .bind(position.n)
    .fetch_optional(connection)
    .await?;
    Ok(reached.is_some())
}

/// The page, if it shows everything up to `position`: both are asked of one server, of which the rows are asked last.
async fn read_if_reached(
    connection: &mut Connection,
    wanted: &Wanted,
    position: Position,
) -> Result<Option<ViewPage>, SqlError> {
    if is_reached(connection, position).await? { read(connection, wanted).await.map(Some) } else { Ok(None) }
}

#[async_trait]
impl OrderReadModel for ReadModel {
    async fn list(
        &self,
        filter: &OrderFilter,
        page: &PageRequest,
        freshness: Freshness,
        awaited: Option<Awaited>,
    ) -> Result<ViewPage, StoreError> {
        let wanted = Wanted::new(filter, page)?;
        let Some(Awaited { position, at_most }) = awaited else { return self.read(freshness, wanted).await };
        let input = (wanted.clone(), position);
        let found = self.db.read::<_, _, SqlError, _>(freshness, input, |connection, (wanted, position)| {
            Box::pin(read_if_reached(connection, wanted, *position))
        });
        if let Some(page) = found.await? {
            return Ok(page);
        }
        // A replica may have been behind; where it is waited for, it is asked of the primary alone.
        let behind = !self.wait_for(position, at_most).await?;
        Ok(ViewPage { behind, ..self.read(Freshness::Latest, wanted).await? })
    }

    async fn waiting(
        &self,
        before: OffsetDateTime,
        after: Option<&Waiting>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let (at, id) = after.map_or((i64::MIN, ""), |after| (to_micros(after.updated_at), after.id.as_str()));
        let rows = sqlx::query(AssertSqlSafe(waiting()))
            .bind(to_micros(before))
            .bind(at)
            .bind(id)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.db.reader())
            .await
            .map_err(unavailable)?;
        let waiting = |row: &Row| -> Result<Waiting, sqlx::Error> {
            Ok(Waiting { id: row.try_get("id")?, updated_at: from_micros(row.try_get("updated_at")?) })
        };
        rows.iter().map(waiting).collect::<Result<_, _>>().map_err(unavailable)
    }

    async fn open_orders(&self, customer: &UserName, at_most: u32) -> Result<u32, StoreError> {
        let row = sqlx::query(OPEN_ORDERS)
            .bind(customer.to_string())
            .bind(i64::from(at_most))
            .fetch_one(self.db.reader())
            .await
            .map_err(unavailable)?;
        let counted: i64 = row.try_get(0).map_err(unavailable)?;
        Ok(u32::try_from(counted).unwrap_or(u32::MAX))
    }
}

impl ReadModel {
    async fn read(&self, freshness: Freshness, wanted: Wanted) -> Result<ViewPage, StoreError> {
        let found = self
            .db
            .read::<_, _, SqlError, _>(freshness, wanted, |connection, wanted| Box::pin(read(connection, wanted)));
        Ok(found.await?)
    }

    /// Waits until the primary shows everything up to `position` of its partition, for at most `at_most`; returns whether it
    /// does.
    async fn wait_for(&self, position: Position, at_most: Duration) -> Result<bool, StoreError> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let reached = self.db.read::<_, _, SqlError, _>(Freshness::Latest, position, |connection, position| {
                Box::pin(is_reached(connection, *position))
            });
            if reached.await? {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
