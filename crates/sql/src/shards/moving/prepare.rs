//! Before the copy: the new owner is made ready, and changes at the old one begin to be logged.

use super::delete::{Deleted, delete_some};
use super::error::MoveError;
use super::journal::{Cursor, Phase, unfinished};
use super::owned::{add_foreign, any_owned, drop_foreign, lock};
use super::pieces::Parts;
use super::progress::Step;
use super::session::{STATEMENT, Session, transaction};
use super::triggers;
use super::work::Work;
use crate::Error;

/// Makes both sides ready. It may be done again at any time, as long as the pieces haven't been given.
pub(super) async fn prepare(work: &mut Work<'_>) -> Result<(), MoveError> {
    work.tell(Step::Prepare);
    let parts = work.journal.parts.clone();
    let destination = &mut work.sessions.destination;
    refuse_if_busy(destination, &parts).await?;
    // They are left out of lists from now on, and those of an earlier try are too.
    let hidden = hide(destination, &parts).await.map_err(MoveError::at(&destination.name))?;
    if let Some(piece) = hidden {
        return Err(owned(destination, piece));
    }
    clean(work).await?;
    fail::fail_point!("moving::cleaned", |_| Err(MoveError::Stopped));

    work.journal.generation += 1;
    work.journal.cursor = Cursor::default();
    // Should it end here, it prepares again, with triggers of a generation of their own.
    work.save().await?;
    let source = &mut work.sessions.source;
    // What was logged for a move before this one, or while this one couldn't follow any more.
    triggers::empty_log(&mut source.connection).await.map_err(MoveError::at(&source.name))?;
    for table in &work.tables {
        let install = triggers::install(&mut source.connection, table, work.journal.generation);
        install.await.map_err(MoveError::at(&source.name))?;
    }
    work.journal.phase = Phase::Copy;
    work.save().await?;
    fail::fail_point!("moving::prepared", |_| Err(MoveError::Stopped));
    Ok(())
}

/// Deletes the rows of the pieces at the new owner.
pub(super) async fn clean(work: &mut Work<'_>) -> Result<(), MoveError> {
    let Work { sessions, journal, tables, options, .. } = work;
    let destination = &mut sessions.destination;
    // The rows of a history are in a table of the list too, and what is in the table that they come from is the new owner's own,
    // of a time when it owned the pieces before.
    for table in tables.iter().rev().filter(|table| !table.is_history) {
        loop {
            let delete = delete_some(&mut destination.connection, table, &journal.parts, options.chunk.max(1));
            match delete.await.map_err(MoveError::at(&destination.name))? {
                Deleted::Rows(0) => break,
                Deleted::Rows(_) => {}
                Deleted::Owned(piece) => return Err(owned(destination, piece)),
            }
        }
    }
    Ok(())
}

/// Leaves no trace of the pieces at the new owner, for a move that is given up.
pub(super) async fn withdraw(work: &mut Work<'_>) -> Result<(), MoveError> {
    clean(work).await?;
    let Work { sessions, journal, .. } = work;
    let destination = &mut sessions.destination;
    let dropped = drop_foreign(&mut destination.connection, &journal.parts).await;
    dropped.map_err(MoveError::at(&destination.name))
}

/// The new owner may still be deleting rows of the same pieces, from when it gave them away.
async fn refuse_if_busy(destination: &mut Session, parts: &Parts) -> Result<(), MoveError> {
    let other = unfinished(&mut destination.connection).await.map_err(MoveError::at(&destination.name))?;
    let Some(other) = other else { return Ok(()) };
    if other.parts.overlap(parts) {
        return Err(MoveError::Pending(format!(
            "shard {:?} has not yet ended its own move {} of these pieces to shard {:?}",
            destination.name, other.id, other.to_name
        )));
    }
    Ok(())
}

/// Hides the rows of the pieces from lists; a piece that the database owns, if it owns any, and then nothing is done.
async fn hide(destination: &mut Session, parts: &Parts) -> Result<Option<i32>, Error> {
    let mut transaction = transaction(&mut destination.connection, STATEMENT).await?;
    lock(&mut transaction, parts).await?;
    if let Some(piece) = any_owned(&mut transaction, parts).await? {
        transaction.rollback().await?;
        return Ok(Some(piece));
    }
    add_foreign(&mut transaction, parts).await?;
    transaction.commit().await?;
    Ok(None)
}

fn owned(destination: &Session, piece: i32) -> MoveError {
    MoveError::Refused(format!(
        "shard {:?} owns piece {piece} already; nothing was deleted there. Look at the state of the shards, and whether one of \
         the databases was put back to an older state",
        destination.name
    ))
}
