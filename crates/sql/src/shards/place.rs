//! A piece of the keys, as a write names it.

/// The stable number of a shard. What is numbered by it, such as its lanes on a bus, keeps it for ever; it isn't reused for
/// another database.
pub type ShardId = u16;

/// A piece of a space of keys at a version of its ownership: what a write must find owned in its database (SH-).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The space of keys.
    pub space: i16,
    /// The piece of it: a slot, or the number of a range.
    pub piece: i32,
    /// How often the ownership of the piece has changed, from 1.
    pub version: i64,
}

impl Place {
    /// For a database that holds everything, such as SQLite.
    pub const WHOLE: Place = Place { space: 0, piece: 0, version: 0 };
}

/// The pieces in the one order in which their locks are taken, each once.
pub(crate) fn in_order(places: &[Place]) -> Vec<Place> {
    let mut places = places.to_vec();
    places.sort_unstable();
    places.dedup();
    places
}
