//! Keys spread over several PostgreSQL databases.
//!
//! A **space** is a set of keys that are dealt out together, such as the ids of accounts. It is cut into **pieces**: 1024 slots
//! that a hash of the key names ([`slot_of`]), or ranges between sorted split points. A [`ShardMap`] says which **shard** owns
//! each piece, and since which version: only the owner of a piece at version v makes v + 1, in a transaction of its own
//! database, so that there is no moment with two owners. Maps merge piece by piece by the higher version; each database keeps
//! one, and whoever meets a database that is behind brings it up to date ([`Shards::refresh`]).
//!
//! A write names the pieces that it writes in ([`Place`]), and begins by entering them ([`Postgres::write_at`]): a database that
//! doesn't own them refuses it ([`Error::StaleMap`]), one that is handing them over does so too ([`Error::Moving`]), and whoever
//! takes a piece away waits until all who have entered it are done. [`Shards::route`] does what this asks for: it looks up the
//! owner, and looks again when the map was behind.
//!
//! # Backups
//! A database that is put back to an older copy believes to own what it has given away since: the others know better, and the
//! next refresh makes it lose those pieces. Of pieces that it was given since, its copy has no rows, and nobody can tell: those
//! rows are gone from where they came from as well. So who moves pieces takes backups of both databases afterwards, and who puts
//! one back puts back what was moved to it too. A replica that is promoted without the last commits is an older copy as well: where
//! pieces move, replication is synchronous.
//!
//! [`Postgres::write_at`]: crate::Postgres::write_at
//! [`Error::StaleMap`]: crate::Error::StaleMap
//! [`Error::Moving`]: crate::Error::Moving

mod cluster;
mod format;
mod gather;
mod map;
mod merge;
pub mod moving;
mod open;
mod options;
pub(crate) mod place;
pub mod plan;
mod refresh;
mod route;
mod sample;
mod seed;
mod slots;
pub mod store;

pub use cluster::{Shard, Shards};
pub use gather::{GatherError, same_marks};
pub use map::{
    Located, MAX_RANGES, MAX_SHARDS, MAX_SPLIT, MapError, PieceInfo, PieceRange, ShardMap, ShardName, SpaceSpec,
    Strategy,
};
pub use merge::Merged;
pub use options::{ShardOptions, ShardTimes};
pub use place::{Place, ShardId};
pub use plan::Move;
pub use route::Misplaced;
pub use slots::{SLOTS, range_piece, slot_of};
pub use store::{COMPONENT, StoredMap};
