//! The read model in SQLite: view, parked orders and checkpoint change in one transaction.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_api::OrderName;
use meshwork_chassis::page::{Page, PageRequest};
use meshwork_eventstore::{Commit, partition_of};
use meshwork_sql::{AppliedMigration, Component, Error as SqlError, Sqlite, to_micros};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row};
use time::OffsetDateTime;

use super::event_store::recorded;
use crate::domain::{Order, State, evolve};
use crate::ports::{OrderFilter, OrderReadModel, ParkedStream, Position, StoreError};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/view");

const COMPONENT: Component = Component { name: "view", migrator: &MIGRATOR };

/// How often a query that waits for the view looks how far it has come.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The orders as lists show them.
#[derive(Clone)]
pub struct SqliteReadModel {
    db: Sqlite,
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        StoreError::Unavailable(error.to_string())
    }
}

fn unavailable(error: sqlx::Error) -> StoreError {
    SqlError::from(error).into()
}

impl SqliteReadModel {
    /// Opens the view's file, making it when missing.
    ///
    /// # Errors
    /// When it can't be opened or migrated.
    pub async fn open(path: &Path) -> Result<Self, SqlError> {
        Ok(Self { db: Sqlite::open(path, &[COMPONENT]).await? })
    }

    /// Whether the read model does its work, for a check.
    ///
    /// # Errors
    /// When it fails.
    pub async fn ping(&self) -> Result<(), SqlError> {
        self.db.ping().await
    }

    /// Migrates the view's file without keeping it open.
    ///
    /// # Errors
    /// As [`SqliteReadModel::open`].
    pub async fn migrate(path: &Path) -> Result<Vec<AppliedMigration>, SqlError> {
        Sqlite::migrate(path, &[COMPONENT]).await
    }

    /// How far the view has followed a partition.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self, partition: u16) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(n), 0) FROM checkpoints WHERE partition = ?")
            .bind(partition)
            .fetch_one(self.db.reader())
            .await
            .map_err(unavailable)?;
        row.try_get(0).map_err(unavailable)
    }

    /// The orders that lists show as they were, and why; the newest 100.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn parked(&self, partitions: u16) -> Result<Vec<ParkedStream>, StoreError> {
        let rows = sqlx::query("SELECT id, reason FROM parked_orders ORDER BY rowid DESC LIMIT 100")
            .fetch_all(self.db.reader())
            .await
            .map_err(unavailable)?;
        let parked = |row: &SqliteRow| {
            let id: String = row.try_get(0).map_err(unavailable)?;
            let stream = format!("orders/{id}");
            let partition = partition_of(&stream, partitions);
            // Where it was parked is not kept.
            Ok(ParkedStream { stream, partition, position: 0, reason: row.try_get(1).map_err(unavailable)? })
        };
        rows.iter().map(parked).collect()
    }

    /// Applies commits that follow position `after` of their partition. Returns false, having changed nothing, when the
    /// view has followed further than that already: another projector is at work.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn apply(&self, partition: u16, after: i64, commits: Vec<Commit>) -> Result<bool, StoreError> {
        let Some(last) = commits.last().map(|commit| commit.position.n) else { return Ok(true) };
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    if !fence(connection, partition, after, last).await.map_err(unavailable)? {
                        return Ok(false);
                    }
                    for commit in &commits {
                        apply(connection, commit).await?;
                    }
                    Ok(true)
                })
            })
            .await
    }
}

/// Moves the checkpoint from `after` to `last`, if it is there.
async fn fence(connection: &mut SqliteConnection, partition: u16, after: i64, last: i64) -> Result<bool, sqlx::Error> {
    let sql = if after == 0 {
        "INSERT INTO checkpoints (partition, n) VALUES (?1, ?3) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE checkpoints SET n = ?3 WHERE partition = ?1 AND n = ?2"
    };
    let moved = sqlx::query(sql).bind(partition).bind(after).bind(last).execute(connection).await?;
    Ok(moved.rows_affected() == 1)
}

/// Applies a commit to its order; one that can't be understood parks the order.
async fn apply(connection: &mut SqliteConnection, commit: &Commit) -> Result<(), StoreError> {
    // The streams of requests are no orders.
    let Ok(name) = commit.stream.parse::<OrderName>() else { return Ok(()) };
    let parked = sqlx::query("SELECT 1 FROM parked_orders WHERE id = ?")
        .bind(name.id())
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    if parked.is_some() {
        return Ok(());
    }
    match follow(connection, &name, commit).await {
        Err(StoreError::Damaged(reason)) => {
            tracing::error!(order = %name, reason, "an order's history can't be followed; lists show it as it was");
            sqlx::query("INSERT INTO parked_orders (id, version, reason) VALUES (?, ?, ?)")
                .bind(name.id())
                .bind(commit.version())
                .bind(reason)
                .execute(connection)
                .await
                .map_err(unavailable)?;
            Ok(())
        }
        result => result,
    }
}

async fn follow(connection: &mut SqliteConnection, name: &OrderName, commit: &Commit) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT body FROM orders WHERE id = ?")
        .bind(name.id())
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    let mut order = row.as_ref().map(body).transpose()?;
    for recorded in recorded(commit)? {
        let seen = order.as_ref().map_or(0, |order| order.version);
        if recorded.version == seen + 1 {
            order = evolve(order, name, &recorded.event, recorded.at);
        } else if recorded.version > seen {
            return Err(StoreError::Damaged(format!("{name} goes from version {seen} to {}", recorded.version)));
        }
    }
    let Some(order) = order else {
        return Err(StoreError::Damaged(format!("{name} doesn't begin with its creation")));
    };
    let body = serde_json::to_string(&order).map_err(|error| StoreError::Damaged(error.to_string()))?;
    sqlx::query(
        "INSERT INTO orders (id, customer, state, version, created_at, updated_at, body) VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, version = excluded.version, \
         updated_at = excluded.updated_at, body = excluded.body",
    )
    .bind(name.id())
    .bind(order.customer.to_string())
    .bind(order.state.as_str())
    .bind(order.version)
    .bind(to_micros(order.created_at))
    .bind(to_micros(order.updated_at))
    .bind(body)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

fn body(row: &SqliteRow) -> Result<Order, StoreError> {
    let body: String = row.try_get("body").map_err(unavailable)?;
    serde_json::from_str(&body).map_err(|error| StoreError::Damaged(format!("an order of the view: {error}")))
}

/// A list goes on behind this order.
fn cursor(order: &Order) -> String {
    format!("{}/{}", to_micros(order.created_at), order.name.id())
}

fn parse_cursor(cursor: &str) -> Option<(i64, String)> {
    let (at, id) = cursor.split_once('/')?;
    let order = OrderName::new(id).ok()?;
    Some((at.parse().ok()?, order.id().to_owned()))
}

#[async_trait]
impl OrderReadModel for SqliteReadModel {
    async fn list(&self, filter: &OrderFilter, page: &PageRequest) -> Result<Page<Order>, StoreError> {
        let mut sql = QueryBuilder::new("SELECT body FROM orders WHERE true");
        if let Some(customer) = &filter.customer {
            sql.push(" AND customer = ").push_bind(customer.to_string());
        }
        if let Some(state) = filter.state {
            sql.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(cursor) = &page.after {
            let (at, id) = parse_cursor(cursor).ok_or(StoreError::Cursor)?;
            sql.push(" AND (created_at, id) < (").push_bind(at).push(", ").push_bind(id).push(")");
        }
        let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
        sql.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(limit);
        let rows = sql.build().fetch_all(self.db.reader()).await.map_err(unavailable)?;
        let orders: Vec<_> = rows.iter().map(body).collect::<Result<_, _>>()?;
        Ok(Page::cut(orders, page.size, cursor))
    }

    async fn wait_for(&self, position: Position, at_most: Duration) -> Result<bool, StoreError> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            if self.checkpoint(position.partition).await? >= position.n {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn waiting(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<OrderName>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM orders INDEXED BY orders_waiting WHERE state = 'PENDING' AND updated_at <= ? \
             AND id NOT IN (SELECT id FROM parked_orders) ORDER BY updated_at LIMIT ?",
        )
        .bind(to_micros(before))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.db.reader())
        .await
        .map_err(unavailable)?;
        let name = |row: &SqliteRow| {
            let id: String = row.try_get(0).map_err(unavailable)?;
            OrderName::new(id).map_err(|error| StoreError::Damaged(error.to_string()))
        };
        rows.iter().map(name).collect()
    }
}

/// A pending order's word in the view, as the index of waiting orders has it.
const _: () = assert!(matches!(State::Pending.as_str().as_bytes(), b"PENDING"));
