//! What a move tells of itself.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::shards::ShardId;

/// A step of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Leftovers go at the new owner, and changes at the old one begin to be logged.
    Prepare,
    /// The rows are copied.
    Copy,
    /// What was written meanwhile is copied.
    Follow,
    /// Writes begin to wait, and those under way end.
    Fence,
    /// The last changes are copied.
    Rest,
    /// Both sides are compared.
    Compare,
    /// What others must hear of is on its way.
    Drain,
    /// The new owner is written down.
    Give,
    /// The rows are deleted at the old owner.
    Delete,
    /// Nothing is left to do.
    Done,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::Follow => "follow",
            Self::Fence => "fence",
            Self::Rest => "rest",
            Self::Compare => "compare",
            Self::Drain => "drain",
            Self::Give => "give",
            Self::Delete => "delete",
            Self::Done => "done",
        })
    }
}

/// How far a move is. It comes at the beginning of each step and after each chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoveProgress {
    /// The move.
    pub id: String,
    /// The step that it is at.
    pub step: Step,
    /// How many rows it has copied.
    pub copied: i64,
    /// How many changes it has followed.
    pub followed: i64,
    /// How many rows it has deleted at the old owner.
    pub deleted: i64,
    /// How many fences it has put up.
    pub fences: i32,
}

/// What a move has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoveReport {
    /// The move.
    pub id: String,
    /// The space of keys.
    pub space: i16,
    /// The pieces.
    pub pieces: Vec<i32>,
    /// Their owner before.
    pub from: ShardId,
    /// Their owner now.
    pub to: ShardId,
    /// How many rows were copied.
    pub copied: i64,
    /// How many changes were followed.
    pub followed: i64,
    /// How many rows were deleted at the old owner.
    pub deleted: i64,
    /// How many fences were put up.
    pub fences: i32,
    /// How long the last of them stood; `None` when an earlier run has put it up.
    pub fenced: Option<Duration>,
    /// How long this run took.
    pub took: Duration,
}

/// A move that isn't at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingMove {
    /// The move.
    pub id: String,
    /// The space of keys.
    pub space: i16,
    /// The pieces.
    pub pieces: Vec<i32>,
    /// Their owner when it began.
    pub from: ShardId,
    /// Their next one.
    pub to: ShardId,
    /// Its name.
    pub to_name: String,
    /// What stands in the journal: `prepare`, `copy`, `follow`, `fence` or `given`.
    pub phase: String,
    /// How many rows it has copied.
    pub copied: i64,
    /// How many changes it has followed.
    pub followed: i64,
    /// How many rows it has deleted at the old owner.
    pub deleted: i64,
    /// How many fences it has put up.
    pub fences: i32,
    /// Whether the log of changes has become too long while it stood still: it copies again when it is resumed.
    pub is_overrun: bool,
    /// How many seconds ago it began.
    pub age: i64,
    /// How many seconds ago it has last noted anything.
    pub idle: i64,
}
