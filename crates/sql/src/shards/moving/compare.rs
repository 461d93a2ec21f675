//! Compares both sides by the number and the hashes of their rows, under a fence.
//!
//! Of a history the new owner must have each row, and it may be long. So its rows are compared before the fence, all of them once,
//! then those that were written since. Under the fence the few are left that the log has named last: the time that callers wait
//! doesn't depend on the length of the history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::cursor::AllRows;
use super::error::MoveError;
use super::pieces::{Parts, statement};
use super::session::{STATEMENT, Sessions, snapshot};
use super::tables::{Row, Table, json_list, read_present};
use super::work::Work;
use crate::Error;

/// How many rows of a history are compared at once by their keys.
const CHUNK: usize = 2_000;
/// More rows that aren't at the new owner are no rest of the log: they were lost there.
const MOST: usize = 200_000;

/// A table whose rows differ.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// Its place in the list of tables.
    pub table: usize,
    /// What was found.
    pub found: String,
}

/// Compares what is left of the histories, outside of any fence. A table if far too much of it isn't at the new owner; rows that
/// were written lately needn't be.
pub(super) async fn settle(work: &mut Work<'_>) -> Result<Option<Difference>, MoveError> {
    let Work { sessions, journal, tables, unsettled, .. } = work;
    let mut left = BTreeMap::new();
    for (number, table) in tables.iter().enumerate() {
        if !table.is_contained() {
            continue;
        }
        let absent = if unsettled.is_listed() {
            absent_of(sessions, table, &journal.parts, &unsettled.of(number), None).await?
        } else {
            absent_of_all(sessions, table, &journal.parts).await?
        };
        if absent.len() > MOST {
            let found = format!("more than {MOST} rows are not at the new owner as they are");
            return Ok(Some(Difference { table: number, found }));
        }
        left.insert(number, absent);
    }
    unsettled.settle(left);
    Ok(None)
}

/// The first table whose rows differ, under a fence that is up until `end`.
pub(super) async fn compare(work: &mut Work<'_>, end: Instant) -> Result<Option<Difference>, MoveError> {
    if !work.unsettled.is_listed()
        && let Some(difference) = settle(work).await?
    {
        return Ok(Some(difference));
    }
    let Work { sessions, journal, tables, unsettled, .. } = work;
    for (number, table) in tables.iter().enumerate() {
        let found = if table.is_contained() {
            let absent = absent_of(sessions, table, &journal.parts, &unsettled.of(number), Some(end)).await?;
            (!absent.is_empty()).then(|| format!("{} rows are not at the new owner as they are", absent.len()))
        } else {
            let left = end.saturating_duration_since(Instant::now());
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

/// Of all rows of a history, the primary keys of those that the new owner doesn't have as they are: one pass over them, in one
/// snapshot.
async fn absent_of_all(sessions: &mut Sessions, table: &Table, parts: &Parts) -> Result<BTreeSet<String>, MoveError> {
    let Sessions { source, destination } = sessions;
    let mut snapshot = snapshot(&mut source.connection, STATEMENT).await.map_err(MoveError::at(&source.name))?;
    let mut all = AllRows::open(&mut snapshot, table, parts).await.map_err(MoveError::at(&source.name))?;
    let mut absent = BTreeSet::new();
    loop {
        let rows = all.next(&mut snapshot).await.map_err(MoveError::at(&source.name))?;
        if rows.is_empty() || absent.len() > MOST {
            break;
        }
        let there = absent_at(&mut destination.connection, table, rows, STATEMENT).await;
        absent.extend(there.map_err(MoveError::at(&destination.name))?);
    }
    // The cursor ends with it.
    snapshot.rollback().await.map_err(MoveError::at(&source.name))?;
    Ok(absent)
}

/// Of the rows with these primary keys, those of the rows that the old owner has in the pieces and the new one not as they are.
async fn absent_of(
    sessions: &mut Sessions,
    table: &Table,
    parts: &Parts,
    keys: &[String],
    end: Option<Instant>,
) -> Result<BTreeSet<String>, MoveError> {
    let Sessions { source, destination } = sessions;
    let mut absent = BTreeSet::new();
    for keys in keys.chunks(CHUNK) {
        let left = end.map_or(STATEMENT, |end| end.saturating_duration_since(Instant::now()));
        let rows = present_at(&mut source.connection, table, parts, keys, left).await;
        let rows = rows.map_err(MoveError::at(&source.name))?;
        let there = absent_at(&mut destination.connection, table, rows, left).await;
        absent.extend(there.map_err(MoveError::at(&destination.name))?);
    }
    Ok(absent)
}

async fn present_at(
    connection: &mut PgConnection,
    table: &Table,
    parts: &Parts,
    keys: &[String],
    bound: Duration,
) -> Result<Vec<Row>, Error> {
    let mut snapshot = snapshot(connection, bound).await?;
    let rows = read_present(&mut snapshot, table, parts, keys).await?;
    snapshot.commit().await?;
    Ok(rows)
}

/// The primary keys of those of these rows that aren't there as they are.
async fn absent_at(
    connection: &mut PgConnection,
    table: &Table,
    rows: Vec<Row>,
    bound: Duration,
) -> Result<Vec<String>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let list: Vec<&str> = rows.iter().map(|row| row.row.as_str()).collect();
    let list = json_list(&list);
    let mut snapshot = snapshot(connection, bound).await?;
    let mut absent = Vec::new();
    for found in statement(table.absent()).bind(list).fetch_all(&mut *snapshot).await? {
        let at = usize::try_from(found.try_get::<i64, _>(0)?).unwrap_or_default();
        absent.extend(at.checked_sub(1).and_then(|at| rows.get(at)).map(|row| row.key.clone()));
    }
    snapshot.commit().await?;
    Ok(absent)
}
