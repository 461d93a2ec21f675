//! Copies the rows of the pieces, table by table, parents first.

use super::cursor::{Keys, close};
use super::error::MoveError;
use super::follow::round;
use super::journal::Phase;
use super::progress::Step;
use super::session::STATEMENT;
use super::work::Work;

/// Copies from the journal's cursor on to the end.
pub(super) async fn copy(work: &mut Work<'_>) -> Result<(), MoveError> {
    work.keys = None;
    work.unsettled.reset();
    while work.journal.cursor.table < work.tables.len() {
        work.tell(Step::Copy);
        list_keys(work).await?;
        round(work, true, STATEMENT).await?;
        fail::fail_point!("moving::chunk", |_| Err(MoveError::Stopped));
        if !work.options.pause.is_zero() {
            tokio::time::sleep(work.options.pause).await;
        }
    }
    if work.keys.take().is_some() {
        let source = &mut work.sessions.source;
        close(&mut source.connection).await.map_err(MoveError::at(&source.name))?;
    }
    work.journal.phase = Phase::Follow;
    work.save().await?;
    fail::fail_point!("moving::copied", |_| Err(MoveError::Stopped));
    Ok(())
}

/// Lists the rows of the table at the cursor, if they are found by other rows. They are listed after the cursor has come to the
/// table: from then on the rounds bring what the list lacks.
async fn list_keys(work: &mut Work<'_>) -> Result<(), MoveError> {
    let Work { sessions, journal, tables, keys, .. } = work;
    let cursor = &journal.cursor;
    let Some(table) = tables.get(cursor.table).filter(|table| table.is_through) else { return Ok(()) };
    if keys.as_ref().is_some_and(|keys| keys.table == cursor.table) {
        return Ok(());
    }
    let source = &mut sessions.source;
    let listed = Keys::list(&mut source.connection, (cursor.table, table), &journal.parts, cursor.after.as_deref());
    *keys = Some(listed.await.map_err(MoveError::at(&source.name))?);
    Ok(())
}
