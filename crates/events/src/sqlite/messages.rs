//! Rows and envelopes.

use meshwork_eventstore::Context;
use meshwork_sql::{bounded, from_micros, to_micros};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::bus::{BusError, Lane};
use crate::{Envelope, Position};

/// The columns that [`envelope`] reads.
const COLUMNS: &str = "partition, n, i, id, source, type, schema_version, subject, version, time, context, data";

/// What a row says.
fn envelope(row: &SqliteRow) -> Result<Envelope, sqlx::Error> {
    Ok(Envelope {
        id: row.try_get("id")?,
        source: row.try_get("source")?,
        event_type: row.try_get("type")?,
        schema_version: row.try_get("schema_version")?,
        subject: row.try_get("subject")?,
        version: row.try_get("version")?,
        position: Position { partition: row.try_get("partition")?, n: row.try_get("n")?, index: row.try_get("i")? },
        time: from_micros(row.try_get("time")?),
        context: Context::from_text(row.try_get("context")?),
        data: row.try_get::<Vec<u8>, _>("data")?.into(),
    })
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A lane's messages behind (`n`, `i`), in order.
pub(super) async fn behind(
    db: &SqlitePool,
    lane: &Lane,
    at: (i64, i64),
    limit: usize,
) -> Result<Vec<Envelope>, BusError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM messages WHERE stream = ? AND partition = ? AND (n, i) > (?, ?) ORDER BY n, i LIMIT ?"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(&lane.stream).bind(lane.partition).bind(at.0).bind(at.1);
    let found = bounded(query.bind(rows(limit)).fetch_all(db)).await?;
    Ok(found.iter().map(envelope).collect::<Result<_, _>>().map_err(meshwork_sql::Error::from)?)
}

/// What was published beside a lane behind `seq`, in that order, each with its place in it.
pub(super) async fn repaired(
    db: &SqlitePool,
    lane: &Lane,
    seq: i64,
    limit: usize,
) -> Result<Vec<(i64, Envelope)>, BusError> {
    let sql = format!(
        "SELECT seq, {COLUMNS} FROM repaired WHERE stream = ? AND partition = ? AND seq > ? ORDER BY seq LIMIT ?"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(&lane.stream).bind(lane.partition).bind(seq).bind(rows(limit));
    let found = bounded(query.fetch_all(db)).await?;
    let read = |row: &SqliteRow| Ok::<_, sqlx::Error>((row.try_get("seq")?, envelope(row)?));
    Ok(found.iter().map(read).collect::<Result<_, _>>().map_err(meshwork_sql::Error::from)?)
}

/// What the release before has parked of a lane: parked events lie in the consumers' databases by now, and these are handed
/// over once more.
pub(super) async fn parked(
    db: &SqlitePool,
    consumer: &str,
    lane: &Lane,
    limit: usize,
) -> Result<Vec<Envelope>, BusError> {
    let sql = "SELECT partition, n, i, id, source, type, 1 AS schema_version, subject, version, time, '' AS context, data \
               FROM parked WHERE consumer = ? AND stream = ? AND partition = ? ORDER BY n, i LIMIT ?";
    let query = sqlx::query(sql).bind(consumer).bind(&lane.stream).bind(lane.partition).bind(rows(limit));
    let found = bounded(query.fetch_all(db)).await?;
    Ok(found.iter().map(envelope).collect::<Result<_, _>>().map_err(meshwork_sql::Error::from)?)
}

/// A lane's last message.
pub(super) async fn tail(db: &SqlitePool, lane: &Lane) -> Result<Option<Envelope>, BusError> {
    let sql =
        format!("SELECT {COLUMNS} FROM messages WHERE stream = ? AND partition = ? ORDER BY n DESC, i DESC LIMIT 1");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(&lane.stream).bind(lane.partition);
    let found = bounded(query.fetch_optional(db)).await?;
    Ok(found.as_ref().map(envelope).transpose().map_err(meshwork_sql::Error::from)?)
}

/// The last of what was published beside a lane; 0 for nothing.
pub(super) async fn last_repaired(db: &SqlitePool, lane: &Lane) -> Result<i64, BusError> {
    let query = sqlx::query("SELECT coalesce(max(seq), 0) FROM repaired WHERE stream = ? AND partition = ?")
        .bind(&lane.stream)
        .bind(lane.partition);
    let found = bounded(query.fetch_one(db)).await?;
    Ok(found.try_get(0).map_err(meshwork_sql::Error::from)?)
}

/// Writes events to `table`, which is `messages` or `repaired`.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    table: &'static str,
    lane: &Lane,
    events: &[Envelope],
    now: i64,
) -> Result<(), sqlx::Error> {
    // One statement for many: SQLite takes 32,766 values.
    for events in events.chunks(1_024) {
        let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; events.len()].join(", ");
        let sql = format!("INSERT INTO {table} (stream, stored_at, {COLUMNS}) VALUES {values}");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for event in events {
            query = query
                .bind(&lane.stream)
                .bind(now)
                .bind(lane.partition)
                .bind(event.position.n)
                .bind(event.position.index)
                .bind(&event.id)
                .bind(&event.source)
                .bind(&event.event_type)
                .bind(event.schema_version)
                .bind(&event.subject)
                .bind(event.version)
                .bind(to_micros(event.time))
                .bind(event.context.to_text())
                .bind(event.data.as_ref());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Where a lane ends, and what was published beside it last.
pub(super) async fn head_of(connection: &mut SqliteConnection, lane: &Lane) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(max(n), 0) FROM messages WHERE stream = ?1 AND partition = ?2), \
         (SELECT coalesce(max(seq), 0) FROM repaired WHERE stream = ?1 AND partition = ?2)",
    )
    .bind(&lane.stream)
    .bind(lane.partition)
    .fetch_one(connection)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
