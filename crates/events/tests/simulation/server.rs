//! A replica set: what a majority keeps, what the primary alone has applied, failover, and messages that are lost or late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_eventstore::{Commit, CommitServer, InsertError, Position, ReadError, first_version};
use tokio::time::{Instant, sleep};

use crate::schedule::Counts;

/// The replica set.
pub(crate) struct Cluster {
    state: Mutex<State>,
    random: Mutex<fastrand::Rng>,
    /// Whether anything goes wrong at all.
    pub(crate) faults: AtomicBool,
}

#[derive(Default)]
struct State {
    /// What a majority keeps: it stays.
    committed: Vec<Commit>,
    /// What the primary has applied beyond that: a failover cuts it off.
    pending: Vec<Commit>,
    /// Of which primary.
    term: u64,
    /// Until when there is none.
    down: Option<Instant>,
    counts: Counts,
}

impl State {
    fn collides(&self, commit: &Commit) -> bool {
        self.committed.iter().chain(&self.pending).any(|other| {
            let same = other.stream == commit.stream;
            other.position == commit.position
                || same && other.command_id == commit.command_id
                || same
                    && other.position.partition == commit.position.partition
                    && first_version(other) == first_version(commit)
        })
    }

    /// Applies an insert on the primary.
    fn apply(&mut self, commit: &Commit) -> Result<u64, InsertError> {
        if self.is_down() {
            return Err(InsertError::Unknown("no primary".to_owned()));
        }
        if self.collides(commit) {
            self.counts.collisions += 1;
            return Err(InsertError::Duplicate);
        }
        self.counts.tombstones += u64::from(commit.is_tombstone());
        self.pending.push(commit.clone());
        Ok(self.term)
    }

    /// The majority has everything up to this commit.
    fn replicate(&mut self, commit: &Commit) -> bool {
        match self.pending.iter().position(|pending| pending == commit) {
            Some(at) => {
                let replicated: Vec<_> = self.pending.drain(..=at).collect();
                self.committed.extend(replicated);
                true
            }
            None => self.committed.contains(commit),
        }
    }

    fn is_down(&self) -> bool {
        self.down.is_some_and(|until| Instant::now() < until)
    }
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            faults: AtomicBool::new(true),
        })
    }

    pub(crate) fn below(&self, below: u64) -> u64 {
        self.random.lock().unwrap().u64(0..below)
    }

    /// Whether something happens that happens `per_mille` times in a thousand, while there are faults.
    fn happens(&self, per_mille: u64) -> bool {
        self.faults.load(Ordering::Relaxed) && self.below(1_000) < per_mille
    }

    async fn travel(&self) {
        sleep(Duration::from_micros(self.below(3_000))).await;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().unwrap().counts.clone()
    }

    pub(crate) fn committed(&self) -> Vec<Commit> {
        self.state.lock().unwrap().committed.clone()
    }

    /// Fails over now and then, for ever.
    pub(crate) async fn fail_over(self: Arc<Self>) {
        loop {
            sleep(Duration::from_millis(20 + self.below(120))).await;
            if !self.faults.load(Ordering::Relaxed) {
                continue;
            }
            let pause = Duration::from_millis(2 + self.below(25));
            let mut state = self.state.lock().unwrap();
            state.counts.failovers += 1;
            state.counts.rolled_back += u64::try_from(state.pending.len()).unwrap();
            state.pending.clear();
            state.term += 1;
            state.down = Some(Instant::now() + pause);
        }
    }

    async fn insert(self: &Arc<Self>, commit: &Commit) -> Result<(), InsertError> {
        self.travel().await;
        if self.state.lock().unwrap().is_down() && self.below(2) == 0 {
            return Err(InsertError::NotSent("no primary is known".to_owned()));
        }
        if self.happens(30) {
            return Err(InsertError::Unknown("the message was lost".to_owned()));
        }
        if self.happens(60) {
            // It lies in some queue: its sender gives up, and it is applied all the same, whoever is primary then.
            let (cluster, late) = (self.clone(), commit.clone());
            let delay = Duration::from_millis(5 + self.below(150));
            tokio::spawn(async move {
                sleep(delay).await;
                if cluster.state.lock().unwrap().apply(&late).is_ok() {
                    cluster.state.lock().unwrap().counts.late_writes += 1;
                    sleep(Duration::from_millis(1 + cluster.below(10))).await;
                    cluster.state.lock().unwrap().replicate(&late);
                }
            });
            sleep(Duration::from_millis(5)).await;
            return Err(InsertError::Unknown("no answer in time".to_owned()));
        }
        let term = self.state.lock().unwrap().apply(commit)?;
        sleep(Duration::from_micros(500 + self.below(9_000))).await;
        {
            let mut state = self.state.lock().unwrap();
            if !(state.term == term && state.replicate(commit) || state.committed.contains(commit)) {
                return Err(InsertError::Unknown("the primary has stepped down".to_owned()));
            }
        }
        if self.happens(60) {
            self.state.lock().unwrap().counts.lost_acks += 1;
            return Err(InsertError::Unknown("the acknowledgement was lost".to_owned()));
        }
        self.travel().await;
        Ok(())
    }

    /// The wanted ones of the commits that a read sees.
    async fn read(&self, local: bool, wanted: impl Fn(&Commit) -> bool) -> Result<Vec<Commit>, ReadError> {
        self.travel().await;
        // A server that was cut off sees a majority of a moment ago.
        let behind = if self.happens(40) { self.below(3) } else { 0 };
        let state = self.state.lock().unwrap();
        if state.is_down() {
            return Err(ReadError("no primary".to_owned()));
        }
        let seen = state.committed.len().saturating_sub(usize::try_from(behind).unwrap());
        let (seen, ahead) = state.committed.split_at(seen);
        let ahead = ahead.iter().chain(&state.pending).filter(|_| local);
        Ok(seen.iter().chain(ahead).filter(|commit| wanted(commit)).cloned().collect())
    }
}

/// What a process reads locally instead of from a majority, and what becomes of its tombstones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ablated {
    pub(crate) load: bool,
    pub(crate) decide: bool,
    pub(crate) position: bool,
    pub(crate) follow: bool,
    pub(crate) no_tombstones: bool,
    pub(crate) skip_holes: bool,
}

/// The replica set as one process reaches it.
pub(crate) struct Node {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) ablated: Ablated,
}

#[async_trait]
impl CommitServer for Node {
    async fn insert(&self, commit: &Commit) -> Result<(), InsertError> {
        if commit.is_tombstone() {
            if self.ablated.no_tombstones {
                return Err(InsertError::Duplicate);
            }
            if self.ablated.skip_holes {
                return Ok(());
            }
        }
        self.cluster.insert(commit).await
    }

    async fn by_command(&self, _: u16, stream: &str, command_id: &str) -> Result<Option<Commit>, ReadError> {
        let wanted = |commit: &Commit| commit.stream == stream && commit.command_id == command_id;
        Ok(self.cluster.read(self.ablated.decide, wanted).await?.pop())
    }

    async fn by_version(&self, _: u16, stream: &str, first: i64) -> Result<Option<Commit>, ReadError> {
        let wanted = |commit: &Commit| commit.stream == stream && first_version(commit) == first;
        Ok(self.cluster.read(self.ablated.decide, wanted).await?.pop())
    }

    async fn by_position(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        let local = self.ablated.decide || self.ablated.position;
        Ok(self.cluster.read(local, |commit| commit.position == Position { partition, n }).await?.pop())
    }

    async fn load(&self, _: u16, stream: &str, after: i64) -> Result<Vec<Commit>, ReadError> {
        let wanted = |commit: &Commit| commit.stream == stream && commit.version() > after;
        let mut commits = self.cluster.read(self.ablated.load, wanted).await?;
        commits.sort_by_key(first_version);
        Ok(commits)
    }

    async fn follow(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        Ok(self.cluster.read(self.ablated.follow, |commit| commit.position == Position { partition, n }).await?.pop())
    }

    async fn range(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, ReadError> {
        let wanted = |commit: &Commit| commit.position.partition == partition && commit.position.n > after;
        let mut commits = self.cluster.read(self.ablated.follow, wanted).await?;
        commits.sort_by_key(|commit| commit.position.n);
        commits.truncate(limit);
        Ok(commits)
    }

    async fn last(&self, partition: u16) -> Result<i64, ReadError> {
        let all = self.cluster.read(self.ablated.follow, |commit| commit.position.partition == partition).await?;
        Ok(all.iter().map(|commit| commit.position.n).max().unwrap_or_default())
    }

    async fn ping(&self) -> Result<(), ReadError> {
        Ok(())
    }
}
