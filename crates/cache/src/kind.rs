//! One kind of things as all kinds know each other: its local tier, whatever the type of its values.

use crate::stats::{Counters, KindStats};

/// The most bytes that a key may have; a longer one is never cached.
pub(crate) const MAX_KEY: usize = 512;

/// The local tier of a kind.
pub(crate) trait Kind: Send + Sync + 'static {
    /// What these things are called.
    fn name(&self) -> &'static str;

    /// Removes what is older than `version` from this process, and keeps fills that have begun from bringing it back.
    fn invalidate(&self, key: &str, version: Option<u64>);

    /// What is counted.
    fn counters(&self) -> &Counters;

    /// What was counted.
    fn stats(&self) -> KindStats;
}
