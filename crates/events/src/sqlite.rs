//! The embedded bus: a durable log in one SQLite file.
//!
//! Services of one process share an open bus and wake each other. Services of several processes share its file, and
//! each finds out within [`WATCH`] that another has written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use meshwork_eventstore::{Beats, Pulse};
use meshwork_sql::{AppliedMigration, Component, Error, Sqlite, from_micros, to_micros};
use sqlx::Row;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tokio::sync::Mutex;

use crate::outbox::PARTITIONS;
use crate::{BusError, Envelope, EventBus, Position};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/bus");

const COMPONENT: Component = Component { name: "bus", migrator: &MIGRATOR };

/// How often a bus looks whether another process has written.
const WATCH: Duration = Duration::from_millis(200);
/// How long messages stay at least. They stay longer while a consumer hasn't acknowledged them.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many publications pass between two sweeps of old messages.
const SWEEP_EVERY: u64 = 64;
/// How many old messages a sweep removes at most: more than come to a partition between two of its sweeps.
const SWEEP: i64 = 4_096;

/// The buses that are open in this process, by their file.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<SqliteBus>>>> = LazyLock::new(Mutex::default);

/// What wakes the consumers of each stream.
type Pulses = Arc<RwLock<HashMap<String, Pulse>>>;

/// An event bus in a file.
pub struct SqliteBus {
    db: Sqlite,
    pulses: Pulses,
    publications: AtomicU64,
}

fn file(folder: &Path) -> PathBuf {
    folder.join("bus.db")
}

impl SqliteBus {
    /// Opens the bus in `folder`, making it when missing. Opening it again in one process shares it.
    ///
    /// # Errors
    /// When its file can't be opened or migrated.
    pub async fn open(folder: &Path) -> Result<Arc<Self>, Error> {
        let mut open = OPEN.lock().await;
        open.retain(|_, bus| bus.strong_count() > 0);
        let path = std::path::absolute(file(folder)).unwrap_or_else(|_| file(folder));
        if let Some(bus) = open.get(&path).and_then(Weak::upgrade) {
            return Ok(bus);
        }
        let db = Sqlite::open(&path, &[COMPONENT]).await?;
        let pulses = Pulses::default();
        let flushed = pulses.clone();
        db.after_commit(move || {
            if let Ok(pulses) = flushed.read() {
                pulses.values().for_each(Pulse::flush);
            }
        });
        let bus = Arc::new(Self { db, pulses, publications: AtomicU64::new(0) });
        let connection = bus.db.reader().acquire().await?.detach();
        tokio::spawn(watch(Arc::downgrade(&bus), connection));
        open.insert(path, Arc::downgrade(&bus));
        Ok(bus)
    }

    /// Migrates the bus in `folder` without keeping it open.
    ///
    /// # Errors
    /// As [`SqliteBus::open`].
    pub async fn migrate(folder: &Path) -> Result<Vec<AppliedMigration>, Error> {
        Sqlite::migrate(&file(folder), &[COMPONENT]).await
    }

    fn pulse(&self, stream: &str) -> Pulse {
        if let Some(pulse) = self.pulses.read().ok().and_then(|pulses| pulses.get(stream).cloned()) {
            return pulse;
        }
        match self.pulses.write() {
            Ok(mut pulses) => pulses.entry(stream.to_owned()).or_insert_with(|| Pulse::new(PARTITIONS)).clone(),
            // Nothing panics while it holds the lock; without pulses readers would still poll.
            Err(_) => Pulse::new(PARTITIONS),
        }
    }
}

/// Beats for what other processes publish.
async fn watch(bus: Weak<SqliteBus>, mut connection: SqliteConnection) {
    let mut version = None;
    let mut heads = HashMap::new();
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(bus) = bus.upgrade() else { return };
        // It changes when another connection has committed, our own writer's included.
        let read = sqlx::query("PRAGMA data_version").fetch_one(&mut connection).await;
        let Ok(read) = read.and_then(|row| row.try_get::<i64, _>(0)) else { continue };
        if version.replace(read) == Some(read) {
            continue;
        }
        let pulses: Vec<_> = bus.pulses.read().map(|pulses| pulses.clone().into_iter().collect()).unwrap_or_default();
        for (stream, pulse) in pulses {
            for (partition, n) in heads_of(&mut connection, &stream).await.unwrap_or_default() {
                if heads.insert((stream.clone(), partition), n).is_some_and(|known| known != n) {
                    pulse.beat(partition, "");
                }
            }
        }
    }
}

/// The last position of each partition of a stream; 0 for an empty one.
async fn heads_of(connection: &mut SqliteConnection, stream: &str) -> Result<Vec<(u16, i64)>, sqlx::Error> {
    let rows = sqlx::query(
        "WITH RECURSIVE partitions (p) AS (SELECT 0 UNION ALL SELECT p + 1 FROM partitions WHERE p + 1 < ?1) \
         SELECT p, (SELECT coalesce(max(n), 0) FROM messages WHERE stream = ?2 AND partition = p) FROM partitions",
    )
    .bind(PARTITIONS)
    .bind(stream)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

const COLUMNS: &str = "m.partition, m.n, m.i, m.id, m.source, m.type, m.subject, m.version, m.time, m.data";

fn envelope(row: &SqliteRow) -> Result<Envelope, sqlx::Error> {
    Ok(Envelope {
        id: row.try_get("id")?,
        source: row.try_get("source")?,
        event_type: row.try_get("type")?,
        subject: row.try_get("subject")?,
        version: row.try_get("version")?,
        position: Position { partition: row.try_get("partition")?, n: row.try_get("n")?, index: row.try_get("i")? },
        time: from_micros(row.try_get("time")?),
        data: row.try_get::<Vec<u8>, _>("data")?.into(),
    })
}

fn envelopes(rows: &[SqliteRow]) -> Result<Vec<Envelope>, BusError> {
    let envelopes: Result<_, _> = rows.iter().map(envelope).collect();
    Ok(envelopes.map_err(Error::from)?)
}

#[async_trait]
impl EventBus for SqliteBus {
    async fn tail(&self, stream: &str, partition: u16) -> Result<Option<Envelope>, BusError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages m WHERE stream = ? AND partition = ? ORDER BY n DESC, i DESC LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(stream)
            .bind(partition)
            .fetch_optional(self.db.reader())
            .await
            .map_err(Error::from)?;
        Ok(row.as_ref().map(envelope).transpose().map_err(Error::from)?)
    }

    async fn publish(
        &self,
        stream: &str,
        partition: u16,
        expected: Option<Position>,
        events: Vec<Envelope>,
    ) -> Result<(), BusError> {
        let (key, pulse) = (stream.to_owned(), self.pulse(stream));
        let is_time_to_sweep = self.publications.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY);
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    let now = now();
                    publish(connection, &key, partition, expected, &events, now).await?;
                    if is_time_to_sweep {
                        sweep(connection, &key, partition, now).await.map_err(Error::from)?;
                    }
                    pulse.note(partition, "");
                    Ok(())
                })
            })
            .await
    }

    async fn register(&self, consumer: &str, stream: &str) -> Result<(), BusError> {
        let (consumer, stream) = (consumer.to_owned(), stream.to_owned());
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "WITH RECURSIVE partitions (p) AS (SELECT 0 UNION ALL SELECT p + 1 FROM partitions WHERE p + 1 < ?) \
                         INSERT INTO acknowledged (consumer, stream, partition, n, i) \
                         SELECT ?, ?, p, 0, 0 FROM partitions WHERE true ON CONFLICT DO NOTHING",
                    )
                    .bind(PARTITIONS)
                    .bind(consumer)
                    .bind(stream)
                    .execute(connection)
                    .await
                    .map_err(Error::from)?;
                    Ok(())
                })
            })
            .await
    }

    async fn fetch(
        &self,
        consumer: &str,
        stream: &str,
        partition: u16,
        limit: usize,
    ) -> Result<Vec<Envelope>, BusError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages m WHERE m.stream = ?2 AND m.partition = ?3 AND (m.n, m.i) > \
             (SELECT coalesce(max(n), 0), coalesce(max(i), 0) FROM acknowledged \
              WHERE consumer = ?1 AND stream = ?2 AND partition = ?3) ORDER BY m.n, m.i LIMIT ?4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(consumer)
            .bind(stream)
            .bind(partition)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.db.reader())
            .await
            .map_err(Error::from)?;
        envelopes(&rows)
    }

    async fn acknowledge(&self, consumer: &str, stream: &str, position: Position) -> Result<(), BusError> {
        let (consumer, stream) = (consumer.to_owned(), stream.to_owned());
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO acknowledged (consumer, stream, partition, n, i) VALUES (?, ?, ?, ?, ?) \
                         ON CONFLICT (consumer, stream, partition) DO UPDATE SET n = excluded.n, i = excluded.i \
                         WHERE (excluded.n, excluded.i) > (n, i)",
                    )
                    .bind(consumer)
                    .bind(stream)
                    .bind(position.partition)
                    .bind(position.n)
                    .bind(position.index)
                    .execute(connection)
                    .await
                    .map_err(Error::from)?;
                    Ok(())
                })
            })
            .await
    }

    async fn acknowledged(&self, consumer: &str, stream: &str, partition: u16) -> Result<Option<Position>, BusError> {
        let row =
            sqlx::query("SELECT n, i FROM acknowledged WHERE consumer = ? AND stream = ? AND partition = ? AND n > 0")
                .bind(consumer)
                .bind(stream)
                .bind(partition)
                .fetch_optional(self.db.reader())
                .await
                .and_then(|row| {
                    row.map(|row| Ok(Position { partition, n: row.try_get(0)?, index: row.try_get(1)? })).transpose()
                });
        Ok(row.map_err(Error::from)?)
    }

    async fn event_at(&self, stream: &str, position: Position) -> Result<Option<Envelope>, BusError> {
        let sql =
            format!("SELECT {COLUMNS} FROM messages m WHERE m.stream = ? AND m.partition = ? AND m.n = ? AND m.i = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(stream)
            .bind(position.partition)
            .bind(position.n)
            .bind(position.index)
            .fetch_optional(self.db.reader())
            .await
            .map_err(Error::from)?;
        Ok(row.as_ref().map(envelope).transpose().map_err(Error::from)?)
    }

    async fn rewind(&self, consumer: &str, stream: &str, position: Position) -> Result<bool, BusError> {
        let (consumer, stream) = (consumer.to_owned(), stream.to_owned());
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    let rewound = sqlx::query(
                        "UPDATE acknowledged SET n = ?4, i = ?5 \
                         WHERE consumer = ?1 AND stream = ?2 AND partition = ?3 AND (n, i) > (?4, ?5)",
                    )
                    .bind(consumer)
                    .bind(stream)
                    .bind(position.partition)
                    .bind(position.n)
                    .bind(position.index)
                    .execute(connection)
                    .await
                    .map_err(Error::from)?;
                    Ok(rewound.rows_affected() == 1)
                })
            })
            .await
    }

    async fn parked(&self, consumer: &str, stream: &str, partition: u16) -> Result<Vec<(Envelope, String)>, BusError> {
        let sql = format!(
            "SELECT {COLUMNS}, m.reason FROM parked m WHERE m.consumer = ? AND m.stream = ? AND m.partition = ? ORDER BY m.n, m.i"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(consumer)
            .bind(stream)
            .bind(partition)
            .fetch_all(self.db.reader())
            .await
            .map_err(Error::from)?;
        let parked: Result<_, sqlx::Error> =
            rows.iter().map(|row| Ok((envelope(row)?, row.try_get("reason")?))).collect();
        Ok(parked.map_err(Error::from)?)
    }

    async fn unpark(&self, consumer: &str, stream: &str, position: Position) -> Result<(), BusError> {
        let (consumer, stream) = (consumer.to_owned(), stream.to_owned());
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "DELETE FROM parked WHERE consumer = ? AND stream = ? AND partition = ? AND n = ? AND i = ?",
                    )
                    .bind(consumer)
                    .bind(stream)
                    .bind(position.partition)
                    .bind(position.n)
                    .bind(position.index)
                    .execute(connection)
                    .await
                    .map_err(Error::from)?;
                    Ok(())
                })
            })
            .await
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(self.db.ping().await?)
    }

    fn retention(&self) -> Duration {
        RETENTION
    }

    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    fn beats(&self, stream: &str, partition: u16) -> Beats {
        self.pulse(stream).beats(partition)
    }
}

async fn publish(
    connection: &mut SqliteConnection,
    stream: &str,
    partition: u16,
    expected: Option<Position>,
    events: &[Envelope],
    now: i64,
) -> Result<(), BusError> {
    let tail =
        sqlx::query("SELECT n, i FROM messages WHERE stream = ? AND partition = ? ORDER BY n DESC, i DESC LIMIT 1")
            .bind(stream)
            .bind(partition)
            .fetch_optional(&mut *connection)
            .await
            .and_then(|row| {
                row.map(|row| Ok(Position { partition, n: row.try_get(0)?, index: row.try_get(1)? })).transpose()
            })
            .map_err(Error::from)?;
    if tail != expected {
        return Err(BusError::TailMoved);
    }
    Ok(insert(connection, stream, events, now).await.map_err(Error::from)?)
}

async fn insert(
    connection: &mut SqliteConnection,
    stream: &str,
    events: &[Envelope],
    now: i64,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; events.len()].join(", ");
    let sql = format!(
        "INSERT INTO messages (stream, partition, n, i, id, source, type, subject, version, time, data, stored_at) \
         VALUES {rows}"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for event in events {
        query = query
            .bind(stream)
            .bind(event.position.partition)
            .bind(event.position.n)
            .bind(event.position.index)
            .bind(&event.id)
            .bind(&event.source)
            .bind(&event.event_type)
            .bind(&event.subject)
            .bind(event.version)
            .bind(to_micros(event.time))
            .bind(event.data.as_ref())
            .bind(now);
    }
    query.execute(connection).await?;
    Ok(())
}

/// Removes a partition's messages past their retention, but never its tail, nor what a consumer hasn't acknowledged that is
/// registered.
async fn sweep(connection: &mut SqliteConnection, stream: &str, partition: u16, now: i64) -> Result<(), sqlx::Error> {
    let oldest = now - i64::try_from(RETENTION.as_secs()).unwrap_or(i64::MAX);
    // What may go stands at the partition's beginning, so that neither query looks further than it removes.
    sqlx::query(
        "WITH kept (n, i) AS ( \
           SELECT n, i FROM (SELECT n, i FROM acknowledged WHERE stream = ?1 AND partition = ?2 ORDER BY n, i LIMIT 1) \
         ), tail (n, i) AS ( \
           SELECT n, i FROM messages WHERE stream = ?1 AND partition = ?2 ORDER BY n DESC, i DESC LIMIT 1 \
         ), first (stored_at) AS ( \
           SELECT stored_at FROM messages WHERE stream = ?1 AND partition = ?2 ORDER BY n, i LIMIT 1 \
         ) \
         DELETE FROM messages WHERE stream = ?1 AND partition = ?2 AND (n, i) IN ( \
           SELECT n, i FROM messages \
           WHERE stream = ?1 AND partition = ?2 AND stored_at < ?3 AND (SELECT stored_at FROM first) < ?3 \
             AND (NOT EXISTS (SELECT 1 FROM kept) OR (n, i) <= (SELECT n, i FROM kept)) \
             AND (n, i) < (SELECT n, i FROM tail) \
           ORDER BY n, i LIMIT ?4)",
    )
    .bind(stream)
    .bind(partition)
    .bind(oldest)
    .bind(SWEEP)
    .execute(connection)
    .await?;
    Ok(())
}
