//! Compares both sides by the number and the hashes of their rows, under a fence.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::error::MoveError;
use super::pieces::{Parts, statement};
use super::session::{Sessions, snapshot};
use super::tables::{Table, json_list, read_chunk};
use super::work::Work;
use crate::Error;

/// How many rows of a history are compared at once: callers wait, and each round costs them.
const CHUNK: i64 = 2_000;

/// A table whose rows differ.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// Its place in the list of tables.
    pub table: usize,
    /// What was found.
    pub found: String,
}

/// The first table whose rows differ.
pub(super) async fn compare(work: &mut Work<'_>, end: Instant) -> Result<Option<Difference>, MoveError> {
    let Work { sessions, journal, tables, .. } = work;
    for (number, table) in tables.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        // What gets the rows of several tables has more than any of them.
        let found = if table.is_history || table.is_shared {
            contained(sessions, table, &journal.parts, end).await?
        } else {
            equal(sessions, table, &journal.parts, left).await?
        };
        if let Some(found) = found {
            return Ok(Some(Difference { table: number, found }));
        }
    }
    Ok(None)
}

async fn equal(
    sessions: &mut Sessions,
    table: &Table,
    parts: &Parts,
    bound: Duration,
) -> Result<Option<String>, MoveError> {
    let Sessions { source, destination } = sessions;
    let (here, there) = tokio::join!(
        sums(&mut source.connection, table, parts, bound),
        sums(&mut destination.connection, table, parts, bound)
    );
    let here = here.map_err(MoveError::at(&source.name))?;
    let there = there.map_err(MoveError::at(&destination.name))?;
    if here == there {
        return Ok(None);
    }
    Ok(Some(if here.0 == there.0 {
        format!("both have {} rows, of other content", here.0)
    } else {
        format!("{} rows at the old owner, {} at the new one", here.0, there.0)
    }))
}

/// How many rows there are, and the sum of their hashes.
async fn sums(
    connection: &mut PgConnection,
    table: &Table,
    parts: &Parts,
    bound: Duration,
) -> Result<(i64, String), Error> {
    let mut snapshot = snapshot(connection, bound).await?;
    let row = parts.bind(statement(table.sums())).fetch_one(&mut *snapshot).await?;
    let sums = (row.try_get(0)?, row.try_get(1)?);
    snapshot.commit().await?;
    Ok(sums)
}

/// Whether the new owner has each row of the old one.
async fn contained(
    sessions: &mut Sessions,
    table: &Table,
    parts: &Parts,
    end: Instant,
) -> Result<Option<String>, MoveError> {
    let Sessions { source, destination } = sessions;
    let mut after = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let read = chunk_of(&mut source.connection, table, parts, after.as_deref(), left);
        let chunk = read.await.map_err(MoveError::at(&source.name))?;
        let Some(last) = chunk.last else { return Ok(None) };
        let absent = absent(&mut destination.connection, table, &chunk.rows, left);
        let absent = absent.await.map_err(MoveError::at(&destination.name))?;
        if absent > 0 {
            return Ok(Some(format!("{absent} of {} rows are not at the new owner as they are", chunk.rows.len())));
        }
        after = Some(last);
    }
}

async fn chunk_of(
    connection: &mut PgConnection,
    table: &Table,
    parts: &Parts,
    after: Option<&str>,
    bound: Duration,
) -> Result<super::tables::Chunk, Error> {
    let mut snapshot = snapshot(connection, bound).await?;
    let chunk = read_chunk(&mut snapshot, table, parts, after, CHUNK).await?;
    snapshot.commit().await?;
    Ok(chunk)
}

async fn absent(connection: &mut PgConnection, table: &Table, rows: &[String], bound: Duration) -> Result<i64, Error> {
    let mut snapshot = snapshot(connection, bound).await?;
    let absent = statement(table.absent()).bind(json_list(rows)).fetch_one(&mut *snapshot).await?.try_get(0)?;
    snapshot.commit().await?;
    Ok(absent)
}
