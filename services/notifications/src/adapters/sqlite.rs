//! Notifications in SQLite: the embedded store.

use async_trait::async_trait;
use meshwork_chassis::page::{Page, PageRequest};
use meshwork_events::inbox::Gate;
use meshwork_events::inbox::sqlite::gate;
use meshwork_sql::{Component, Sqlite, from_micros, to_micros};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::CONSUMER;
use crate::domain::{Notification, Occasion, Outcome, State};
use crate::ports::{Arrival, NotificationStore, Recorded, Selection, StoreError};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// The table of notifications. The store also needs the inbox's.
pub const COMPONENT: Component = Component { name: "notifications", migrator: &MIGRATOR };

/// The columns that [`notification`] reads.
const COLUMNS: &str =
    "seq, id, event_id, recipient, occasion, subject, state, reason, attempts, next_try_at, created_at, sent_at";

/// What a row that can't be read says from then on.
const UNREADABLE: &str = "what it should tell can't be read any more";

/// Whether anything is due. This statement and the next two name their indexes: left to itself, the planner takes the one
/// on states, which sorts all that waits for each letter.
const DUE: &str = "SELECT 1 FROM notification INDEXED BY notification_due \
     WHERE state = 'PENDING' AND next_try_at <= ? LIMIT 1";

/// What takes a recipient's other letters along when one has failed.
const QUARANTINE: &str = "UPDATE notification INDEXED BY notification_recipient SET next_try_at = ?1 \
     WHERE recipient = ?2 AND state = 'PENDING' AND next_try_at < ?1";

/// The primary result codes of SQLite for a file that is damaged, or is no database.
const DAMAGED_FILE: [i32; 2] = [11, 26];

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        let damaged = match &error {
            meshwork_sql::Error::Database(sqlx::Error::Database(cause)) => {
                // An extended code holds the primary one in its lowest byte.
                let code = cause.code().and_then(|code| code.parse::<i32>().ok());
                code.is_some_and(|code| DAMAGED_FILE.contains(&(code & 0xff)))
            }
            meshwork_sql::Error::Database(cause) => matches!(
                cause,
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_)
            ),
            _ => false,
        };
        if damaged { StoreError::Damaged(error.to_string()) } else { StoreError::Unavailable(error.to_string()) }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        meshwork_sql::Error::from(error).into()
    }
}

/// Notifications in a database that has the tables of [`COMPONENT`] and of the inbox.
#[derive(Clone)]
pub struct SqliteNotificationStore {
    db: Sqlite,
}

impl SqliteNotificationStore {
    /// The notifications of `db`.
    pub fn new(db: Sqlite) -> Self {
        Self { db }
    }
}

#[async_trait]
impl NotificationStore for SqliteNotificationStore {
    async fn record(&self, arrival: Arrival, notification: Option<Notification>) -> Result<Recorded, StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    match gate(connection, CONSUMER, &arrival.subject, arrival.version).await? {
                        Gate::Apply => {}
                        Gate::Duplicate => return Ok(Recorded::Duplicate),
                        Gate::Hole { last } => return Ok(Recorded::Hole { last }),
                        Gate::Parked => return Ok(Recorded::Parked),
                    }
                    if let Some(notification) = notification {
                        insert(connection, &notification).await?;
                    }
                    Ok(Recorded::Applied)
                })
            })
            .await
    }

    async fn claim(&self, now: OffsetDateTime, limit: usize) -> Result<Vec<Notification>, StoreError> {
        // Most polls find nothing, and needn't take the writer's turn for it.
        let due = sqlx::query(DUE).bind(to_micros(now)).fetch_optional(self.db.reader()).await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        self.db.write_once(move |connection| Box::pin(claim(connection, now, limit))).await
    }

    async fn settle(&self, id: Uuid, attempt: u32, outcome: Outcome, now: OffsetDateTime) -> Result<(), StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    let Some(mut notification) = find(&mut *connection, id).await? else { return Ok(()) };
                    if notification.settle(attempt, &outcome, now).is_err() {
                        return Ok(());
                    }
                    update(connection, &notification).await?;
                    if notification.state == State::Pending {
                        let until = to_micros(notification.next_try_time);
                        sqlx::query(QUARANTINE)
                            .bind(until)
                            .bind(notification.recipient.to_string())
                            .execute(connection)
                            .await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn recover(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    // As Notification::interrupt, for all at once.
                    let changed = sqlx::query(
                        "UPDATE notification SET state = 'PENDING', next_try_at = ? WHERE state = 'SENDING'",
                    )
                    .bind(to_micros(now))
                    .execute(connection)
                    .await?;
                    Ok(changed.rows_affected())
                })
            })
            .await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Notification>, StoreError> {
        find(self.db.reader(), id).await
    }

    async fn list(&self, selection: Selection, page: PageRequest) -> Result<Page<Notification>, StoreError> {
        let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM notification WHERE true"));
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
        let items = rows.iter().map(|row| Ok((row.try_get::<i64, _>("seq")?, notification(row)?)));
        let items = items.collect::<Result<Vec<_>, StoreError>>()?;
        let page = Page::cut(items, page.size, |(seq, _)| seq.to_string());
        Ok(Page { items: page.items.into_iter().map(|(_, notification)| notification).collect(), next: page.next })
    }
}

async fn insert(connection: &mut SqliteConnection, notification: &Notification) -> Result<(), StoreError> {
    let occasion =
        serde_json::to_string(&notification.occasion).map_err(|error| StoreError::Damaged(error.to_string()))?;
    sqlx::query(
        "INSERT INTO notification (id, event_id, template, recipient, about, occasion, subject, state, reason, \
         attempts, next_try_at, created_at, sent_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (event_id, template, recipient) DO NOTHING",
    )
    .bind(notification.id.to_string())
    .bind(&notification.event_id)
    .bind(notification.occasion.template().as_str())
    .bind(notification.recipient.to_string())
    .bind(notification.occasion.about())
    .bind(occasion)
    .bind(&notification.subject)
    .bind(notification.state.as_str())
    .bind(&notification.state_reason)
    .bind(notification.attempts)
    .bind(to_micros(notification.next_try_time))
    .bind(to_micros(notification.create_time))
    .bind(notification.send_time.map(to_micros))
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut SqliteConnection, notification: &Notification) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE notification SET state = ?, reason = ?, attempts = ?, next_try_at = ?, sent_at = ? WHERE id = ?",
    )
    .bind(notification.state.as_str())
    .bind(&notification.state_reason)
    .bind(notification.attempts)
    .bind(to_micros(notification.next_try_time))
    .bind(notification.send_time.map(to_micros))
    .bind(notification.id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// What is due first, of those whose recipient has no letter under way.
fn next_due() -> String {
    format!(
        "SELECT {COLUMNS} FROM notification INDEXED BY notification_due WHERE state = 'PENDING' AND next_try_at <= ? \
         AND recipient NOT IN (SELECT recipient FROM notification INDEXED BY notification_sending \
         WHERE state = 'SENDING') ORDER BY next_try_at, seq LIMIT 1"
    )
}

/// Claims one after the other, so that each sees whose letters are under way by now.
async fn claim(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    limit: usize,
) -> Result<Vec<Notification>, StoreError> {
    let sql = next_due();
    let mut claimed = Vec::new();
    while claimed.len() < limit {
        let row =
            sqlx::query(sqlx::AssertSqlSafe(sql.clone())).bind(to_micros(now)).fetch_optional(&mut *connection).await?;
        let Some(row) = row else { break };
        match notification(&row) {
            Ok(mut notification) => {
                if notification.claim(now).is_err() {
                    break;
                }
                update(connection, &notification).await?;
                claimed.push(notification);
            }
            Err(StoreError::Damaged(problem)) => {
                // Left PENDING, it would stand at the head of the queue for ever.
                let seq: i64 = row.try_get("seq")?;
                tracing::error!(seq, problem, "a notification can't be read; it is given up");
                sqlx::query("UPDATE notification SET state = 'FAILED', reason = ? WHERE seq = ?")
                    .bind(UNREADABLE)
                    .bind(seq)
                    .execute(&mut *connection)
                    .await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(claimed)
}

async fn find<'e>(executor: impl sqlx::SqliteExecutor<'e>, id: Uuid) -> Result<Option<Notification>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM notification WHERE id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(executor).await?;
    row.as_ref().map(notification).transpose()
}

fn notification(row: &SqliteRow) -> Result<Notification, StoreError> {
    let damaged = |column: &str, problem: &dyn std::fmt::Display| StoreError::Damaged(format!("{column}: {problem}"));
    let id: String = row.try_get("id")?;
    let recipient: String = row.try_get("recipient")?;
    let occasion: String = row.try_get("occasion")?;
    let occasion: Occasion = serde_json::from_str(&occasion).map_err(|error| damaged("occasion", &error))?;
    let state: String = row.try_get("state")?;
    Ok(Notification {
        id: id.parse().map_err(|error: uuid::Error| damaged("id", &error))?,
        event_id: row.try_get("event_id")?,
        recipient: recipient.parse().map_err(|error| damaged("recipient", &error))?,
        occasion,
        subject: row.try_get("subject")?,
        state: state.parse().map_err(|error| damaged("state", &error))?,
        state_reason: row.try_get("reason")?,
        attempts: row.try_get("attempts")?,
        next_try_time: from_micros(row.try_get("next_try_at")?),
        create_time: from_micros(row.try_get("created_at")?),
        send_time: row.try_get::<Option<i64>, _>("sent_at")?.map(from_micros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_statement_of_the_queue_sorts_or_scans() {
        let folder = tempfile::tempdir().unwrap();
        let db = Sqlite::open(&folder.path().join("plans.db"), &[COMPONENT]).await.unwrap();
        let statements = [
            (DUE.to_owned(), "notification_due"),
            (next_due(), "notification_due"),
            (QUARANTINE.to_owned(), "notification_recipient"),
        ];
        for (statement, index) in statements {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let rows = sqlx::query(explain).fetch_all(db.reader()).await;
            let plan: Vec<String> = rows.unwrap().iter().map(|row| row.get("detail")).collect();
            assert!(plan[0].contains(&format!(" {index} (")), "{plan:?}");
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE FOR")), "{plan:?}");
        }
    }
}
