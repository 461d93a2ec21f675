//! Drops from a cache what an outbox has announced, though whoever has announced it did so already (CA-3).

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, select_all};
use meshwork_cache::{LinkState, Replay, Tiers};
use meshwork_events::{Envelope, Source, SourceBatch};
use tokio_util::sync::CancellationToken;

use super::places::{Heads, Places, problem};

/// The pause between two looks; a beat shortens the second part of it.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(150));
/// The pause after the database has failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How many events are read at once.
const BATCH: usize = 256;
/// How many of them are dropped at once.
const AT_ONCE: usize = 16;
/// How many events of a partition are gone through after an outage; behind more, everything is dropped.
const BACKLOG: i64 = 10_000;

/// What an event makes outdated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// The kind of the entry.
    pub kind: &'static str,
    /// Its key.
    pub key: String,
    /// The version that it has since: older ones are outdated.
    pub version: u64,
    /// The tags of what is made of it.
    pub tags: &'static [&'static str],
}

/// Follows an outbox from its end, several times a second, and drops what it announces from a cache: what a process has committed
/// that ended before it told the cache, or that could not reach it (CA-3).
///
/// How far it has come is noted in the remote tier. When that comes back, what was committed meanwhile is dropped before anybody
/// reads from it ([`Replay`]).
pub struct Follower {
    tiers: Tiers,
    /// Under which it is noted how far it has come.
    name: String,
    source: Arc<dyn Source>,
    of: fn(&Envelope) -> Option<Invalidated>,
    places: Places,
}

/// A follower, as the tiers know it: they don't keep it.
struct Hook(Weak<Follower>);

#[async_trait]
impl Replay for Hook {
    async fn replay(&self) -> Result<(), String> {
        match self.0.upgrade() {
            Some(follower) => follower.replay().await,
            None => Ok(()),
        }
    }
}

impl Follower {
    /// Follows `source`, whose place is noted under `name`, and drops from `tiers` what `of` says of its events. From here on it is
    /// caught up with whenever the remote tier comes back; [`run`](Self::run) does the rest.
    pub fn new(
        tiers: Tiers,
        name: String,
        source: Arc<dyn Source>,
        of: fn(&Envelope) -> Option<Invalidated>,
    ) -> Arc<Self> {
        let follower = Arc::new(Self { tiers, name, source, of, places: Places::default() });
        follower.tiers.on_reconnect(Arc::new(Hook(Arc::downgrade(&follower))));
        follower
    }

    /// Follows until `stop`. A database that can't be read is asked again each second.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut beats: Vec<_> = self.source.partitions().map(|partition| self.source.beats(partition)).collect();
        // Up to where each partition was dropped from this process while the remote tier was away.
        let mut dropped = Heads::new();
        let mut fails = false;
        loop {
            let Some(looked) = stop.run_until_cancelled(self.look(&mut dropped)).await else { return };
            let is_failure = looked.is_err();
            if let (Err(error), false) = (&looked, fails) {
                tracing::warn!(
                    name = self.name,
                    error,
                    "what was announced can't be read to drop it from the cache once more; it is tried again each second; look whether \
                     the database can be reached"
                );
            } else if fails && !is_failure {
                tracing::info!(name = self.name, "what was announced is dropped from the cache again");
            }
            fails = is_failure;
            let pause = async {
                match looked {
                    Err(_) => tokio::time::sleep(AGAIN).await,
                    Ok(true) => {}
                    Ok(false) => {
                        tokio::time::sleep(PAUSE.0).await;
                        let mut waits = Vec::with_capacity(beats.len());
                        for beat in &mut beats {
                            waits.push(Box::pin(beat.any(PAUSE.1)));
                        }
                        // A source without partitions has nothing to wait for.
                        if !waits.is_empty() {
                            select_all(waits).await;
                        }
                    }
                }
            };
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// One look at each partition; whether there is more to be read at once.
    async fn look(&self, dropped: &mut Heads) -> Result<bool, String> {
        if self.places.are_unknown() {
            match self.tiers.state() {
                // Nothing is cached from before this process.
                None => self.places.begin_at(self.heads().await?),
                // The remote tier was there before this follower was known to it.
                Some(LinkState::Up) => self.replay().await?,
                // It is caught up with when it comes.
                Some(LinkState::Down | LinkState::CatchingUp) => {}
            }
        }
        let mut is_more = false;
        for partition in self.source.partitions() {
            let followed = self.places.followed(partition).filter(|_| self.is_written());
            let behind = match followed.or_else(|| dropped.get(&partition).copied()) {
                Some(behind) => behind,
                None => self.head(partition).await?,
            };
            let (n, is_full) = self.follow(partition, behind).await?;
            dropped.insert(partition, n);
            is_more |= is_full;
            // What the remote tier has not taken is not passed over: it is gone through again once that is back.
            if followed.is_some() && self.is_written() && self.places.reached(partition, n) {
                self.note(partition, n).await;
            }
        }
        Ok(is_more)
    }

    /// Whether all that was dropped so far has reached every tier: while the link is up, nothing waits to be written.
    fn is_written(&self) -> bool {
        matches!(self.tiers.state(), None | Some(LinkState::Up))
    }

    /// Notes in the remote tier, if there is one, how far a partition was followed.
    async fn note(&self, partition: u16, n: i64) {
        match self.tiers.advance(&self.name, partition, n).await {
            Ok(()) => self.places.noted(partition, n),
            // The next look tries again, and the link says by itself that it is lost.
            Err(error) => {
                tracing::debug!(name = self.name, %error, "it can't be noted how far the outbox was followed")
            }
        }
    }

    /// Drops what a batch of events behind a position has made outdated; returns where it ends, and whether there may be more.
    async fn follow(&self, partition: u16, behind: i64) -> Result<(i64, bool), String> {
        let from = behind.saturating_add(1);
        let SourceBatch { events, damaged, seen } = self.source.read_now(partition, from, BATCH).await?;
        let first = events.iter().map(|event| event.position.n).chain(damaged.iter().map(|damaged| damaged.n)).min();
        if let Some(damaged) = damaged.first() {
            let problem = format!("the event {} of {} can't be read: {}", damaged.n, damaged.subject, damaged.problem);
            self.drop_all(&problem).await;
        } else if first.is_some_and(|first| first > from) {
            self.drop_all("events were removed from the outbox before they were read").await;
        }
        let is_full = events.len() + damaged.len() >= BATCH;
        // Of each entry the last event says it all.
        let latest: BTreeMap<_, _> = events.iter().filter_map(self.of).map(|one| (key_of(&one), one)).collect();
        let latest: Vec<_> = latest.into_values().collect();
        for some in latest.chunks(AT_ONCE) {
            let mut invalidations = Vec::with_capacity(some.len());
            for one in some {
                invalidations.push(self.invalidate(one));
            }
            join_all(invalidations).await;
        }
        Ok((seen.unwrap_or(behind).max(behind), is_full))
    }

    async fn invalidate(&self, outdated: &Invalidated) {
        let Invalidated { kind, key, version, tags } = outdated;
        // A kind that this process doesn't have is somebody else's to drop.
        self.tiers.invalidate(kind, key, Some(*version)).await;
        let cause = format!("{kind}/{key}@{version}");
        for tag in *tags {
            self.tiers.invalidate_tag(tag, Some(&cause)).await;
        }
    }

    /// Drops everything, when it can't be told what is outdated.
    async fn drop_all(&self, problem: &str) {
        tracing::warn!(name = self.name, problem, "everything that is cached is dropped");
        for kind in self.tiers.kinds() {
            self.tiers.invalidate_kind(kind).await;
        }
    }

    /// The last position of each partition.
    async fn heads(&self) -> Result<Heads, String> {
        let mut heads = Heads::new();
        for partition in self.source.partitions() {
            heads.insert(partition, self.head(partition).await?);
        }
        Ok(heads)
    }

    async fn head(&self, partition: u16) -> Result<i64, String> {
        if let Some(head) = self.source.head(partition).await? {
            return Ok(head);
        }
        // Only reading tells.
        let mut head = 0;
        while let Some(seen) = self.source.read_now(partition, head + 1, BATCH).await?.seen {
            if seen <= head {
                break;
            }
            head = seen;
        }
        Ok(head)
    }
}

#[async_trait]
impl Replay for Follower {
    /// Drops what was announced since it was noted how far this source was followed.
    ///
    /// # Errors
    /// A sentence, when the database or the remote tier can't be read; it is to be tried again then.
    async fn replay(&self) -> Result<(), String> {
        let marks = self.tiers.marks(&self.name).await.map_err(|error| error.to_string())?;
        let Some(marks) = marks else { return Ok(()) };
        let marks: Heads = marks.into_iter().collect();
        // Before anything is dropped: what is announced behind them is followed.
        let heads = self.heads().await?;
        let lost = heads.iter().find_map(|(partition, head)| problem(marks.get(partition).copied(), *head, BACKLOG));
        if let Some(lost) = lost {
            self.drop_all(lost).await;
            self.places.begin_at(heads);
            return Ok(());
        }
        for (partition, head) in &heads {
            let mut behind = marks.get(partition).copied().unwrap_or_default();
            while behind < *head {
                let (n, _) = self.follow(*partition, behind).await?;
                if n == behind {
                    self.drop_all("events were removed from the outbox before they were read").await;
                    break;
                }
                behind = n;
            }
        }
        self.places.caught_up(&heads, marks);
        Ok(())
    }
}

/// What an event is about.
fn key_of(outdated: &Invalidated) -> (&'static str, String) {
    (outdated.kind, outdated.key.clone())
}
