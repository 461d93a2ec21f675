//! Rounds: each brings the changes since the last one to the new owner, and while rows are copied, the next of these.
//!
//! A round reads the log, the rows that it names and the rows to be copied in one snapshot, and writes them in one transaction:
//! a row arrives with or after the rows that it refers to. What was done is then taken out of the log. A round that was broken
//! off anywhere is done again by the next one.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::changes::{Changes, Order, write};
use super::cursor::Keys;
use super::error::MoveError;
use super::journal::{Cursor, Journal, is_overrun};
use super::owned::any_owned;
use super::pieces::{Parts, statement};
use super::progress::Step;
use super::session::{STATEMENT, snapshot, transaction};
use super::tables::{Chunk, Table, read_chunk};
use super::work::Work;
use crate::Error;

/// How many rows of the log a round takes, at least.
const LOGGED: i64 = 1_000;
/// How many it takes at most, when fewer refer to rows whose own changes are further behind.
const MOST_LOGGED: i64 = 100_000;
/// With fewer rows in the log the rest is quick.
const SHORT: usize = 100;
/// How long it is followed at most before a fence is tried: all writes to the moved tables are logged, and those to other
/// pieces may never let the log become short.
const LONG: Duration = Duration::from_secs(30);

/// What a round has done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// How many rows of the log it has dealt with.
    pub logged: usize,
    /// Whether these were all that there were.
    pub is_whole: bool,
}

/// Follows until the log is short.
pub(super) async fn follow(work: &mut Work<'_>) -> Result<(), MoveError> {
    let end = Instant::now() + LONG;
    loop {
        work.tell(Step::Follow);
        let round = round(work, false, STATEMENT).await?;
        if (round.is_whole && round.logged < SHORT) || Instant::now() >= end {
            return Ok(());
        }
    }
}

/// Follows all that was committed before this call, under a fence: until then the pieces were written, and now they aren't.
/// Others write on; their changes are passed over.
pub(super) async fn rest(work: &mut Work<'_>, end: Instant) -> Result<(), MoveError> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if round(work, false, left).await?.is_whole {
            return Ok(());
        }
    }
}

/// One round; `is_copying` tells whether the next rows at the journal's cursor are copied too, once the log is short enough.
pub(super) async fn round(work: &mut Work<'_>, is_copying: bool, bound: Duration) -> Result<Round, MoveError> {
    let mut limit = LOGGED.max(work.options.chunk);
    loop {
        let Work { sessions, journal, tables, options, keys, .. } = &mut *work;
        let source = &mut sessions.source;
        let asked = Asked { tables, journal, is_copying, limit, chunk: options.chunk.max(1), bound };
        let read = read(&mut source.connection, &asked, keys.as_mut()).await.map_err(MoveError::at(&source.name))?;
        let Some(Read { changes, chunk }) = read else { return Err(MoveError::Overrun) };
        if let Err(problem) = bring(work, &changes, chunk.as_ref(), bound).await? {
            if changes.is_whole || limit >= MOST_LOGGED {
                return Err(MoveError::at(&work.sessions.destination.name)(problem));
            }
            limit *= 4;
            continue;
        }
        // Before the log forgets them, wherever this is broken off.
        for (table, keys) in changes.written() {
            if work.tables.get(table).is_some_and(Table::is_contained) {
                work.unsettled.written(table, keys);
            }
        }
        fail::fail_point!("moving::brought", |_| Err(MoveError::Stopped));
        note(work, &changes, chunk).await?;
        return Ok(Round { logged: changes.logged.len(), is_whole: changes.is_whole });
    }
}

/// What a round reads.
struct Asked<'a> {
    tables: &'a [Table],
    journal: &'a Journal,
    is_copying: bool,
    limit: i64,
    chunk: i64,
    bound: Duration,
}

struct Read {
    changes: Changes,
    chunk: Option<Chunk>,
}

/// Reads the changes and the next rows to copy; `None` when the log has an end that isn't that of the changes.
async fn read(
    connection: &mut PgConnection,
    asked: &Asked<'_>,
    keys: Option<&mut Keys>,
) -> Result<Option<Read>, Error> {
    let Asked { tables, journal, is_copying, limit, chunk, bound } = *asked;
    let (parts, cursor) = (&journal.parts, &journal.cursor);
    let mut snapshot = snapshot(connection, bound).await?;
    if is_overrun(&mut snapshot, journal).await? {
        snapshot.rollback().await?;
        return Ok(None);
    }
    let upto = if is_copying { (cursor.table + 1).min(tables.len()) } else { tables.len() };
    let changes = Changes::read(&mut snapshot, tables, parts, upto, limit).await?;
    // With the whole log, the rows to which those of the chunk refer are there, or come along.
    let chunk = match tables.get(cursor.table) {
        Some(table) if is_copying && changes.is_whole => Some(match keys.filter(|keys| keys.table == cursor.table) {
            Some(keys) => keys.read_chunk(&mut snapshot, table, parts, chunk).await?,
            None => read_chunk(&mut snapshot, table, parts, cursor.after.as_deref(), chunk).await?,
        }),
        _ => None,
    };
    snapshot.commit().await?;
    Ok(Some(Read { changes, chunk }))
}

/// Writes at the new owner. The inner error is of a rule of the tables, such as a foreign key, that no order of the changes has
/// satisfied.
async fn bring(
    work: &mut Work<'_>,
    changes: &Changes,
    chunk: Option<&Chunk>,
    bound: Duration,
) -> Result<Result<(), Error>, MoveError> {
    if changes.are_none() && chunk.is_none_or(|chunk| chunk.rows.is_empty()) {
        return Ok(Ok(()));
    }
    let Work { sessions, journal, tables, .. } = work;
    let tables: &[Table] = tables;
    let journal: &Journal = journal;
    let destination = &mut sessions.destination;
    let mut problem = None;
    for order in [Order::Written, Order::Deleted, Order::Anew] {
        let chunk = chunk.and_then(|chunk| Some((tables.get(journal.cursor.table)?, chunk)));
        let connection = &mut destination.connection;
        match apply(connection, tables, &journal.parts, changes, chunk, order, bound).await {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(piece)) => {
                return Err(MoveError::Refused(format!(
                    "shard {:?} owns piece {piece} of space {} already, while the old owner hasn't given it away; one of the \
                     two databases was put back to an older state. Nothing was written there",
                    destination.name, journal.parts.space
                )));
            }
            Err(error) if is_broken_rule(&error) => problem = Some(error),
            Err(error) => return Err(MoveError::at(&destination.name)(error)),
        }
    }
    Ok(problem.map_or(Ok(()), Err))
}

/// One transaction at the new owner; a piece if it owns one, and then nothing is written.
async fn apply(
    connection: &mut PgConnection,
    tables: &[Table],
    parts: &Parts,
    changes: &Changes,
    chunk: Option<(&Table, &Chunk)>,
    order: Order,
    bound: Duration,
) -> Result<Option<i32>, Error> {
    let mut transaction = transaction(connection, bound).await?;
    if let Some(piece) = any_owned(&mut transaction, parts).await? {
        transaction.rollback().await?;
        return Ok(Some(piece));
    }
    changes.apply(&mut transaction, tables, parts, order).await?;
    if let Some((table, chunk)) = chunk {
        write(&mut transaction, table, &chunk.rows).await?;
    }
    transaction.commit().await?;
    Ok(None)
}

/// Whether a foreign key or a unique index has refused it.
fn is_broken_rule(error: &Error) -> bool {
    let Error::Database(sqlx::Error::Database(cause)) = error else { return false };
    cause.is_foreign_key_violation() || cause.is_unique_violation()
}

/// Takes what was done out of the log, and moves the cursor.
async fn note(work: &mut Work<'_>, changes: &Changes, chunk: Option<Chunk>) -> Result<(), MoveError> {
    let Work { sessions, journal, keys, .. } = work;
    if changes.logged.is_empty() && chunk.is_none() {
        return Ok(());
    }
    journal.followed += i64::try_from(changes.logged.len()).unwrap_or(i64::MAX);
    let copied = chunk.as_ref().and_then(|chunk| chunk.last.clone());
    let keys = keys.as_mut().filter(|keys| keys.table == journal.cursor.table);
    if let Some(Chunk { rows, last }) = chunk {
        journal.copied += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        journal.cursor = match last {
            Some(last) => Cursor { table: journal.cursor.table, after: Some(last) },
            None => Cursor { table: journal.cursor.table + 1, after: None },
        };
    }
    let source = &mut sessions.source;
    save(&mut source.connection, journal, &changes.logged).await.map_err(MoveError::at(&source.name))?;
    if let (Some(keys), Some(last)) = (keys, copied) {
        keys.done(&last);
    }
    Ok(())
}

async fn save(connection: &mut PgConnection, journal: &Journal, logged: &[i64]) -> Result<(), Error> {
    let mut transaction = transaction(connection, STATEMENT).await?;
    let delete = statement("DELETE FROM shard_log WHERE seq = ANY($1)").bind(logged.to_vec());
    delete.execute(&mut *transaction).await?;
    journal.save(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}
