//! Why a move can't be made, or not yet.

use crate::{Error, Kind};

/// Why a move has ended before its end. Except for [`MoveError::Refused`], it can be resumed: its journal knows where it is.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// It can't be made so; nothing was changed.
    #[error("the move can't be made: {0}")]
    Refused(String),
    /// Another move is not at its end.
    #[error("{0}; resume it, or abandon it, first")]
    Pending(String),
    /// Another process is at it.
    #[error("another process moves pieces {0}; wait for its end, and try again")]
    Running(String),
    /// The fence's time was too short, each time.
    #[error(
        "the pieces could not be handed over within {fences} fences; what took the time: {what}. Resume the move at a quieter \
         time, or allow a longer fence"
    )]
    Busy {
        /// How many fences were put up.
        fences: u32,
        /// What took the time.
        what: String,
    },
    /// Both sides don't agree.
    #[error(
        "the rows of {table} in the moved pieces differ between the two databases: {found}, and copying them again did not \
         help. The old owner keeps the pieces. Check what else writes to that table at the new owner (triggers, jobs), and that \
         both servers are of one version; then resume the move"
    )]
    Differs {
        /// The table.
        table: String,
        /// What was found.
        found: String,
    },
    /// A database.
    #[error("shard {shard:?}: {source}; the move can be resumed")]
    Shard {
        /// The shard's name.
        shard: String,
        /// What went wrong there.
        source: Error,
    },
    /// The log of changes has become too long; it copies again when it is resumed.
    #[error("more was written than the move could follow; resume it at a quieter time, and it copies again")]
    Overrun,
    /// It was stopped at a crash point, in a test.
    #[error("the move was stopped at a crash point; resume it")]
    Stopped,
}

impl MoveError {
    /// For `map_err`: what went wrong in the database of a shard.
    pub(super) fn at<E: Into<Error>>(shard: &str) -> impl Fn(E) -> Self + '_ {
        move |source| Self::Shard { shard: shard.to_owned(), source: source.into() }
    }

    /// Whether the same may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Shard { source, .. } if matches!(source.kind(), Kind::Unavailable | Kind::Conflict))
    }
}
