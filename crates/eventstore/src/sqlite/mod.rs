//! The embedded adapter: SQLite.
//!
//! One writer and its transactions make versions and positions simple here: both are read and used in the transaction
//! that inserts the commit. The unique indexes guard them all the same.

mod snapshots;

use std::path::Path;

use async_trait::async_trait;
use meshwork_sql::{AppliedMigration, Component, Error as SqlError, Sqlite, from_micros, to_micros};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use crate::event::missing_version;
use crate::store::{check, stored_time};
use crate::{
    Append, AppendError, Appended, Beats, Commit, Context, Damage, EventStore, Expected, Position, Pulse, StoreError,
    StoredEvent, UNREADABLE_STREAM, partition_of,
};

static EVENTS: Migrator = sqlx::migrate!("migrations/sqlite");
static CONTEXT: Migrator = sqlx::migrate!("migrations/sqlite_context");

/// The store's tables. What was added to released ones are components of their own: the first release refuses to see one at
/// a version that it doesn't know.
const COMPONENTS: [Component; 2] =
    [Component { name: "events", migrator: &EVENTS }, Component { name: "events_context", migrator: &CONTEXT }];

/// What a commit's rows are joined to; a condition and an order follow.
const SELECT: &str = "SELECT c.stream, c.command_id, c.command_hash, c.partition, c.position, c.first_version, c.recorded_at, \
     c.result, c.context, e.version, e.event_type, e.schema_version, e.data \
     FROM commits c JOIN events e ON e.partition = c.partition AND e.position = c.position ";

/// An event store in one SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteEventStore {
    db: Sqlite,
    pulse: Pulse,
    partitions: u16,
}

impl SqliteEventStore {
    /// Opens the store, making it with so many `partitions` when it doesn't exist. One that exists keeps its own number.
    ///
    /// # Errors
    /// When the file can't be opened or migrated.
    pub async fn open(path: &Path, partitions: u16) -> Result<Self, SqlError> {
        let db = Sqlite::open(path, &COMPONENTS).await?;
        let partitions = db
            .write_once::<u16, SqlError, _>(move |connection| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO event_store (only_row, partitions) VALUES (1, ?) ON CONFLICT DO NOTHING")
                        .bind(partitions)
                        .execute(&mut *connection)
                        .await?;
                    Ok(sqlx::query("SELECT partitions FROM event_store").fetch_one(connection).await?.try_get(0)?)
                })
            })
            .await?;
        let pulse = Pulse::new(partitions);
        let flushed = pulse.clone();
        db.after_commit(move || flushed.flush());
        Ok(Self { db, pulse, partitions })
    }

    /// Migrates the store's file without keeping it open.
    ///
    /// # Errors
    /// As [`SqliteEventStore::open`].
    pub async fn migrate(path: &Path) -> Result<Vec<AppliedMigration>, SqlError> {
        Sqlite::migrate(path, &COMPONENTS).await
    }
}

#[async_trait]
impl EventStore for SqliteEventStore {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        check(&append)?;
        let partition = partition_of(&append.stream, self.partitions);
        let pulse = self.pulse.clone();
        let appended = self.db.write_once::<_, AppendError, _>(move |connection| {
            Box::pin(async move {
                let appended = commit(connection, append, partition).await?;
                if !appended.replayed {
                    pulse.note(partition, &appended.commit.stream);
                }
                Ok(appended)
            })
        });
        let appended = appended.await?;
        fail::fail_point!("event_store::committed");
        Ok(appended)
    }

    async fn find(&self, stream: &str, command_id: &str) -> Result<Option<Commit>, StoreError> {
        let mut connection = self.db.reader().acquire().await.map_err(SqlError::from)?;
        find(&mut connection, stream, command_id).await
    }

    async fn read(&self, stream: &str, after: i64) -> Result<Vec<Commit>, StoreError> {
        // From the commit that has the next version, found by the index: whatever lies before it costs nothing.
        let sql = AssertSqlSafe(format!(
            "{SELECT} WHERE c.partition = ?1 AND c.stream = ?2 AND c.last_version > ?3 \
             AND c.first_version >= (SELECT coalesce(max(first_version), 0) FROM commits \
             WHERE partition = ?1 AND stream = ?2 AND first_version <= ?3 + 1) ORDER BY c.first_version, e.version"
        ));
        let rows = sqlx::query(sql)
            .bind(partition_of(stream, self.partitions))
            .bind(stream)
            .bind(after)
            .fetch_all(self.db.reader())
            .await
            .map_err(SqlError::from)?;
        let commits = sound(&rows)?;
        match missing_version(&commits, after) {
            None => Ok(commits),
            Some(version) => Err(StoreError::missing(stream, version)),
        }
    }

    async fn read_partition(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, StoreError> {
        let until = after.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX));
        // Positions are dense, so a range of them is a limit on commits.
        let sql = AssertSqlSafe(format!(
            "{SELECT} WHERE c.partition = ? AND c.position > ? AND c.position <= ? ORDER BY c.position, e.version"
        ));
        let rows = sqlx::query(sql)
            .bind(partition)
            .bind(after)
            .bind(until)
            .fetch_all(self.db.reader())
            .await
            .map_err(SqlError::from)?;
        gather(&rows)
    }

    async fn head(&self, partition: u16) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(position), 0) FROM commits WHERE partition = ?")
            .bind(partition)
            .fetch_one(self.db.reader())
            .await;
        Ok(row.and_then(|row| row.try_get(0)).map_err(SqlError::from)?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.db.ping().await?)
    }

    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn beats(&self, partition: u16) -> Beats {
        self.pulse.beats(partition)
    }
}

async fn find(connection: &mut SqliteConnection, stream: &str, command_id: &str) -> Result<Option<Commit>, StoreError> {
    let sql = AssertSqlSafe(format!("{SELECT} WHERE c.stream = ? AND c.command_id = ? ORDER BY e.version"));
    let rows = sqlx::query(sql).bind(stream).bind(command_id).fetch_all(connection).await.map_err(SqlError::from)?;
    Ok(sound(&rows)?.pop())
}

/// Checks and inserts, in one transaction.
async fn commit(connection: &mut SqliteConnection, append: Append, partition: u16) -> Result<Appended, AppendError> {
    let head = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM commits WHERE stream = ?2 AND command_id = ?3), \
         coalesce((SELECT last_version FROM commits WHERE partition = ?1 AND stream = ?2 \
         ORDER BY first_version DESC LIMIT 1), 0), \
         (SELECT coalesce(max(position), 0) + 1 FROM commits WHERE partition = ?1)",
    )
    .bind(partition)
    .bind(&append.stream)
    .bind(&append.command_id)
    .fetch_one(&mut *connection)
    .await
    .and_then(|row| Ok((row.try_get::<bool, _>(0)?, row.try_get::<i64, _>(1)?, row.try_get::<i64, _>(2)?)));
    let (repeated, actual, n) = head.map_err(SqlError::from)?;
    if repeated && let Some(commit) = find(connection, &append.stream, &append.command_id).await? {
        return if commit.command_hash == append.command_hash {
            Ok(Appended { commit, replayed: true })
        } else {
            Err(AppendError::CommandReused { command_id: append.command_id })
        };
    }
    let met = match append.expected {
        Expected::NoStream => actual == 0,
        Expected::Exact(version) => actual == version,
        Expected::Any => true,
    };
    if !met {
        return Err(AppendError::VersionConflict { stream: append.stream, actual });
    }
    let events: Vec<StoredEvent> = (actual + 1..)
        .zip(append.events)
        .map(|(version, event)| StoredEvent {
            version,
            event_type: event.event_type.to_owned(),
            schema_version: event.schema_version,
            data: event.data,
        })
        .collect();
    let commit = Commit {
        stream: append.stream,
        command_id: append.command_id,
        command_hash: append.command_hash,
        position: Position { partition, n },
        at: stored_time(append.at),
        result: append.result,
        events,
        context: append.context.bounded(),
        damage: None,
    };
    insert(connection, &commit, actual + 1).await.map_err(SqlError::from)?;
    fail::fail_point!("event_store::inserted");
    Ok(Appended { commit, replayed: false })
}

/// Inserts a commit with its events, in one call of the database's thread: the way there costs more than the work.
async fn insert(connection: &mut SqliteConnection, commit: &Commit, first_version: i64) -> Result<(), sqlx::Error> {
    let rows = vec!["(?, ?, ?, ?, ?, ?)"; commit.events.len()].join(", ");
    let sql = format!(
        "INSERT INTO commits (stream, command_id, command_hash, partition, position, first_version, last_version, \
         recorded_at, result, context) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?); \
         INSERT INTO events (partition, position, version, event_type, schema_version, data) VALUES {rows}"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(&commit.stream)
        .bind(&commit.command_id)
        .bind(commit.command_hash.as_slice())
        .bind(commit.position.partition)
        .bind(commit.position.n)
        .bind(first_version)
        .bind(commit.version())
        .bind(to_micros(commit.at))
        .bind(commit.result.as_ref())
        .bind(commit.context.to_text());
    for event in &commit.events {
        query = query
            .bind(commit.position.partition)
            .bind(commit.position.n)
            .bind(event.version)
            .bind(&event.event_type)
            .bind(event.schema_version)
            .bind(event.data.as_ref());
    }
    query.execute(connection).await?;
    Ok(())
}

/// Gathers the rows of each commit, which come one after another. One that can't be understood tells its damage.
fn gather(rows: &[SqliteRow]) -> Result<Vec<Commit>, StoreError> {
    let mut commits: Vec<Commit> = Vec::new();
    for row in rows {
        let position = position(row).map_err(SqlError::from)?;
        if commits.last().is_none_or(|commit| commit.position != position) {
            commits.push(head(row, position));
        }
        let Some(commit) = commits.last_mut() else { continue };
        match event(row) {
            Ok(event) if commit.damage.is_none() => commit.events.push(event),
            Ok(_) => {}
            Err(error) => {
                commit.damage.get_or_insert_with(|| damage(row, error.to_string()));
                commit.events.clear();
            }
        }
    }
    Ok(commits)
}

/// The commits of one stream, which must all be sound.
fn sound(rows: &[SqliteRow]) -> Result<Vec<Commit>, StoreError> {
    let mut commits = gather(rows)?;
    match commits.iter_mut().find_map(|commit| Some((commit.damage.take()?, &commit.stream))) {
        Some((Damage { problem, .. }, stream)) => Err(StoreError::Damaged { place: stream.clone(), problem }),
        None => Ok(commits),
    }
}

fn position(row: &SqliteRow) -> Result<Position, sqlx::Error> {
    Ok(Position { partition: row.try_get("partition")?, n: row.try_get("position")? })
}

/// What is wrong with the commit of a row.
fn damage(row: &SqliteRow, problem: String) -> Damage {
    let stream = row.try_get::<&str, _>("stream").ok();
    let first_version = stream.and_then(|_| row.try_get("first_version").ok());
    Damage { problem, first_version }
}

fn event(row: &SqliteRow) -> Result<StoredEvent, sqlx::Error> {
    Ok(StoredEvent {
        version: row.try_get("version")?,
        event_type: row.try_get("event_type")?,
        schema_version: row.try_get("schema_version")?,
        data: row.try_get::<Vec<u8>, _>("data")?.into(),
    })
}

/// Why a commit was made; nothing is known where that can't be read, as nobody needs it to go on.
fn context(row: &SqliteRow) -> Context {
    match row.try_get("context") {
        Ok(text) => Context::from_text(text),
        Err(error) => {
            tracing::warn!(%error, "the context of a commit can't be read");
            Context::default()
        }
    }
}

/// A commit but for its events.
fn head(row: &SqliteRow, position: Position) -> Commit {
    let mut problem = None;
    let mut note = |found: String| {
        problem.get_or_insert(found);
    };
    let stream = row.try_get("stream").unwrap_or_else(|error| {
        note(error.to_string());
        UNREADABLE_STREAM.to_owned()
    });
    let command_id = row.try_get("command_id").unwrap_or_else(|error| {
        note(error.to_string());
        String::new()
    });
    let hash = row.try_get::<Vec<u8>, _>("command_hash").unwrap_or_default();
    let command_hash = hash.try_into().unwrap_or_else(|_| {
        note("the command's hash has not 32 bytes".to_owned());
        [0; 32]
    });
    let at = row.try_get("recorded_at").unwrap_or_else(|error: sqlx::Error| {
        note(error.to_string());
        0
    });
    let result = row.try_get::<Vec<u8>, _>("result").unwrap_or_else(|error| {
        note(error.to_string());
        Vec::new()
    });
    Commit {
        stream,
        command_id,
        command_hash,
        position,
        at: from_micros(at),
        result: result.into(),
        events: Vec::new(),
        context: context(row),
        damage: problem.map(|problem| damage(row, problem)),
    }
}
