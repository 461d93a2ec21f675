//! Drops from a cache what an outbox has announced, though whoever has announced it did so already (CA-3).

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, select_all};
use meshwork_cache::{LinkState, Mark, Replay, Tiers};
use meshwork_events::{Envelope, Source};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::history::{Continuity, Place, REMOVED, continuity, fingerprint, rows};
use super::outdated::{Invalidated, last_of_each};
use super::places::{Followed, PUT_BACK, Places, problem};

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
/// For how long the remote tier waits for this source when it comes back: others wait for it too.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows an outbox from its end, several times a second, and drops what it announces from a cache: what a process has committed
/// that ended before it told the cache, or that could not reach it (CA-3). It is of use while there is a remote tier and its link is
/// up: else nothing is cached for longer than a second.
///
/// How far it has come is noted in the remote tier. When that comes back, what was committed meanwhile is dropped before anybody
/// reads from it ([`Replay`]). An outbox that has another history than the one that was followed has everything dropped.
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

/// What came of going on behind a place.
enum Step {
    /// Everything up to this place was dropped; whether there may be more.
    To(Place, bool),
    /// The outbox has another history, in a sentence.
    Changed(&'static str),
}

impl Follower {
    /// Follows `source`, each of whose positions is an event and whose place is noted under `name`, and drops from `tiers` what `of`
    /// says of its events. From here on it is caught up with whenever the remote tier comes back; [`run`](Self::run) does the rest.
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
        let mut fails = false;
        loop {
            let Some(looked) = stop.run_until_cancelled(self.look(fails)).await else { return };
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

    /// One look at the ends of the partitions, and at what is new in those that have moved; whether there is more to be read at once.
    /// Who `verifies` looks at all partitions: while the database was away, another one may have taken its place.
    async fn look(&self, verifies: bool) -> Result<bool, String> {
        if !self.is_up() {
            // It is caught up with when the remote tier comes.
            return Ok(false);
        }
        let Some((turn, followed)) = self.places.followed() else {
            // The remote tier was there before this follower was known to it, or the source was away when it came.
            self.catch_up().await?;
            return Ok(false);
        };
        let mut is_more = false;
        for (partition, head) in self.heads().await? {
            let place = followed.get(&partition).copied().unwrap_or_default();
            if head < place.n {
                self.begin_anew(PUT_BACK).await?;
                return Ok(false);
            }
            let mut reached = place;
            if head > place.n || (verifies && head > 0) {
                match self.follow(partition, place, head).await? {
                    Step::To(to, more) => (reached, is_more) = (to, is_more | more),
                    Step::Changed(problem) => {
                        self.begin_anew(problem).await?;
                        return Ok(false);
                    }
                }
            }
            // What the remote tier has not taken is not passed over: the link is lost then, and it is gone through again.
            if self.is_up() && self.places.reached(turn, partition, reached) {
                self.note(turn, partition, reached).await;
            }
        }
        Ok(is_more)
    }

    /// Whether the remote tier is used. Nothing that was to be written to it waits then.
    fn is_up(&self) -> bool {
        self.tiers.state() == Some(LinkState::Up)
    }

    /// Notes in the remote tier how far a partition was followed.
    async fn note(&self, turn: u64, partition: u16, place: Place) {
        let mark = Mark { partition, n: place.n, fingerprint: place.fingerprint };
        match self.tiers.advance(&self.name, mark).await {
            Ok(()) => self.places.noted(turn, partition, place),
            // The next look tries again, and the link says by itself that it is lost.
            Err(error) => {
                tracing::debug!(name = self.name, %error, "it can't be noted how far the outbox was followed")
            }
        }
    }

    /// Drops what a batch of events behind a place has made outdated, of a partition that ends at `head`.
    async fn follow(&self, partition: u16, place: Place, head: i64) -> Result<Step, String> {
        // With the last one that was followed and the one before it.
        let from = place.n.saturating_sub(1).max(1);
        let batch = self.source.read_now(partition, from, BATCH + 2).await?;
        let rows = rows(&batch);
        match continuity(place, &rows) {
            Continuity::Same => {}
            Continuity::SameIfFirst => {
                let first = self.source.read_now(partition, 1, 1).await?;
                if self::rows(&first).first_key_value().is_some_and(|(first, _)| *first < place.n) {
                    return Ok(Step::Changed(REMOVED));
                }
            }
            Continuity::Changed(problem) => return Ok(Step::Changed(problem)),
        }
        let reached = match rows.last_key_value() {
            Some((n, fingerprint)) if *n > place.n => Place { n: *n, fingerprint: *fingerprint },
            _ if head > place.n => return Ok(Step::Changed(REMOVED)),
            _ => return Ok(Step::To(place, false)),
        };
        if let Some(damaged) = batch.damaged.iter().find(|damaged| damaged.n > place.n) {
            let (n, subject, problem) = (damaged.n, &damaged.subject, &damaged.problem);
            tracing::warn!(
                name = self.name,
                problem,
                "everything that is cached is dropped: the event {n} of {subject} can't be read"
            );
            self.drop_kinds().await;
        }
        let new = batch.events.iter().filter(|event| event.position.n > place.n);
        let outdated = last_of_each(new, self.of);
        for some in outdated.chunks(AT_ONCE) {
            let mut invalidations = Vec::with_capacity(some.len());
            for (outdated, cause) in some {
                invalidations.push(self.invalidate(outdated, cause));
            }
            join_all(invalidations).await;
        }
        Ok(Step::To(reached, reached.n < head))
    }

    async fn invalidate(&self, outdated: &Invalidated, cause: &str) {
        let Invalidated { kind, key, version, tags } = outdated;
        // A kind that this process doesn't have is somebody else's to drop.
        self.tiers.invalidate(kind, key, *version).await;
        for tag in *tags {
            self.tiers.invalidate_tag(tag, Some(cause)).await;
        }
    }

    /// Drops everything, since it can't be told what is outdated, and goes on from the ends of the partitions.
    async fn begin_anew(&self, problem: &str) -> Result<(), String> {
        tracing::warn!(name = self.name, problem, "everything that is cached is dropped");
        // Before anything is dropped: what is announced behind them is followed.
        let ends = self.ends().await?;
        self.drop_kinds().await;
        // Marks only go up: those of the other history would hide how far this one is followed.
        self.tiers.reset_marks(&self.name).await.map_err(|error| error.to_string())?;
        self.places.begin_at(ends);
        Ok(())
    }

    async fn drop_kinds(&self) {
        for kind in self.tiers.kinds() {
            self.tiers.invalidate_kind(kind).await;
        }
    }

    /// The last event of each partition.
    async fn ends(&self) -> Result<Followed, String> {
        let mut ends = Followed::new();
        for (partition, n) in self.heads().await? {
            let mut end = Place { n, fingerprint: 0 };
            if n > 0 {
                let last = self.source.read_now(partition, n, 1).await?;
                let last = last.events.iter().find(|event| event.position.n == n);
                end.fingerprint = last.map(fingerprint).unwrap_or_default();
            }
            ends.insert(partition, end);
        }
        Ok(ends)
    }

    /// The last position of each partition.
    async fn heads(&self) -> Result<Vec<(u16, i64)>, String> {
        let heads = self.source.heads().await?;
        heads.ok_or_else(|| {
            format!("the source {} doesn't tell where it ends, and can't be followed", self.source.name())
        })
    }

    /// Drops what was announced since it was noted how far this source was followed.
    async fn catch_up(&self) -> Result<(), String> {
        let turn = self.places.turn();
        let marks = self.tiers.marks(&self.name).await.map_err(|error| error.to_string())?;
        let Some(marks) = marks else { return Ok(()) };
        let of_mark = |mark: Mark| (mark.partition, Place { n: mark.n, fingerprint: mark.fingerprint });
        let marks: Followed = marks.into_iter().map(of_mark).collect();
        let heads = self.heads().await?;
        let marked = |partition: u16| marks.get(&partition).map(|mark| mark.n);
        let lost = heads.iter().find_map(|(partition, head)| problem(marked(*partition), *head, BACKLOG));
        if let Some(lost) = lost {
            return self.begin_anew(lost).await;
        }
        let mut reached = Followed::new();
        for (partition, head) in heads {
            let mut place = marks.get(&partition).copied().unwrap_or_default();
            // Also where nothing is new: the last one must be the one that was followed.
            if head > 0 {
                loop {
                    match self.follow(partition, place, head).await? {
                        Step::To(to, _) => place = to,
                        Step::Changed(problem) => return self.begin_anew(problem).await,
                    }
                    if place.n >= head {
                        break;
                    }
                }
            }
            reached.insert(partition, place);
        }
        self.places.caught_up(turn, &reached, marks);
        Ok(())
    }
}

#[async_trait]
impl Replay for Follower {
    /// Drops what was announced since it was noted how far this source was followed. One that can't be read in time doesn't keep the
    /// remote tier from all others: everything that may be of it is dropped, and again once it can be read.
    ///
    /// # Errors
    /// A sentence, when the remote tier can't be read or written; it is to be tried again then.
    async fn replay(&self) -> Result<(), String> {
        let problem = match timeout(PATIENCE, self.catch_up()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(problem)) => problem,
            Err(_) => format!("it has not been read within {PATIENCE:?}"),
        };
        // Whatever is under way tells nothing of it any more; the next look begins at its end.
        self.places.forget();
        // What could not be written now waits, and the link isn't up before it was.
        self.drop_kinds().await;
        self.tiers.reset_marks(&self.name).await.map_err(|error| error.to_string())?;
        tracing::warn!(
            name = self.name,
            problem,
            "what was announced can't be gone through while the shared cache comes back: everything that is cached is dropped, and \
             once more when it can be; look whether the database can be reached"
        );
        Ok(())
    }
}
