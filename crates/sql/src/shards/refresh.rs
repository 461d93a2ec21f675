//! Bringing the maps together: those of all databases are read and merged, and who is behind gets the newer one.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::cluster::{Inner, Refreshed, Shard, Shards, Standing};
use super::map::ShardMap;
use super::place::ShardId;
use super::store::{self, StoredMap};
use crate::Error;

/// How close together two refreshes that calls have asked for may lie.
const APART: Duration = Duration::from_millis(10);

impl<T: Send + Sync + 'static> Shards<T> {
    /// Reads the maps of all shards in reach, merges them, and installs the newer one in those that are behind. Of several who ask
    /// at once, one does it for all.
    ///
    /// # Errors
    /// [`Error::Unreached`] when no shard is in reach.
    pub async fn refresh(&self) -> Result<(), Error> {
        let asked = Instant::now();
        self.refresh_unless(true, |last| last.began >= asked).await
    }

    /// As [`Shards::refresh`], for a call that has met a map that is behind: what was read when it asked, or just before, will do.
    pub(super) async fn refresh_soon(&self) -> Result<(), Error> {
        let asked = Instant::now();
        self.refresh_unless(false, |last| last.ended + APART >= asked).await
    }

    async fn refresh_unless(&self, patiently: bool, is_enough: impl Fn(&Refreshed) -> bool) -> Result<(), Error> {
        let mut refreshed = self.inner.refreshed.lock().await;
        if let Some(last) = refreshed.as_ref().filter(|last| is_enough(last)) {
            return if last.succeeded { Ok(()) } else { Err(self.none_reached()) };
        }
        let began = Instant::now();
        let succeeded = renew(&self.inner, patiently).await;
        *refreshed = Some(Refreshed { began, ended: Instant::now(), succeeded });
        if succeeded { Ok(()) } else { Err(self.none_reached()) }
    }

    fn none_reached(&self) -> Error {
        let names: Vec<&str> = self.shards().iter().map(|shard| shard.name.as_str()).collect();
        Error::Unreached(names.join(", "))
    }
}

/// Refreshes from time to time, until all clones are gone.
pub(super) async fn keep_fresh<T: Send + Sync + 'static>(inner: Weak<Inner<T>>) {
    loop {
        let Some(pause) = inner.upgrade().map(|inner| pause(&inner)) else { return };
        // Instances that have started together needn't ask together.
        tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        let Some(inner) = inner.upgrade() else { return };
        // Each shard that is out of reach was told of when it went.
        if let Err(error) = (Shards { inner }).refresh().await {
            tracing::debug!(%error, "no shard map could be read");
        }
    }
}

fn pause<T>(inner: &Inner<T>) -> Duration {
    let is_awaited = |shard: &Arc<Shard<T>>| **shard.standing.load() == Standing::Unknown;
    if inner.shards.iter().any(is_awaited) { inner.times.refresh / 5 } else { inner.times.refresh }
}

/// Does it, under the lock of `refreshed`; returns whether any shard was in reach. Where a call waits, a shard that has not
/// answered before isn't waited for as long.
async fn renew<T: Send + Sync + 'static>(inner: &Inner<T>, patiently: bool) -> bool {
    let bound = inner.times.read;
    let known = inner.map.load_full();
    let asked = known.clone();
    let reads = inner.shards.iter().cloned().map(move |shard| {
        let known = asked.clone();
        async move {
            let bound = if patiently || shard.is_reached() { bound } else { bound / 10 };
            let stored = read_from(&shard, &known, bound).await;
            (shard, stored)
        }
    });
    let reads: Vec<_> = join_all(reads.collect::<Vec<_>>()).await;
    let mut map = ShardMap::clone(&known);
    let (mut reached, mut installed) = (Vec::new(), BTreeSet::new());
    for (shard, stored) in reads {
        if let Some(stored) = judge(&shard, stored, &mut map) {
            if let Some(stored) = &stored {
                installed.insert(shard.id);
                installed.extend(&stored.installed);
            }
            reached.push((shard, stored));
        }
    }
    let map = Arc::new(map);
    inner.map.store(map.clone());
    let any = !reached.is_empty();
    let had_map = Arc::new(installed);
    let installs = reached.into_iter().map(|(shard, stored)| bring(shard, stored, map.clone(), had_map.clone(), bound));
    let brought: Vec<_> = join_all(installs.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    let mut installed = (*had_map).clone();
    installed.extend(brought.iter().map(|(shard, _)| shard.id));
    let installed = Arc::new(installed);
    let behind = brought.into_iter().filter(|(_, noted)| !noted.is_superset(&installed));
    let notes = behind.map(|(shard, _)| note(shard, installed.clone(), bound));
    join_all(notes.collect::<Vec<_>>()).await;
    any
}

/// What the answer of a database says of its standing; its map, if there is one, when it may be used. `map` then takes over what is
/// newer in it: nothing comes from a database that is refused.
fn judge<T>(
    shard: &Shard<T>,
    stored: Result<Option<StoredMap>, Error>,
    map: &mut ShardMap,
) -> Option<Option<StoredMap>> {
    let united = match &stored {
        Ok(Some(stored)) => agree(shard, stored, map).map(Some),
        Ok(None) if **shard.standing.load() == Standing::Unknown => Ok(None),
        Ok(None) => Err(lost(&shard.name)),
        Err(Error::Shards(sentence)) => Err(Error::Shards(sentence.clone())),
        Err(error) => {
            if shard.answers.swap(false, Ordering::Relaxed) {
                tracing::warn!(shard = shard.name, %error, "a shard doesn't answer");
            } else {
                tracing::debug!(shard = shard.name, %error, "a shard doesn't answer");
            }
            return None;
        }
    };
    shard.answers.store(true, Ordering::Relaxed);
    match united {
        Ok(Some(united)) => {
            *map = united;
            approve(shard);
        }
        Ok(None) => {}
        Err(error) => {
            refuse(shard, error);
            return None;
        }
    }
    stored.ok()
}

/// The map with what a database knows better, if it is the one that it is taken for.
fn agree<T>(shard: &Shard<T>, stored: &StoredMap, map: &ShardMap) -> Result<ShardMap, Error> {
    store::check_identity(stored, shard.id, &shard.name)?;
    store::check_group(stored, map, "the others")?;
    store::unite(&shard.name, map, &stored.map)
}

/// A database that had a map and has none any more is an empty one.
fn lost(name: &str) -> Error {
    Error::Shards(format!("the database of the shard {name:?} has lost its map, and so its rows; put its backup back"))
}

fn approve<T>(shard: &Shard<T>) {
    if **shard.standing.load() != Standing::Known {
        tracing::info!(shard = shard.name, "a shard is there");
        shard.standing.store(Arc::new(Standing::Known));
    }
}

fn refuse<T>(shard: &Shard<T>, error: Error) {
    let sentence = match error {
        Error::Shards(sentence) => sentence,
        error => error.to_string(),
    };
    let standing = Standing::Refused(sentence);
    if **shard.standing.load() != standing {
        tracing::error!(shard = shard.name, ?standing, "the database of a shard can't be used");
        shard.standing.store(Arc::new(standing));
    }
}

/// Installs the map in a database that is behind. One that can't at this moment gets it the next time. Returns the shard, with
/// those that it knows to have had a map, when it has one now.
async fn bring<T>(
    shard: Arc<Shard<T>>,
    stored: Option<StoredMap>,
    map: Arc<ShardMap>,
    had_map: Arc<BTreeSet<ShardId>>,
    bound: Duration,
) -> Option<(Arc<Shard<T>>, BTreeSet<ShardId>)> {
    let mut noted = BTreeSet::new();
    match stored {
        Some(mut stored) => {
            noted = stored.installed;
            if !stored.map.merge(&map) {
                return Some((shard, noted));
            }
        }
        None if was_given(&map, shard.id) || (had_map.contains(&shard.id) && map.is_owner(shard.id)) => {
            // Another process may have made its first map since it was read.
            match read_from(&shard, &map, bound).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    refuse(&shard, lost(&shard.name));
                    return None;
                }
                Err(error) => {
                    tracing::warn!(shard = shard.name, %error, "whether a shard has lost its map can't be read yet");
                    return None;
                }
            }
        }
        None => tracing::info!(shard = shard.name, "the database of a shard has no map yet; it is taken for a new one"),
    }
    let install = async {
        let mut connection = shard.db.reader().acquire().await?;
        store::install(&mut connection, shard.id, &shard.name, &map).await
    };
    match within(bound, install).await {
        Ok(_) => {
            approve(&shard);
            return Some((shard, noted));
        }
        Err(error @ Error::Shards(_)) => refuse(&shard, error),
        Err(error) => tracing::warn!(shard = shard.name, %error, "a newer shard map can't be installed yet"),
    }
    None
}

/// Has a database know which others have a map. One that can't at this moment hears of it the next time.
async fn note<T>(shard: Arc<Shard<T>>, installed: Arc<BTreeSet<ShardId>>, bound: Duration) {
    let noting = async {
        let mut connection = shard.db.reader().acquire().await?;
        store::note_installed(&mut connection, &installed).await
    };
    if let Err(error) = within(bound, noting).await {
        tracing::warn!(shard = shard.name, %error, "which shards have a map can't be noted in a database yet");
    }
}

/// Whether a shard owns anything that it didn't own from the first map on: then it had a map.
fn was_given(map: &ShardMap, shard: ShardId) -> bool {
    map.spaces().any(|(space, _)| map.pieces(space).any(|info| info.shard == shard && info.version > 1))
}

async fn read_from<T>(shard: &Shard<T>, known: &ShardMap, bound: Duration) -> Result<Option<StoredMap>, Error> {
    let read = async {
        let mut connection = shard.db.reader().acquire().await?;
        store::read_unless(&mut connection, known).await
    };
    within(bound, read).await
}

async fn within<R>(bound: Duration, asked: impl Future<Output = Result<R, Error>>) -> Result<R, Error> {
    match tokio::time::timeout(bound, asked).await {
        Ok(result) => result,
        Err(_) => Err(Error::Database(sqlx::Error::PoolTimedOut)),
    }
}
