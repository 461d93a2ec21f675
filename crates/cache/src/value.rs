//! What is cached, what a load gives, and what its errors must tell.

use crate::position::Position;

/// A thing that can be cached. Only what everybody may know who could read the memory of Redis: no secrets.
pub trait Value: Send + Sync + Sized + 'static {
    /// What these things are called in keys and statistics: `[a-z0-9-]{1,32}`.
    const KIND: &'static str;
    /// The number of the encoding. With another one, what earlier releases have stored is a miss (CA-1).
    const SCHEMA: u16;

    /// The bytes that the remote tier stores (CA-9).
    fn encode(&self) -> Vec<u8>;

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else, which is a miss then.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// About how many bytes it has in memory.
    fn weight(&self) -> usize;
}

/// What a load has found in the source of truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<V> {
    /// The value; `None` when there is none of that key, which is cached for a short time (CA-5).
    pub value: Option<V>,
    /// The version of the aggregate, which grows with each change; 0 for "absent" and for what has no versions.
    pub version: u64,
    /// The place in the source's log, taken before the read began. Without one the entry answers no reader with a token.
    pub position: Option<Position>,
    /// `false`: it is answered and stored nowhere, such as the rest of a person who was erased.
    pub keep: bool,
}

/// The error of loads. It goes to all readers that wait for the same load.
pub trait LoadError: Clone + Send + Sync + 'static {
    /// Whether the source of truth is away or too busy: a stale value may then stand in, within its bound (CA-8).
    fn is_unavailable(&self) -> bool;

    /// Too many loads are under way; none was begun.
    fn overloaded() -> Self;
}
