//! What is moved, and how.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::shards::ShardId;

/// A table whose rows move with their keys.
///
/// Its primary key is unique over all shards (no sequence of one database), and its foreign keys point to tables that come
/// before it, not to itself. All columns and the names here are our own text, never a caller's.
#[derive(Clone, Copy, Debug)]
pub struct MovedTable {
    /// The table.
    pub table: &'static str,
    /// The space of keys whose pieces its rows belong to.
    pub space: i16,
    /// The columns of its primary key.
    pub primary_key: &'static [&'static str],
    /// Which of its rows belong to a piece.
    pub rows: Rows,
    /// Where they go.
    pub target: Target,
}

/// How the rows of a piece are found.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// By columns of the table itself.
    Columns {
        /// The column with the slot of the key. Moving a hashed space needs an index on it.
        slot: &'static str,
        /// The column with the key.
        key: &'static str,
    },
    /// By other rows, to which a foreign key binds these.
    Through {
        /// A condition over the table's alias `t`, in which `{piece}` stands for the condition on the piece, such as
        /// `t.session IN (SELECT s.id FROM session s WHERE {piece})`. It should be served by an index on the columns of `t` in it:
        /// rows that are looked for from `t` on have the server walk through those of all other pieces too.
        condition: &'static str,
        /// The expression of the slot in it, such as `s.slot`.
        slot: &'static str,
        /// The expression of the key in it, such as `s.account`.
        key: &'static str,
    },
}

/// Where the rows of a table go at the new owner.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Into the same table. They are deleted at the old owner in the end.
    Same,
    /// Into a table of history: appended, never changed, left at the old owner to age. The history is a moved table itself,
    /// with [`Target::Same`], so that it goes along when its piece moves on.
    History {
        /// The table of history.
        table: &'static str,
        /// The list of a SELECT over the alias `t`, whose names are columns of the history.
        select: &'static str,
        /// The columns of the history's primary key.
        primary_key: &'static [&'static str],
    },
}

/// Which pieces move where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoveSpec {
    /// The space of keys.
    pub space: i16,
    /// Its pieces, each once.
    pub pieces: Vec<i32>,
    /// Their owner.
    pub from: ShardId,
    /// Their next one.
    pub to: ShardId,
}

/// How a move goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveOptions {
    /// How many rows are moved at once. 500 by default.
    pub chunk: i64,
    /// How long a fence stands at most, and with it how long writes to what moves wait: beside it up to 2 s while
    /// transactions that have begun before are waited for. 2.5 s by default, at least 1 s; both together must be less than
    /// [`ShardTimes::route`](crate::shards::ShardTimes).
    pub fence: Duration,
    /// How many fences are tried before the move gives up, to be resumed. 5 by default.
    pub attempts: u32,
    /// The pause between two chunks, to spare callers. None by default.
    pub pause: Duration,
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self { chunk: 500, fence: Duration::from_millis(2500), attempts: 5, pause: Duration::ZERO }
    }
}

/// What else must have been handed over before a piece changes its owner.
#[async_trait]
pub trait Handover: Send + Sync {
    /// Whether everything that the old owner has written so far and others must hear of is on its way, such as its events on
    /// the bus: nothing may come from it after the new owner has begun. Asked every 50 ms while the fence is up.
    ///
    /// # Errors
    /// A sentence for the log; it is asked again.
    async fn is_drained(&self, from: ShardId) -> Result<bool, String>;
}

/// For tables of which nobody hears: always drained.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingToDrain;

#[async_trait]
impl Handover for NothingToDrain {
    async fn is_drained(&self, _from: ShardId) -> Result<bool, String> {
        Ok(true)
    }
}
