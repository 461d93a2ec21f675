//! The outbox: events of a SQL store, written in the transaction of their cause, in dense and commit-ordered positions.

use async_trait::async_trait;
use meshwork_eventstore::{Beats, Pulse, partition_of};
use meshwork_sql::{Component, Error, Sqlite, from_micros, to_micros};
use sqlx::Row;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use time::OffsetDateTime;

use crate::{Envelope, Position, Source, SourceBatch};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/outbox");

/// The outbox's tables.
pub const COMPONENT: Component = Component { name: "outbox", migrator: &MIGRATOR };

/// How many partitions an outbox has. Positions depend on it: it never changes.
pub const PARTITIONS: u16 = 4;

/// An event to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The type, such as `stock_reserved`.
    pub event_type: &'static str,
    /// The aggregate that it happened to, such as `reservations/42`.
    pub subject: String,
    /// The aggregate's version after it: contiguous, from 1.
    pub version: i64,
    /// The encoded event.
    pub data: Vec<u8>,
}

/// The outbox of a store. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    db: Sqlite,
    source: &'static str,
    pulse: Pulse,
}

impl Outbox {
    /// The outbox of `db`, whose components must include [`COMPONENT`]; `source` is the service's name.
    pub fn new(db: Sqlite, source: &'static str) -> Self {
        let pulse = Pulse::new(PARTITIONS);
        let flushed = pulse.clone();
        db.after_commit(move || flushed.flush());
        Self { db, source, pulse }
    }

    /// Writes events, in the transaction of their cause. Call it last there: it decides their order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn append(
        &self,
        connection: &mut SqliteConnection,
        at: OffsetDateTime,
        events: &[NewEvent],
    ) -> Result<(), Error> {
        for event in events {
            let partition = partition_of(&event.subject, PARTITIONS);
            // The head's row is the lock under which positions are given out, so that they follow the commits.
            sqlx::query(
                "INSERT INTO outbox_head (partition, n) VALUES (?, 1) \
                 ON CONFLICT (partition) DO UPDATE SET n = n + 1; \
                 INSERT INTO outbox (partition, n, type, subject, version, time, data) \
                 SELECT partition, n, ?, ?, ?, ?, ? FROM outbox_head WHERE partition = ?",
            )
            .bind(partition)
            .bind(event.event_type)
            .bind(&event.subject)
            .bind(event.version)
            .bind(to_micros(at))
            .bind(event.data.as_slice())
            .bind(partition)
            .execute(&mut *connection)
            .await?;
            self.pulse.note(partition, "");
        }
        Ok(())
    }

    fn envelope(&self, partition: u16, row: &SqliteRow) -> Result<Envelope, sqlx::Error> {
        let (subject, version) = (row.try_get::<String, _>("subject")?, row.try_get("version")?);
        Ok(Envelope {
            id: Envelope::id_of(&subject, version),
            source: self.source.to_owned(),
            event_type: row.try_get("type")?,
            subject,
            version,
            position: Position { partition, n: row.try_get("n")?, index: 0 },
            time: from_micros(row.try_get("time")?),
            data: row.try_get::<Vec<u8>, _>("data")?.into(),
        })
    }
}

#[async_trait]
impl Source for Outbox {
    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    async fn read(&self, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
        let rows = sqlx::query(
            "SELECT n, type, subject, version, time, data FROM outbox WHERE partition = ? AND n >= ? ORDER BY n LIMIT ?",
        )
        .bind(partition)
        .bind(n)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.db.reader())
        .await
        .map_err(|error| error.to_string())?;
        let events: Result<Vec<_>, _> = rows.iter().map(|row| self.envelope(partition, row)).collect();
        let events = events.map_err(|error| format!("the outbox holds something unreadable: {error}"))?;
        let seen = events.last().map(|event| event.position.n);
        Ok(SourceBatch { seen, events })
    }

    fn beats(&self, partition: u16) -> Beats {
        self.pulse.beats(partition)
    }
}
