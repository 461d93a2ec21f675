//! What is parked, beside the inbox that it waits for.

use async_trait::async_trait;
use meshwork_eventstore::Context;
use meshwork_sql::dialect::printable;
use meshwork_sql::{Error, bounded, from_micros, to_micros};
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};
use uuid::Uuid;

use super::gate::{advance, is_behind, lock};
use super::{Connection, Database, Driver, NOW, Row, SKIP_LOCKED};
use crate::dead_letters::{DeadLetter, LetterCursor, ParkedSummary};
use crate::state::ConsumerState;
use crate::{Envelope, Position};

/// The columns that [`letter`] reads.
const COLUMNS: &str = "id, consumer, stream, subject, version, event_id, source, type, schema_version, partition, n, i, time, \
     context, data, reason, attempts, parked_at";

/// How many bytes of a reason are kept.
const REASON: usize = 1024;
/// Why an event is parked that nothing is wrong with.
const BEHIND: &str = "an earlier event of this aggregate is parked";

/// How many times 30 s to wait before a letter is tried again by itself, by its attempts.
const PAUSES: &str = "CAST(CASE WHEN l.attempts <= 1 THEN 1 WHEN l.attempts = 2 THEN 2 WHEN l.attempts = 3 THEN 4 \
     WHEN l.attempts = 4 THEN 8 WHEN l.attempts = 5 THEN 16 WHEN l.attempts = 6 THEN 32 WHEN l.attempts = 7 THEN 64 \
     ELSE 120 END AS BIGINT)";

/// A consumer's inbox in a database that has the tables of `COMPONENTS`. Clones share it.
#[derive(Clone)]
pub struct Inbox {
    db: Database,
    consumer: &'static str,
}

impl Inbox {
    /// The inbox of a consumer.
    pub fn new(db: Database, consumer: &'static str) -> Self {
        Self { db, consumer }
    }

    /// Forgets aggregates of which nothing was heard for `keep` and nothing is parked, at most `limit`; returns how many.
    ///
    /// An event that comes later for one of them is taken for the first that was missed: what is missing before it is
    /// fetched again. So keep them longer than any aggregate is silent, unless effects are harmless when they come again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune(&self, keep: std::time::Duration, limit: usize) -> Result<u64, Error> {
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .write::<_, _, Error, _>((self.consumer, keep, limit), |connection, (consumer, keep, limit)| {
                Box::pin(async move {
                    // From now on, for rows of the release that had no such column.
                    let noted = format!(
                        "WITH unseen AS MATERIALIZED ( \
                         SELECT subject FROM inbox WHERE consumer = $1 AND seen_at = 0 LIMIT $2{SKIP_LOCKED}) \
                         UPDATE inbox SET seen_at = {NOW} WHERE consumer = $1 AND seen_at = 0 \
                         AND subject IN (SELECT subject FROM unseen)"
                    );
                    sqlx::query(AssertSqlSafe(noted)).bind(*consumer).bind(*limit).execute(&mut *connection).await?;
                    let pruned = format!(
                        "WITH silent AS MATERIALIZED ( \
                         SELECT subject FROM inbox WHERE consumer = $1 AND seen_at > 0 AND seen_at < (SELECT {NOW}) - $2 \
                         AND NOT EXISTS (SELECT 1 FROM dead_letter l WHERE l.consumer = $1 AND l.subject = inbox.subject) \
                         LIMIT $3{SKIP_LOCKED}) \
                         DELETE FROM inbox WHERE consumer = $1 AND subject IN (SELECT subject FROM silent)"
                    );
                    let pruned = sqlx::query(AssertSqlSafe(pruned)).bind(*consumer).bind(*keep).bind(*limit);
                    Ok(pruned.execute(connection).await?.rows_affected())
                })
            })
            .await
    }
}

fn letter(row: &Row) -> Result<DeadLetter, Error> {
    let id: String = row.try_get("id")?;
    let number = |column: &str| row.try_get::<i64, _>(column);
    let small = |column: &str| number(column).map(|value| u32::try_from(value).unwrap_or_default());
    Ok(DeadLetter {
        id: id.parse().map_err(|error: uuid::Error| sqlx::Error::Decode(error.into()))?,
        consumer: row.try_get("consumer")?,
        stream: row.try_get("stream")?,
        event: Envelope {
            id: row.try_get("event_id")?,
            source: row.try_get("source")?,
            event_type: row.try_get("type")?,
            schema_version: u16::try_from(number("schema_version")?).unwrap_or_default(),
            subject: row.try_get("subject")?,
            version: number("version")?,
            position: Position {
                partition: u16::try_from(number("partition")?).unwrap_or_default(),
                n: number("n")?,
                index: small("i")?,
            },
            time: from_micros(number("time")?),
            context: Context::from_text(row.try_get("context")?),
            data: row.try_get::<Vec<u8>, _>("data")?.into(),
        },
        reason: row.try_get("reason")?,
        attempts: number("attempts")?,
        parked_at: from_micros(number("parked_at")?),
    })
}

/// Writes a letter, in a transaction that has locked its aggregate.
async fn put(
    connection: &mut Connection,
    consumer: &str,
    stream: &str,
    event: &Envelope,
    reason: &str,
) -> Result<(), Error> {
    let put = format!(
        "INSERT INTO dead_letter (id, consumer, stream, subject, version, event_id, source, type, schema_version, \
         partition, n, i, time, context, data, reason, attempts, parked_at, tried_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 1, {NOW}, {NOW}) \
         ON CONFLICT (consumer, subject, version) DO UPDATE SET reason = excluded.reason, \
         attempts = dead_letter.attempts + 1, tried_at = excluded.tried_at"
    );
    sqlx::query(AssertSqlSafe(put))
        .bind(DeadLetter::id_of(consumer, &event.subject, event.version).to_string())
        .bind(consumer)
        .bind(stream)
        .bind(&event.subject)
        .bind(event.version)
        .bind(&event.id)
        .bind(&event.source)
        .bind(&event.event_type)
        .bind(i64::from(event.schema_version))
        .bind(i64::from(event.position.partition))
        .bind(event.position.n)
        .bind(i64::from(event.position.index))
        .bind(to_micros(event.time))
        .bind(event.context.to_text())
        .bind(event.data.as_ref())
        .bind(shortened(&printable(reason)))
        .execute(connection)
        .await?;
    Ok(())
}

fn unreadable(error: &Error) {
    tracing::error!(%error, "a parked event can't be read; lists leave it out");
}

/// A reason of at most [`REASON`] bytes: it may quote what somebody has sent.
fn shortened(reason: &str) -> &str {
    let end = (0..=REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or_default();
    &reason[..end]
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[async_trait]
impl ConsumerState for Inbox {
    fn consumer(&self) -> &str {
        self.consumer
    }

    fn concurrency(&self) -> usize {
        self.db.concurrency()
    }

    async fn position(&self, stream: &str, partition: u16) -> Result<Option<Position>, Error> {
        let row = sqlx::query("SELECT n, i FROM inbox_position WHERE consumer = $1 AND stream = $2 AND partition = $3")
            .bind(self.consumer)
            .bind(stream)
            .bind(i64::from(partition));
        let row = bounded(row.fetch_optional(self.db.reader())).await?;
        let Some(row) = row else { return Ok(None) };
        let index = u32::try_from(row.try_get::<i64, _>("i")?).unwrap_or_default();
        Ok(Some(Position { partition, n: row.try_get("n")?, index }))
    }

    async fn reached(&self, stream: &str, position: Position) -> Result<(), Error> {
        let input = (self.consumer, stream.to_owned(), position);
        let noted = self.db.write(input, |connection, (consumer, stream, position)| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO inbox_position (consumer, stream, partition, n, i) VALUES ($1, $2, $3, $4, $5) \
                     ON CONFLICT (consumer, stream, partition) DO UPDATE SET n = excluded.n, i = excluded.i \
                     WHERE (excluded.n, excluded.i) > (inbox_position.n, inbox_position.i)",
                )
                .bind(*consumer)
                .bind(stream)
                .bind(i64::from(position.partition))
                .bind(position.n)
                .bind(i64::from(position.index))
                .execute(connection)
                .await?;
                Ok::<_, Error>(())
            })
        });
        noted.await?;
        fail::fail_point!("consumer::noted");
        Ok(())
    }

    async fn applied(&self, after: &str, limit: usize) -> Result<Vec<(String, i64)>, Error> {
        let applied = sqlx::query(
            "SELECT subject, last_version FROM inbox WHERE consumer = $1 AND subject > $2 ORDER BY subject LIMIT $3",
        );
        let applied = applied.bind(self.consumer).bind(after).bind(rows(limit));
        let applied = bounded(applied.fetch_all(self.db.reader())).await?;
        applied.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    async fn park(&self, stream: &str, event: &Envelope, reason: &str) -> Result<(), Error> {
        let input = (self.consumer, stream.to_owned(), event.clone(), reason.to_owned());
        self.db
            .write(input, |connection, (consumer, stream, event, reason)| {
                Box::pin(async move {
                    let last = lock(connection, consumer, &event.subject).await?;
                    if event.version > last {
                        put(connection, consumer, stream, event, reason).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .await
    }

    async fn queue(&self, stream: &str, event: &Envelope) -> Result<bool, Error> {
        let input = (self.consumer, stream.to_owned(), event.clone());
        self.db
            .write(input, |connection, (consumer, stream, event)| {
                Box::pin(async move {
                    let last = lock(connection, consumer, &event.subject).await?;
                    let behind = is_behind(connection, consumer, &event.subject, last, event.version).await?;
                    if behind && event.version > last {
                        put(connection, consumer, stream, event, BEHIND).await?;
                    }
                    Ok::<_, Error>(behind)
                })
            })
            .await
    }

    async fn blocks(&self, subject: &str, version: i64) -> Result<bool, Error> {
        let earlier =
            sqlx::query("SELECT 1 FROM dead_letter WHERE consumer = $1 AND subject = $2 AND version < $3 LIMIT 1");
        let earlier = earlier.bind(self.consumer).bind(subject).bind(version);
        Ok(bounded(earlier.fetch_optional(self.db.reader())).await?.is_some())
    }

    async fn first_of(&self, subject: &str) -> Result<Option<DeadLetter>, Error> {
        let first =
            format!("SELECT {COLUMNS} FROM dead_letter WHERE consumer = $1 AND subject = $2 ORDER BY version LIMIT 1");
        let first = sqlx::query(AssertSqlSafe(first)).bind(self.consumer).bind(subject);
        bounded(first.fetch_optional(self.db.reader())).await?.as_ref().map(letter).transpose()
    }

    async fn aggregates(
        &self,
        stream: Option<&str>,
        after: &str,
        due: bool,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let when = if due { format!("l.tried_at <= (SELECT {NOW}) - 30000000 * {PAUSES}") } else { "1 = 1".to_owned() };
        let sql = format!(
            "SELECT l.subject FROM dead_letter l WHERE l.consumer = $1 AND l.subject > $2 \
             AND l.stream = coalesce($4, l.stream) AND l.version = ( \
             SELECT min(f.version) FROM dead_letter f WHERE f.consumer = $1 AND f.subject = l.subject) AND {when} \
             ORDER BY l.subject LIMIT $3"
        );
        let subjects = sqlx::query(AssertSqlSafe(sql)).bind(self.consumer).bind(after).bind(rows(limit)).bind(stream);
        bounded(subjects.fetch_all(self.db.reader())).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn list(
        &self,
        subject: Option<&str>,
        behind: Option<LetterCursor>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let mut behind = behind.map(|(parked_at, id)| (parked_at, id.to_string()));
        let mut readable = Vec::new();
        loop {
            let mut sql = QueryBuilder::<Driver>::new(format!("SELECT {COLUMNS} FROM dead_letter WHERE consumer = "));
            sql.push_bind(self.consumer);
            if let Some(subject) = subject {
                sql.push(" AND subject = ").push_bind(subject.to_owned());
            }
            if let Some((parked_at, id)) = behind {
                sql.push(" AND (parked_at, id) < (").push_bind(parked_at).push(", ").push_bind(id).push(")");
            }
            sql.push(" ORDER BY parked_at DESC, id DESC LIMIT ").push_bind(rows(limit));
            let found = bounded(sql.build().fetch_all(self.db.reader())).await?;
            // One that can't be read must not keep the others from being seen, nor those behind them: a short list is the last.
            readable.extend(found.iter().filter_map(|row| letter(row).inspect_err(unreadable).ok()));
            match found.last() {
                Some(last) if found.len() >= limit && readable.len() < limit => {
                    behind = Some((last.try_get("parked_at")?, last.try_get("id")?));
                }
                _ => break,
            }
        }
        readable.truncate(limit);
        Ok(readable)
    }

    async fn get(&self, id: Uuid) -> Result<Option<DeadLetter>, Error> {
        let one = format!("SELECT {COLUMNS} FROM dead_letter WHERE consumer = $1 AND id = $2");
        let one = sqlx::query(AssertSqlSafe(one)).bind(self.consumer).bind(id.to_string());
        bounded(one.fetch_optional(self.db.reader())).await?.as_ref().map(letter).transpose()
    }

    async fn remove(&self, subject: &str, version: i64) -> Result<(), Error> {
        let input = (self.consumer, subject.to_owned(), version);
        self.db
            .write(input, |connection, (consumer, subject, version)| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM dead_letter WHERE consumer = $1 AND subject = $2 AND version = $3")
                        .bind(*consumer)
                        .bind(subject)
                        .bind(*version)
                        .execute(connection)
                        .await?;
                    Ok::<_, Error>(())
                })
            })
            .await
    }

    async fn discard(&self, id: Uuid) -> Result<Option<String>, Error> {
        self.db
            .write((self.consumer, id.to_string()), |connection, (consumer, id)| {
                Box::pin(async move {
                    let found = sqlx::query("SELECT subject, version FROM dead_letter WHERE consumer = $1 AND id = $2")
                        .bind(*consumer)
                        .bind(id)
                        .fetch_optional(&mut *connection)
                        .await?;
                    let Some(found) = found else { return Ok(None) };
                    let (subject, version): (String, i64) = (found.try_get(0)?, found.try_get(1)?);
                    let last = lock(connection, consumer, &subject).await?;
                    advance(connection, consumer, &subject, last.max(version)).await?;
                    Ok::<_, Error>(Some(subject))
                })
            })
            .await
    }

    async fn summary(&self) -> Result<ParkedSummary, Error> {
        let counted = sqlx::query("SELECT count(*), count(DISTINCT subject) FROM dead_letter WHERE consumer = $1")
            .bind(self.consumer)
            .fetch_one(self.db.reader())
            .await?;
        // Events of one aggregate may have been parked at the same moment: the first of them says why.
        let first = sqlx::query(
            "SELECT subject, reason FROM dead_letter WHERE consumer = $1 ORDER BY parked_at, version, id LIMIT 1",
        );
        let first = first.bind(self.consumer).fetch_optional(self.db.reader()).await?;
        Ok(ParkedSummary {
            letters: counted.try_get(0)?,
            aggregates: counted.try_get(1)?,
            first: first.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?,
        })
    }
}
