//! How the databases of the shards are reached.

use std::time::Duration;

use super::place::ShardId;
use crate::PostgresOptions;

/// One shard, as it is configured.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Its stable number.
    pub id: ShardId,
    /// What people call it.
    pub name: String,
    /// Its database.
    pub postgres: PostgresOptions,
}

/// How long things take at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardTimes {
    /// How long a call is routed again and again while its map is behind or its piece is moving. 8 s by default: longer than a
    /// move waits for open transactions and its fence stands ([`MoveOptions::fence`](super::moving::MoveOptions)).
    pub route: Duration,
    /// How long one shard is waited for when its map is read or renewed. 1 s by default.
    pub read: Duration,
    /// The pause between two looks at the maps. 5 s by default, and a fifth of it while a shard has not been reached.
    pub refresh: Duration,
}

impl Default for ShardTimes {
    fn default() -> Self {
        Self { route: Duration::from_secs(8), read: Duration::from_secs(1), refresh: Duration::from_secs(5) }
    }
}
