//! Read replicas: which servers answer reads, how fresh they are, and which one is written to (RR-).
//!
//! Each server of a group is asked twice a second what it is and how far it has replayed ([`probe`]); the [`table`] of what they said
//! decides who is read from and written to. [`read`] takes a read there, and elsewhere when that fails.

pub(crate) mod answer;
pub(crate) mod discover;
mod freshness;
pub(crate) mod group;
mod history;
mod position;
pub(crate) mod probe;
pub(crate) mod read;
mod table;
pub(crate) mod written;

pub use freshness::Freshness;
pub use group::ReplicaStats;
pub use position::{InvalidPosition, WalPosition};
