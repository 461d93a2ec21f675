//! Moves pieces of a space of keys from one database to another while both serve (SH-).
//!
//! A [`Mover`] copies the rows of the pieces, follows what is written meanwhile through a log that triggers write in each
//! write's transaction, compares histories, puts up a fence at the old owner (writes wait, transactions that have begun end),
//! copies the rest, compares both sides by row hash (of histories, which may be long, what was written since), waits until the old
//! owner's events are out, gives the pieces to the new owner in one transaction of the old one, and deletes the rows there. A fence
//! ends by itself after some seconds, whatever becomes of the mover. At no moment do two databases own a piece: the old one stops
//! first.
//!
//! Where a move is stands in the old owner's journal, so that whoever comes later resumes it, however it was ended. A session
//! lock in each of the two databases sees to it that there is one mover at a time; it is held by the connections that do the
//! work, so that nothing of an earlier mover can arrive late.
//!
//! What a table must be like is said at [`MovedTable`].

mod changes;
mod compare;
mod copy;
mod cursor;
mod delete;
mod error;
mod fence;
mod follow;
mod give;
mod journal;
mod mover;
mod owned;
mod pieces;
mod prepare;
mod progress;
mod run;
mod session;
mod spec;
mod split;
mod status;
mod tables;
mod triggers;
mod unsettled;
mod work;

pub use error::MoveError;
pub use mover::Mover;
pub use progress::{MoveProgress, MoveReport, PendingMove, Step};
pub use spec::{Handover, MoveOptions, MoveSpec, MovedTable, NothingToDrain, Rows, Target};
pub use split::split;
pub use status::{PiecesOwned, RowsEstimate, ShardStatus, status};

use crate::Component;

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("migrations/shard_moves-postgres");

/// The journal of moves and the log of changes. PostgreSQL only, beside the tables of the shard map.
pub const COMPONENT: Component = Component { name: "shard_moves", migrator: &MIGRATOR };
