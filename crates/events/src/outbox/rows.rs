//! The outbox's rows: written by the service, read by the relay and by consumers that miss some.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_eventstore::{Beats, Context, Pulse, UNREADABLE_STREAM, partition_of};
use meshwork_sql::{Error, bounded, from_micros, on_commit, to_micros};
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;

use super::{Connection, Database, Driver, NOW, Row, SKIP_LOCKED, history};
use crate::outbox::{NewEvent, PARTITIONS};
use crate::relay::Published;
use crate::{Damaged, Envelope, Position, Source, SourceBatch, StreamReader};

/// The columns that [`Outbox::envelope`] reads.
const COLUMNS: &str = "partition, n, type, schema_version, subject, version, time, context, data";

/// The outbox of a database that has the tables of `COMPONENTS`. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    db: Database,
    source: &'static str,
    /// The number in the stream of the first partition. Rows have the number that counts from 0.
    first: u16,
    /// The space of keys by which the history's rows are placed, if there is a history.
    history: Option<i16>,
    pulse: Pulse,
}

impl Outbox {
    /// The outbox of `db`; `source` is the service's name.
    pub fn new(db: Database, source: &'static str) -> Self {
        Self::numbered(db, source, 0)
    }

    /// The outbox of a shard, `db`: its partitions are numbered from `first` on in the stream of all shards, where no two may
    /// have the same numbers.
    pub fn numbered(db: Database, source: &'static str, first: u16) -> Self {
        Self { db, source, first, history: None, pulse: Pulse::new(PARTITIONS) }
    }

    /// With the events of aggregates that have come from other shards: the database has the table of `HISTORY` too, and in
    /// PostgreSQL those of a shard ([`meshwork_sql::shards::COMPONENT`]). The aggregates are placed by their keys in `space`.
    /// [`read_stream`](StreamReader::read_stream) answers with them, at the position 0 of the partition in which their aggregate
    /// goes on: they have no place in what is published from here. [`prune`](Self::prune) removes them by their age, but for those
    /// that are still being moved here.
    #[must_use]
    pub fn with_history(self, space: i16) -> Self {
        Self { history: Some(space), ..self }
    }

    /// The number in the stream of a partition that the rows count from 0.
    fn number(&self, local: u16) -> u16 {
        self.first.saturating_add(local)
    }

    /// The number in the rows of one of the stream's partitions.
    fn local(&self, partition: u16) -> Result<u16, String> {
        partition.checked_sub(self.first).filter(|local| *local < PARTITIONS).ok_or_else(|| {
            let ours = Source::partitions(self);
            format!("the outbox of {} has the partitions {ours:?}, and was asked for {partition}", self.source)
        })
    }

    /// Writes events, in the transaction of their cause, with the context that the task carries. Call it last there, once: it
    /// decides their order, and keeps others waiting from then on to the commit.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn append(
        &self,
        connection: &mut Connection,
        at: OffsetDateTime,
        events: &[NewEvent],
    ) -> Result<(), Error> {
        // The heads' rows are the locks under which positions are given out, so that they follow the commits. All take
        // them in one order.
        let mut events: Vec<_> = events.iter().map(|event| (partition_of(&event.subject, PARTITIONS), event)).collect();
        events.sort_by_key(|(partition, _)| *partition);
        let context = Context::current().to_text();
        for (partition, event) in events {
            let head = sqlx::query(
                "INSERT INTO outbox_head (partition, n) VALUES ($1, 1) \
                 ON CONFLICT (partition) DO UPDATE SET n = outbox_head.n + 1 RETURNING n",
            );
            let head = head.bind(i64::from(partition)).fetch_one(&mut *connection).await?;
            sqlx::query(
                "INSERT INTO outbox (partition, n, type, schema_version, subject, version, time, context, data) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(i64::from(partition))
            .bind(head.try_get::<i64, _>(0)?)
            .bind(event.event_type)
            .bind(i64::from(event.schema_version))
            .bind(&event.subject)
            .bind(event.version)
            .bind(to_micros(at))
            .bind(&context)
            .bind(event.data.as_slice())
            .execute(&mut *connection)
            .await?;
            let pulse = self.pulse.clone();
            on_commit(move || pulse.beat(partition, ""));
        }
        fail::fail_point!("outbox::appended");
        Ok(())
    }

    /// Removes events that are older than `keep` and behind which others are published, at most `limit` of each partition, and
    /// of the history; returns how many. Keep them as long as the bus keeps its messages, so that consumers find here what they miss.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune(&self, published: &Published, keep: Duration, limit: usize) -> Result<u64, Error> {
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut removed = 0;
        for partition in 0..PARTITIONS {
            // The last one that was published stays: the relay looks for it when it starts.
            let Some(tail) = published.last(self.number(partition)) else { continue };
            let input = (i64::from(partition), tail, keep, limit);
            removed += self
                .db
                .write::<_, _, Error, _>(input, |connection, (partition, tail, keep, limit)| {
                    Box::pin(async move {
                        let sql = format!(
                            // What is old stands at the beginning: the first that isn't ends the look.
                            "WITH first AS MATERIALIZED ( \
                             SELECT n FROM outbox WHERE partition = $1 ORDER BY n LIMIT $4{SKIP_LOCKED}) \
                             DELETE FROM outbox WHERE partition = $1 AND n < $2 AND time < (SELECT {NOW}) - $3 \
                             AND n IN (SELECT n FROM first)"
                        );
                        let pruned =
                            sqlx::query(AssertSqlSafe(sql)).bind(*partition).bind(*tail).bind(*keep).bind(*limit);
                        Ok(pruned.execute(connection).await?.rows_affected())
                    })
                })
                .await?;
        }
        if let Some(space) = self.history {
            removed += history::prune(&self.db, space, keep, limit).await?;
        }
        Ok(removed)
    }

    fn envelope(&self, row: &Row) -> Result<Envelope, sqlx::Error> {
        let (subject, version) = (row.try_get::<String, _>("subject")?, row.try_get("version")?);
        let partition = self.number(u16::try_from(row.try_get::<i64, _>("partition")?).unwrap_or_default());
        Ok(Envelope {
            id: Envelope::id_of(&subject, version),
            source: self.source.to_owned(),
            event_type: row.try_get("type")?,
            schema_version: u16::try_from(row.try_get::<i64, _>("schema_version")?).unwrap_or_default(),
            subject,
            version,
            position: Position { partition, n: row.try_get("n")?, index: 0 },
            time: from_micros(row.try_get("time")?),
            context: Context::from_text(row.try_get("context")?),
            data: row.try_get::<Vec<u8>, _>("data")?.into(),
        })
    }

    fn envelopes(&self, rows: &[Row]) -> Result<Vec<Envelope>, String> {
        let events: Result<Vec<_>, _> = rows.iter().map(|row| self.envelope(row)).collect();
        events.map_err(|error| format!("the outbox holds something unreadable: {error}"))
    }
}

#[async_trait]
impl Source for Outbox {
    fn name(&self) -> &str {
        self.source
    }

    fn partitions(&self) -> Range<u16> {
        self.first..self.number(PARTITIONS)
    }

    async fn read(&self, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE partition = $1 AND n >= $2 ORDER BY n LIMIT $3");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(i64::from(self.local(partition)?))
            .bind(n)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = bounded(rows.fetch_all(self.db.reader())).await.map_err(|error| error.to_string())?;
        let mut batch = SourceBatch::default();
        for row in &rows {
            let n = row.try_get("n").map_err(|error| format!("a position in the outbox can't be read: {error}"))?;
            batch.seen = Some(n);
            match self.envelope(row) {
                Ok(event) => batch.events.push(event),
                Err(error) => batch.damaged.push(damaged(row, n, &error)),
            }
        }
        Ok(batch)
    }

    async fn head(&self, partition: u16) -> Result<Option<i64>, String> {
        let partition = i64::from(self.local(partition)?);
        let head = sqlx::query("SELECT n FROM outbox_head WHERE partition = $1").bind(partition);
        let head = bounded(head.fetch_optional(self.db.reader())).await.map_err(|error| error.to_string())?;
        let n = head.map_or(Ok(0), |row| row.try_get(0));
        n.map(Some).map_err(|error| format!("the end of the outbox can't be read: {error}"))
    }

    async fn heads(&self) -> Result<Option<Vec<(u16, i64)>>, String> {
        let rows = sqlx::query("SELECT partition, n FROM outbox_head").fetch_all(self.db.reader());
        let rows = bounded(rows).await.map_err(|error| error.to_string())?;
        let unreadable = |error: sqlx::Error| format!("the ends of the outbox can't be read: {error}");
        let mut heads = BTreeMap::new();
        for row in &rows {
            let (partition, n): (i64, i64) = (row.try_get(0).map_err(unreadable)?, row.try_get(1).map_err(unreadable)?);
            heads.insert(partition, n);
        }
        // One that nothing was written to has no row.
        let head = |local: u16| (self.number(local), heads.get(&i64::from(local)).copied().unwrap_or_default());
        Ok(Some((0..PARTITIONS).map(head).collect()))
    }

    fn is_same(&self, ours: &Envelope, published: &Envelope) -> bool {
        // What was made anew may have the same content, behind something that hasn't.
        let at = |event: &Envelope| to_micros(event.time);
        ours.id == published.id
            && at(ours) == at(published)
            && ours.event_type == published.event_type
            && ours.data == published.data
    }

    async fn go_on_behind(&self, tail: &Envelope, common: i64) -> Result<bool, String> {
        let input = (i64::from(self.local(tail.position.partition)?), tail.clone(), common);
        let moved = self.db.write::<_, (), Error, _>(input, |connection, (partition, tail, common)| {
            Box::pin(go_on_behind(connection, *partition, tail, *common))
        });
        moved.await.map_err(|error| error.to_string())?;
        Ok(true)
    }

    fn beats(&self, partition: u16) -> Beats {
        // Nothing beats for a partition of others.
        self.pulse.beats(self.local(partition).unwrap_or(PARTITIONS))
    }
}

/// What can be read of a row that can't be read as a whole.
fn damaged(row: &Row, n: i64, error: &sqlx::Error) -> Damaged {
    Damaged {
        subject: row.try_get("subject").unwrap_or_else(|_| UNREADABLE_STREAM.to_owned()),
        n,
        version: row.try_get("version").ok(),
        time: row.try_get("time").map_or(OffsetDateTime::UNIX_EPOCH, from_micros),
        problem: error.to_string(),
    }
}

/// More than any position: rows pass by here while they are moved.
const ASIDE: i64 = 1 << 60;

/// Moves a partition's rows from behind `common` to behind `tail`, and puts a copy of that at its place, where the relay looks
/// for it.
async fn go_on_behind(connection: &mut Connection, partition: i64, tail: &Envelope, common: i64) -> Result<(), Error> {
    // Nobody appends meanwhile.
    sqlx::query(
        "INSERT INTO outbox_head (partition, n) VALUES ($1, 0) ON CONFLICT (partition) DO UPDATE SET n = outbox_head.n",
    )
    .bind(partition)
    .execute(&mut *connection)
    .await?;
    let held = sqlx::query(
        "SELECT 1 FROM outbox WHERE partition = $1 AND n = $2 AND subject = $3 AND version = $4 AND type = $5 \
         AND data = $6 AND time = $7",
    )
    .bind(partition)
    .bind(tail.position.n)
    .bind(&tail.subject)
    .bind(tail.version)
    .bind(&tail.event_type)
    .bind(tail.data.as_ref())
    .bind(to_micros(tail.time))
    .fetch_optional(&mut *connection)
    .await?;
    if held.is_some() {
        // Another instance has done it.
        return Ok(());
    }
    let found = sqlx::query("SELECT count(*), coalesce(min(n), 1) FROM outbox WHERE partition = $1 AND n > $2")
        .bind(partition)
        .bind(common)
        .fetch_one(&mut *connection)
        .await?;
    let (rows, first): (i64, i64) = (found.try_get(0)?, found.try_get(1)?);
    for shift in [ASIDE, tail.position.n + 1 - first - ASIDE] {
        sqlx::query("UPDATE outbox SET n = n + $2 WHERE partition = $1 AND n > $3")
            .bind(partition)
            .bind(shift)
            .bind(common)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "INSERT INTO outbox (partition, n, type, schema_version, subject, version, time, context, data) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(partition)
    .bind(tail.position.n)
    .bind(&tail.event_type)
    .bind(i64::from(tail.schema_version))
    .bind(&tail.subject)
    .bind(tail.version)
    .bind(to_micros(tail.time))
    .bind(tail.context.to_text())
    .bind(tail.data.as_ref())
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE outbox_head SET n = $2 WHERE partition = $1")
        .bind(partition)
        .bind(tail.position.n + rows)
        .execute(connection)
        .await?;
    Ok(())
}

#[async_trait]
impl StreamReader for Outbox {
    async fn read_stream(&self, subject: &str, after: i64, limit: usize) -> Result<Vec<Envelope>, String> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = if self.history.is_some() {
            let partition = i64::from(partition_of(subject, PARTITIONS));
            sqlx::query::<Driver>(history::READ).bind(subject).bind(after).bind(limit).bind(partition)
        } else {
            let sql =
                format!("SELECT {COLUMNS} FROM outbox WHERE subject = $1 AND version > $2 ORDER BY version LIMIT $3");
            sqlx::query::<Driver>(AssertSqlSafe(sql)).bind(subject).bind(after).bind(limit)
        };
        let rows = bounded(rows.fetch_all(self.db.reader())).await.map_err(|error| error.to_string())?;
        self.envelopes(&rows)
    }
}
