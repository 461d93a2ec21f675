//! The way of a move, from wherever its journal says that it is.

use std::time::Duration;

use tokio::time::Instant;

use super::compare::{Difference, compare, settle};
use super::copy::copy;
use super::delete::{Deleted, delete_some};
use super::error::MoveError;
use super::fence::{Fence, lower, raise};
use super::follow::{follow, rest};
use super::give::{give, install};
use super::journal::{Cursor, Phase, prune, unfinished};
use super::owned::drop_foreign;
use super::prepare::{clean, prepare};
use super::progress::Step;
use super::spec::Handover;
use super::triggers;
use super::work::Work;
use crate::Error;
use crate::shards::{Shards, store};

/// What must be left of a fence for the pieces to be given.
const MARGIN: Duration = Duration::from_millis(500);
/// The pause between two questions whether the old owner is drained.
const DRAINING: Duration = Duration::from_millis(50);
/// The pause after the first fence that was in vain; it grows with each.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the taking down of a fence is waited for. It comes down by itself.
const LOWER: Duration = Duration::from_secs(2);
/// How often everything is copied again after a comparison, or when the log of changes has become too long.
const AGAIN: u32 = 2;

/// What was in vain so far.
#[derive(Debug, Default)]
struct Tries {
    fences: u32,
    differences: u32,
    overruns: u32,
}

/// Goes on to the end.
pub(super) async fn run<T: Send + Sync + 'static>(
    shards: &Shards<T>,
    work: &mut Work<'_>,
    handover: &dyn Handover,
) -> Result<(), MoveError> {
    if work.journal.phase == Phase::Given {
        // Whoever gave them may have ended before the new owner knew.
        bring_map(shards, work).await?;
    } else {
        bring_over(shards, work, handover).await?;
    }
    end(work).await?;
    work.tell(Step::Done);
    Ok(())
}

async fn bring_over<T: Send + Sync + 'static>(
    shards: &Shards<T>,
    work: &mut Work<'_>,
    handover: &dyn Handover,
) -> Result<(), MoveError> {
    let mut tries = Tries::default();
    if work.journal.phase == Phase::Fence {
        // One that an earlier mover has left.
        take_down(work).await;
        work.journal.phase = Phase::Follow;
    }
    if work.journal.phase != Phase::Prepare && (work.journal.is_overrun() || !is_logged(work).await?) {
        tracing::warn!(
            id = work.journal.id,
            "not all changes were logged since a move was broken off; it copies again"
        );
        work.journal.phase = Phase::Prepare;
    }
    loop {
        let ended = match work.journal.phase {
            Phase::Prepare => prepare(work).await,
            Phase::Copy => copy(work).await,
            Phase::Follow | Phase::Fence => hand_over(shards, work, handover, &mut tries).await,
            Phase::Given => return Ok(()),
            Phase::Done | Phase::Abandoned => Err(MoveError::Refused("it is at its end".to_owned())),
        };
        match ended {
            Err(MoveError::Overrun) if tries.overruns < AGAIN => {
                tries.overruns += 1;
                tracing::warn!(id = work.journal.id, "more was written than a move could follow; it copies again");
                work.journal.phase = Phase::Prepare;
                work.save().await?;
            }
            ended => ended?,
        }
    }
}

/// Whether the changes of all tables are logged: a newer release may have more of them than the one that has begun the move.
async fn is_logged(work: &mut Work<'_>) -> Result<bool, MoveError> {
    let Work { sessions, tables, .. } = work;
    let source = &mut sessions.source;
    for table in tables.iter() {
        let installed = triggers::is_installed(&mut source.connection, table).await;
        if !installed.map_err(MoveError::at(&source.name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One fence, and all that must happen under it.
async fn hand_over<T: Send + Sync + 'static>(
    shards: &Shards<T>,
    work: &mut Work<'_>,
    handover: &dyn Handover,
    tries: &mut Tries,
) -> Result<(), MoveError> {
    // Histories may be long, and callers wait under the fence: what can be compared before is. First all of it, then what was
    // written meanwhile.
    for _ in 0..2 {
        follow(work).await?;
        if let Some(difference) = settle(work).await? {
            return copy_again(work, difference, tries).await;
        }
    }
    fail::fail_point!("moving::followed", |_| Err(MoveError::Stopped));
    work.tell(Step::Fence);
    tries.fences += 1;
    let length = work.options.fence.max(MARGIN * 2);
    let source = &mut work.sessions.source;
    let raised = raise(&mut source.connection, &mut work.journal, length).await;
    let fence = match raised.map_err(MoveError::at(&source.name)) {
        Ok(Some(fence)) => fence,
        Ok(None) => {
            return Err(MoveError::Refused(format!(
                "shard {:?} doesn't own all of the pieces any more as it did when the move began; abandon the move, and look at \
                 the state of the shards",
                source.name
            )));
        }
        Err(error) if error.is_passing() => {
            return again(work, tries, format!("transactions that had begun before did not end in time: {error}"))
                .await;
        }
        Err(error) => return Err(error),
    };
    fail::fail_point!("moving::fenced", |_| Err(MoveError::Stopped));
    let end = fence.end - MARGIN;
    let mut what = String::new();
    let checked = tokio::time::timeout_at(end, under_fence(work, handover, end, &mut what)).await;
    match checked {
        Ok(Ok(None)) => hand(shards, work, fence, tries).await,
        Ok(Ok(Some(difference))) => {
            take_down(work).await;
            copy_again(work, difference, tries).await
        }
        Ok(Err(error)) if error.is_passing() => {
            take_down(work).await;
            again(work, tries, format!("{what}: {error}")).await
        }
        Ok(Err(error)) => {
            // The pieces are written again at once, whoever resumes the move.
            take_down(work).await;
            Err(error)
        }
        Err(_) => {
            // What was broken off in its BEGIN has left its transaction open.
            work.sessions.end_transactions(LOWER).await?;
            take_down(work).await;
            again(work, tries, what).await
        }
    }
}

/// What must be so before the pieces are given: a table that differs, if one does. `what` tells what it is at.
async fn under_fence(
    work: &mut Work<'_>,
    handover: &dyn Handover,
    end: Instant,
    what: &mut String,
) -> Result<Option<Difference>, MoveError> {
    "the copy of the last changes".clone_into(what);
    work.tell(Step::Rest);
    rest(work, end).await?;
    fail::fail_point!("moving::rested", |_| Err(MoveError::Stopped));

    "the comparison of both sides".clone_into(what);
    work.tell(Step::Compare);
    if compare(work, end).await?.is_some() {
        // What isn't bound to keys, such as a retention, may have deleted rows all the same.
        rest(work, end).await?;
        if let Some(difference) = compare(work, end).await? {
            return Ok(Some(difference));
        }
    }
    fail::fail_point!("moving::compared", |_| Err(MoveError::Stopped));

    "the old owner's events, which are not on their way yet".clone_into(what);
    work.tell(Step::Drain);
    loop {
        match handover.is_drained(work.sessions.source.shard).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(sentence) => *what = format!("the old owner's events: {sentence}"),
        }
        tokio::time::sleep(DRAINING).await;
    }
    fail::fail_point!("moving::drained", |_| Err(MoveError::Stopped));
    Ok(None)
}

/// Gives the pieces, and brings the news to the new owner.
async fn hand<T: Send + Sync + 'static>(
    shards: &Shards<T>,
    work: &mut Work<'_>,
    fence: Fence,
    tries: &mut Tries,
) -> Result<(), MoveError> {
    work.tell(Step::Give);
    let source = &mut work.sessions.source;
    let given = give(&mut source.connection, &mut work.journal, fence).await;
    match given.map_err(MoveError::at(&source.name)) {
        Ok(Some(map)) => {
            fail::fail_point!("moving::given", |_| Err(MoveError::Stopped));
            install(shards, &map, &work.journal).await?;
            work.fenced = Some(fence.since.elapsed());
            Ok(())
        }
        Ok(None) => again(work, tries, "the fence came down before the pieces were given".to_owned()).await,
        Err(error) => {
            // The commit may stand though its answer was lost. Then nothing more may be written at the new owner.
            let source = &mut work.sessions.source;
            let known = unfinished(&mut source.connection).await.map_err(MoveError::at(&source.name))?;
            if known.is_some_and(|known| known.phase == Phase::Given) {
                work.journal.phase = Phase::Given;
                return bring_map(shards, work).await;
            }
            take_down(work).await;
            if error.is_passing() {
                return again(work, tries, format!("the change of the shard map: {error}")).await;
            }
            Err(error)
        }
    }
}

/// Another fence, a moment later, unless there were enough.
async fn again(work: &mut Work<'_>, tries: &Tries, what: String) -> Result<(), MoveError> {
    if tries.fences >= work.options.attempts {
        return Err(MoveError::Busy { fences: tries.fences, what });
    }
    tracing::info!(
        id = work.journal.id,
        fences = tries.fences,
        what,
        "a fence was in vain; the move tries another one"
    );
    tokio::time::sleep((PAUSE * tries.fences).mul_f64(0.5 + fastrand::f64())).await;
    Ok(())
}

/// Copies all of it again, after a comparison.
async fn copy_again(work: &mut Work<'_>, difference: Difference, tries: &mut Tries) -> Result<(), MoveError> {
    let table = work.tables.get(difference.table).map_or("", |table| table.into);
    tracing::warn!(
        id = work.journal.id,
        table,
        found = difference.found,
        "both sides of a move differ; it copies again"
    );
    if tries.differences >= AGAIN {
        return Err(MoveError::Differs { table: table.to_owned(), found: difference.found });
    }
    tries.differences += 1;
    work.journal.phase = Phase::Copy;
    work.journal.cursor = Cursor::default();
    work.save().await?;
    clean(work).await
}

/// Takes the fence down, as well as it can be done: it comes down by itself.
pub(super) async fn take_down(work: &mut Work<'_>) {
    let source = &mut work.sessions.source;
    let lowered = tokio::time::timeout(LOWER, lower(&mut source.connection, &work.journal.parts)).await;
    let problem = match lowered {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {LOWER:?}"),
    };
    tracing::warn!(shard = source.name, problem, "a fence could not be taken down; it comes down by itself");
}

/// Brings the map that the old owner has to the new one.
async fn bring_map<T: Send + Sync + 'static>(shards: &Shards<T>, work: &mut Work<'_>) -> Result<(), MoveError> {
    work.tell(Step::Give);
    let source = &mut work.sessions.source;
    let stored = store::read(&mut source.connection).await.map_err(MoveError::at(&source.name))?;
    let Some(stored) = stored else {
        let error = Error::Shards("it has no shard map any more; put its database back".to_owned());
        return Err(MoveError::at(&source.name)(error));
    };
    install(shards, &stored.map, &work.journal).await
}

/// Deletes the rows at the old owner, and what served the move.
async fn end(work: &mut Work<'_>) -> Result<(), MoveError> {
    work.tell(Step::Delete);
    // First the triggers, or the deletion would be logged.
    remove_triggers(work).await?;
    fail::fail_point!("moving::unlogged", |_| Err(MoveError::Stopped));
    for at in (0..work.tables.len()).rev() {
        delete_table(work, at).await?;
    }
    fail::fail_point!("moving::deleted", |_| Err(MoveError::Stopped));
    let Work { sessions, journal, .. } = &mut *work;
    let source = &mut sessions.source;
    drop_foreign(&mut source.connection, &journal.parts).await.map_err(MoveError::at(&source.name))?;
    journal.phase = Phase::Done;
    work.save().await?;
    let source = &mut work.sessions.source;
    prune(&mut source.connection).await.map_err(MoveError::at(&source.name))
}

async fn delete_table(work: &mut Work<'_>, at: usize) -> Result<(), MoveError> {
    loop {
        let Work { sessions, journal, tables, options, .. } = &mut *work;
        let source = &mut sessions.source;
        // The old owner keeps what the new one has as history.
        let Some(table) = tables.get(at).filter(|table| !table.is_history) else { return Ok(()) };
        let delete = delete_some(&mut source.connection, table, &journal.parts, options.chunk.max(1));
        match delete.await.map_err(MoveError::at(&source.name))? {
            Deleted::Rows(0) => return Ok(()),
            Deleted::Rows(rows) => journal.deleted += i64::try_from(rows).unwrap_or(i64::MAX),
            Deleted::Owned(piece) => {
                return Err(MoveError::Refused(format!(
                    "shard {:?} owns piece {piece} again, with keys that it has given away; its rows are left alone. Look at the \
                     state of the shards, and whether a database was put back to an older state",
                    source.name
                )));
            }
        }
        work.save().await?;
        work.tell(Step::Delete);
        fail::fail_point!("moving::deleting", |_| Err(MoveError::Stopped));
        if !work.options.pause.is_zero() {
            tokio::time::sleep(work.options.pause).await;
        }
    }
}

/// Ends the logging of changes at the old owner.
pub(super) async fn remove_triggers(work: &mut Work<'_>) -> Result<(), MoveError> {
    let Work { sessions, tables, .. } = work;
    let source = &mut sessions.source;
    for table in tables.iter() {
        let remove = triggers::remove(&mut source.connection, table.name);
        remove.await.map_err(MoveError::at(&source.name))?;
    }
    triggers::empty_log(&mut source.connection).await.map_err(MoveError::at(&source.name))
}
