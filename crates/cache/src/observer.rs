//! What a cache tells of itself, for metrics.

use std::fmt;
use std::time::Duration;

use crate::remote::LinkState;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The memory of this process.
    Local,
    /// What the processes share.
    Remote,
}

/// Why a read had to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Miss {
    /// Nothing was there.
    Absent,
    /// It was there for longer than its time.
    Expired,
    /// One of its tags, or its kind, has been given a new version, or the local tier was dropped.
    Invalidated,
    /// A tombstone was there.
    Tombstone,
    /// It may lack what the reader has written.
    NotFresh,
    /// It could not be read, or is of another release.
    Undecodable,
    /// The remote tier isn't used at the moment.
    Bypassed,
    /// The key is too long.
    Uncacheable,
}

impl Miss {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Absent,
        Self::Expired,
        Self::Invalidated,
        Self::Tombstone,
        Self::NotFresh,
        Self::Undecodable,
        Self::Bypassed,
        Self::Uncacheable,
    ];
}

/// Is told what happens, at once and on the path of the read: it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// A tier has answered, with what was current `age` ago.
    fn hit(&self, kind: &'static str, tier: Tier, age: Duration) {
        _ = (kind, tier, age);
    }

    /// No tier could answer.
    fn miss(&self, kind: &'static str, why: Miss) {
        _ = (kind, why);
    }

    /// The source of truth was asked.
    fn load(&self, kind: &'static str, took: Duration, is_ok: bool) {
        _ = (kind, took, is_ok);
    }

    /// A value that is past its time, and `age` old, stood in.
    fn stale(&self, kind: &'static str, age: Duration) {
        _ = (kind, age);
    }

    /// A read waited for the load of another one.
    fn coalesced(&self, kind: &'static str) {
        _ = kind;
    }

    /// The link to the remote tier has changed.
    fn link(&self, state: LinkState) {
        _ = state;
    }
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
