//! N databases under one map.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::map::{MapError, ShardMap, ShardName};
use super::options::ShardTimes;
use super::place::{Place, ShardId};
use crate::{Error, Postgres};

/// One database of several.
pub struct Shard<T> {
    /// Its stable number.
    pub id: ShardId,
    /// What people call it.
    pub name: String,
    /// Its database.
    pub db: Postgres,
    /// What the service makes of it.
    pub part: T,
    pub(super) standing: ArcSwap<Standing>,
    pub(super) answers: AtomicBool,
}

/// What is known of who answers behind a shard's URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not been reached yet.
    Unknown,
    /// It says that it is this shard.
    Known,
    /// It is another one, in a sentence.
    Refused(String),
}

impl<T> Shard<T> {
    pub(super) fn new(id: ShardId, name: String, db: Postgres, part: T) -> Self {
        let standing = ArcSwap::from_pointee(Standing::Unknown);
        Self { id, name, db, part, standing, answers: AtomicBool::new(false) }
    }

    /// Whether its database has answered when the maps were read last: for a check.
    pub fn is_reached(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether its database may be used: it has been reached, and is the one that it is taken for.
    ///
    /// # Errors
    /// [`Error::Unreached`] before it has been reached, and [`Error::Shards`] when it is another one.
    pub fn check(&self) -> Result<(), Error> {
        match &**self.standing.load() {
            Standing::Known => Ok(()),
            Standing::Unknown => Err(Error::Unreached(self.name.clone())),
            Standing::Refused(sentence) => Err(Error::Shards(sentence.clone())),
        }
    }
}

impl<T> fmt::Debug for Shard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// N databases under one map. `T` is what a service makes of each. Clones share everything.
pub struct Shards<T> {
    pub(super) inner: Arc<Inner<T>>,
}

pub(super) struct Inner<T> {
    /// Sorted by number.
    pub shards: Vec<Arc<Shard<T>>>,
    /// Written under the lock of `refreshed` alone.
    pub map: ArcSwap<ShardMap>,
    pub times: ShardTimes,
    /// Held by who reads the maps of all.
    pub refreshed: Mutex<Option<Refreshed>>,
}

/// How the maps were read last.
#[derive(Clone, Copy)]
pub(super) struct Refreshed {
    pub began: Instant,
    pub ended: Instant,
    pub succeeded: bool,
}

impl<T> Shards<T> {
    /// The map as it is known here.
    pub fn map(&self) -> Arc<ShardMap> {
        self.inner.map.load_full()
    }

    /// The configured shards, sorted by number.
    pub fn shards(&self) -> &[Arc<Shard<T>>] {
        &self.inner.shards
    }

    /// A shard by its number; `None` when it isn't configured.
    pub fn shard(&self, id: ShardId) -> Option<&Arc<Shard<T>>> {
        let at = self.inner.shards.binary_search_by_key(&id, |shard| shard.id).ok()?;
        self.inner.shards.get(at)
    }

    /// The shard that owns a key by the map as it is known here, and the key's place.
    ///
    /// # Errors
    /// [`Error::Shards`] when there is no such space, or its database is another one; [`Error::Unreached`] when that has not been
    /// reached since the start; [`Error::Unconfigured`] when the shard came to the map after this process had started.
    pub fn locate(&self, space: i16, key: &str) -> Result<(Arc<Shard<T>>, Place), Error> {
        let located = self.inner.map.load().locate(space, key);
        let located = located.ok_or_else(|| Error::Shards(MapError::UnknownSpace(space).to_string()))?;
        let shard = self.shard(located.shard).ok_or_else(|| Error::Unconfigured(self.described(located.shard)))?;
        shard.check()?;
        Ok((shard.clone(), located.place))
    }

    /// The shards that own keys by the map as it is known here, and aren't configured.
    pub(super) fn unconfigured(&self) -> Vec<ShardName> {
        let map = self.inner.map.load();
        let is_unknown = |shard: &&ShardName| self.shard(shard.id).is_none() && map.is_owner(shard.id);
        map.shards().iter().filter(is_unknown).cloned().collect()
    }

    /// A shard of the map, by its number and its name there.
    fn described(&self, id: ShardId) -> String {
        let map = self.inner.map.load();
        let name = map.shards().iter().find(|shard| shard.id == id).map_or("", |shard| shard.name.as_str());
        format!("{id}, {name:?},")
    }
}

impl<T> Clone for Shards<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> fmt::Debug for Shards<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards").field("shards", &self.inner.shards).finish_non_exhaustive()
    }
}
