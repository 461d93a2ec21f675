//! A replica set: what a majority keeps, what the primary alone has applied, failover, and messages that are lost or late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_eventstore::{Commit, CommitServer, InsertError, InsertFailure, Position, ReadError, first_version};
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

    /// Applies an insert, unless a unique index refuses it.
    fn apply(&mut self, commit: &Commit) -> bool {
        let collides = self.collides(commit);
        if collides {
            self.counts.collisions += 1;
        } else {
            self.counts.tombstones += u64::from(commit.is_tombstone());
            self.pending.push(commit.clone());
        }
        !collides
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

    /// Counts what was met elsewhere.
    pub(crate) fn count(&self, counted: impl FnOnce(&mut Counts)) {
        counted(&mut self.state.lock().unwrap().counts);
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

    /// Applies the commits of a command on one and the same primary, in order, as far as it comes: who steps down stops.
    async fn apply(&self, commits: &[Commit], unordered: bool) -> Result<u64, InsertFailure> {
        let unknown = |problem: &str| InsertFailure { made: 0, error: InsertError::Unknown(problem.to_owned()) };
        let (mut term, mut refused) = (None, None);
        for (at, commit) in commits.iter().enumerate() {
            if at > 0 && self.happens(200) {
                sleep(Duration::from_micros(self.below(5_000))).await;
            }
            let mut state = self.state.lock().unwrap();
            if state.is_down() || term.is_some_and(|term| term != state.term) {
                return Err(unknown("no primary"));
            }
            term = Some(state.term);
            if !state.apply(commit) {
                refused = refused.or(Some(InsertFailure { made: at, error: InsertError::Duplicate }));
                if !unordered {
                    break;
                }
            }
        }
        refused.map_or_else(|| Ok(term.unwrap_or_default()), Err)
    }

    async fn insert(self: &Arc<Self>, commits: &[Commit], unordered: bool) -> Result<(), InsertFailure> {
        let all = |error| Err(InsertFailure { made: 0, error });
        self.travel().await;
        if self.state.lock().unwrap().is_down() && self.below(2) == 0 {
            return all(InsertError::NotSent("no primary is known".to_owned()));
        }
        if self.happens(30) {
            return all(InsertError::Unknown("the message was lost".to_owned()));
        }
        if self.happens(60) {
            // It lies in some queue: its sender gives up, and it is applied all the same, whoever is primary then.
            let (cluster, late) = (self.clone(), commits.to_vec());
            let delay = Duration::from_millis(5 + self.below(150));
            tokio::spawn(async move {
                sleep(delay).await;
                let made = cluster.clone().carry_out(late, unordered).await;
                cluster.state.lock().unwrap().counts.late_writes += u64::from(made.is_ok());
            });
            sleep(Duration::from_millis(5)).await;
            return all(InsertError::Unknown("no answer in time".to_owned()));
        }
        // The server doesn't care whether its client is still there.
        let made = tokio::spawn(self.clone().carry_out(commits.to_vec(), unordered)).await.unwrap();
        if matches!(made, Err(InsertFailure { made: 0, .. })) {
            return made;
        }
        if self.happens(60) {
            self.state.lock().unwrap().counts.lost_acks += 1;
            return all(InsertError::Unknown("the acknowledgement was lost".to_owned()));
        }
        self.travel().await;
        made
    }

    /// Applies commits and waits until a majority has them.
    async fn carry_out(self: Arc<Self>, commits: Vec<Commit>, unordered: bool) -> Result<(), InsertFailure> {
        let applied = self.apply(&commits, unordered).await;
        let made = match &applied {
            Ok(_) => commits.len(),
            Err(InsertFailure { made: 0, .. }) => return applied.map(drop),
            Err(InsertFailure { made, .. }) => *made,
        };
        // It gets them one after the other.
        let first = usize::try_from(self.below(u64::try_from(made).unwrap())).unwrap();
        let mut replicated = 0;
        for upto in [first, made] {
            sleep(Duration::from_micros(250 + self.below(4_500))).await;
            let mut state = self.state.lock().unwrap();
            let same = applied.as_ref().map_or(true, |term| *term == state.term);
            let stands = |commit: &&Commit| same && state.replicate(commit) || state.committed.contains(commit);
            replicated = commits[..upto].iter().filter(stands).count();
        }
        let mut state = self.state.lock().unwrap();
        if replicated < made {
            state.counts.cut += u64::from(replicated > 0);
            let error = InsertError::Unknown("the primary has stepped down".to_owned());
            return Err(InsertFailure { made: 0, error });
        }
        state.counts.together += u64::from(made > 1);
        applied.map(drop)
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
    /// Whether what goes together goes on behind a commit that is refused.
    pub(crate) unordered: bool,
}

/// The replica set as one process reaches it.
pub(crate) struct Node {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) ablated: Ablated,
}

#[async_trait]
impl CommitServer for Node {
    async fn insert(&self, commits: &[Commit]) -> Result<(), InsertFailure> {
        if commits.iter().any(Commit::is_tombstone) {
            if self.ablated.no_tombstones {
                return Err(InsertFailure { made: 0, error: InsertError::Duplicate });
            }
            if self.ablated.skip_holes {
                return Ok(());
            }
        }
        self.cluster.insert(commits, self.ablated.unordered).await
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
