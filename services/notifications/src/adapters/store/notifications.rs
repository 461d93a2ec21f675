//! The store itself.

use std::time::Duration;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_events::inbox::Gate;
use meshwork_sql::{Error as SqlError, WorkError, to_micros};
use prost::Message as _;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};
use uuid::Uuid;

use super::rows::{COLUMNS, find, insert, read, update};
use super::{Connection, Database, Driver, Row, claims, gate, notes};
use crate::adapters::CONSUMER;
use crate::adapters::convert::to_proto;
use crate::domain::{Freshness, Notice, Notification, Occasion, Outcome};
use crate::ports::{Arrival, NotificationStore, Recorded, Resent, Selection, StoreError};

/// Why the transaction of an event is undone.
enum Undo {
    /// The store has failed.
    Store(SqlError),
    /// The event is not to be applied.
    Answer(Recorded),
}

impl From<SqlError> for Undo {
    fn from(error: SqlError) -> Self {
        Undo::Store(error)
    }
}

impl From<sqlx::Error> for Undo {
    fn from(error: sqlx::Error) -> Self {
        Undo::Store(error.into())
    }
}

impl WorkError for Undo {
    fn is_conflict(&self) -> bool {
        matches!(self, Undo::Store(error) if error.is_conflict())
    }
}

/// Notifications in a database that has the tables of `COMPONENTS`.
#[derive(Clone)]
pub struct Store {
    db: Database,
}

impl Store {
    /// The notifications of `db`.
    pub fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl NotificationStore for Store {
    async fn record(&self, arrival: Arrival, notice: Notice, freshness: Freshness) -> Result<Recorded, StoreError> {
        let recorded = self.db.write((arrival, notice, freshness), |connection, (arrival, notice, freshness)| {
            Box::pin(record(connection, arrival, notice, freshness))
        });
        match recorded.await {
            Ok(recorded) | Err(Undo::Answer(recorded)) => Ok(recorded),
            Err(Undo::Store(error)) => Err(error.into()),
        }
    }

    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Notification>, StoreError> {
        // Most polls find nothing, and needn't take the writer's turn for it.
        let due = sqlx::query(AssertSqlSafe(claims::any_due())).fetch_optional(self.db.reader()).await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        let claimed = self
            .db
            .write((limit, lease), |connection, (limit, lease)| Box::pin(claims::claim(connection, *limit, *lease)));
        Ok(claimed.await?)
    }

    async fn renew(&self, id: Uuid, attempt: u32, lease: Duration) -> Result<bool, StoreError> {
        let renewed = self.db.write((id, attempt, lease), |connection, (id, attempt, lease)| {
            Box::pin(claims::renew(connection, *id, *attempt, *lease))
        });
        Ok(renewed.await?)
    }

    async fn settle(&self, id: Uuid, attempt: u32, outcome: Outcome) -> Result<(), StoreError> {
        let settled = self.db.write((id, attempt, outcome), |connection, (id, attempt, outcome)| {
            Box::pin(claims::settle(connection, *id, *attempt, outcome))
        });
        Ok(settled.await?)
    }

    async fn resend(&self, id: Uuid) -> Result<Resent, StoreError> {
        Ok(self.db.write(id, |connection, id| Box::pin(resend(connection, *id))).await?)
    }

    async fn give_up(&self, after: Duration, limit: usize) -> Result<u64, StoreError> {
        let given_up = self
            .db
            .write((after, limit), |connection, (after, limit)| Box::pin(claims::give_up(connection, *after, *limit)));
        Ok(given_up.await?)
    }

    async fn prune(&self, retention: Duration, limit: usize) -> Result<u64, StoreError> {
        let pruned = self.db.write((retention, limit), |connection, (retention, limit)| {
            Box::pin(claims::prune(connection, *retention, *limit))
        });
        Ok(pruned.await?)
    }

    async fn get(&self, id: Uuid) -> Result<Option<Notification>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM notification WHERE id = $1");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(self.db.reader()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    async fn list(&self, selection: Selection, page: PageRequest) -> Result<Page<Notification>, StoreError> {
        let mut query = QueryBuilder::<Driver>::new(format!("SELECT {COLUMNS} FROM notification WHERE 1 = 1"));
        if let Some(state) = selection.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(about) = selection.about {
            query.push(" AND about = ").push_bind(about);
        }
        if let Some(recipient) = selection.recipient {
            query.push(" AND recipient = ").push_bind(recipient.to_string());
        }
        if let Some(after) = page.after {
            let seq: i64 = after.parse().map_err(|_| StoreError::UnknownCursor)?;
            query.push(" AND seq < ").push_bind(seq);
        }
        let one_more = i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1);
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(one_more);
        let rows = query.build().fetch_all(self.db.reader()).await?;
        let items = rows.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
        let bytes = |found: &Option<Notification>| found.as_ref().map_or(0, |found| to_proto(found).encoded_len());
        let page = Page::cut(items, page.size, |(seq, _)| seq.to_string(), |(_, found)| bytes(found));
        Ok(Page { items: page.items.into_iter().filter_map(|(_, found)| found).collect(), next: page.next })
    }
}

/// Where a list goes on behind a row, and what it shows of it, unless that can't be read.
fn listed(row: &Row) -> Result<(i64, Option<Notification>), sqlx::Error> {
    let seq = row.try_get("seq")?;
    let notification = read(row);
    if let Err(error) = &notification {
        tracing::error!(seq, %error, "a notification can't be read by this release; lists leave it out");
    }
    Ok((seq, notification.ok()))
}

async fn record(
    connection: &mut Connection,
    arrival: &Arrival,
    notice: &Notice,
    freshness: &Freshness,
) -> Result<Recorded, Undo> {
    match gate(connection, CONSUMER, &arrival.subject, arrival.version).await? {
        Gate::Apply => {}
        Gate::Duplicate => return Err(Undo::Answer(Recorded::Duplicate)),
        Gate::Hole { last } => return Err(Undo::Answer(Recorded::Hole { last })),
        Gate::Parked => return Err(Undo::Answer(Recorded::Parked)),
    }
    let letter = match notice {
        Notice::Nothing => None,
        Notice::Letter { recipient, occasion } => {
            if let Occasion::OrderCancelled { order, .. } = occasion {
                notes::take(connection, order).await?;
            }
            Some((recipient.clone(), occasion.clone()))
        }
        Notice::Confirmed { order, customer, total } => {
            notes::put(connection, order, customer, total.as_ref()).await?;
            None
        }
        Notice::Allocated { order } => notes::take(connection, order).await?,
        Notice::Erased { user } => {
            let sql = "DELETE FROM notification WHERE recipient = $1";
            sqlx::query(sql).bind(user.to_string()).execute(&mut *connection).await?;
            None
        }
    };
    let Some((recipient, occasion)) = letter else { return Ok(Recorded::Applied) };
    let (start, now) = notes::start_and_now(connection).await?;
    if freshness.admits(arrival.time, start, now) {
        let notification = Notification::new(arrival.event_id.clone(), recipient, occasion.clone(), now);
        insert(connection, &notification, &occasion).await?;
    } else {
        tracing::info!(event = arrival.event_id, "nothing is mailed for what happened so long ago");
    }
    Ok(Recorded::Applied)
}

async fn resend(connection: &mut Connection, id: Uuid) -> Result<Resent, SqlError> {
    let Some((mut notification, now)) = find(connection, id).await? else { return Ok(Resent::Missing) };
    if notification.resend(now).is_err() {
        return Ok(Resent::BeingSent);
    }
    update(connection, &notification, now).await?;
    sqlx::query("UPDATE notification SET resent_at = $1 WHERE id = $2")
        .bind(to_micros(now))
        .bind(id.to_string())
        .execute(connection)
        .await?;
    Ok(Resent::Yes(Box::new(notification)))
}
