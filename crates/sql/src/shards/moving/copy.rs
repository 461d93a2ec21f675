//! Copies the rows of the pieces, table by table, parents first.

use super::error::MoveError;
use super::follow::round;
use super::journal::Phase;
use super::progress::Step;
use super::session::STATEMENT;
use super::work::Work;

/// Copies from the journal's cursor on to the end.
pub(super) async fn copy(work: &mut Work<'_>) -> Result<(), MoveError> {
    while work.journal.cursor.table < work.tables.len() {
        work.tell(Step::Copy);
        round(work, true, STATEMENT).await?;
        fail::fail_point!("moving::chunk", |_| Err(MoveError::Stopped));
        if !work.options.pause.is_zero() {
            tokio::time::sleep(work.options.pause).await;
        }
    }
    work.journal.phase = Phase::Follow;
    work.save().await?;
    fail::fail_point!("moving::copied", |_| Err(MoveError::Stopped));
    Ok(())
}
