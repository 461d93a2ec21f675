//! Rebuild, rollback and retry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::overlap::{Behind, read_behind};
use super::{
    Applied, ApplyMode, Checkpoint, PartitionStatus, Phase, ProjectionError, ProjectionProgress, ProjectionReport,
    ProjectionStatus, ProjectionStore, Retried, Taken, VersionState, VersionStatus,
};
use crate::{EventStore, StoreError, partition_of};

/// How many commits one transaction applies.
const BATCH: usize = 256;
/// How many parked streams a status tells of, for each version.
const PARKED: usize = 100;
/// How often the builder says that it is alive. Ten times as long, and it counts as dead.
const KEEP: Duration = Duration::from_secs(1);
/// How long to try to be no further behind than the live version: some moments, unless a store is very slow.
const SWITCH: Duration = Duration::from_secs(30);

/// A projection, for those who run it.
pub struct Projections {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) projection: Arc<dyn ProjectionStore>,
    last: Mutex<Option<ProjectionReport>>,
}

/// A version that is brought up to date beside the live one.
pub(super) struct Build<'a> {
    pub(super) projections: &'a Projections,
    pub(super) version: i64,
    pub(super) live: i64,
    /// The partitions in which the live version has diverged from the store.
    pub(super) diverged: BTreeSet<u16>,
    /// By partition, the last commit that was applied.
    checkpoints: Vec<Checkpoint>,
    pub(super) progress: ProjectionProgress,
    pub(super) told: &'a watch::Sender<ProjectionProgress>,
    kept: Instant,
}

/// A version that somebody is building; it is given up when its builder goes away.
struct Unfinished {
    projection: Option<Arc<dyn ProjectionStore>>,
    version: i64,
}

impl Unfinished {
    /// What can't be given up now is given up by who comes next, once nothing was heard of this one.
    fn give_up(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let (projection, version) = (self.projection.take(), self.version);
        async move {
            if let Some(projection) = projection
                && let Err(error) = projection.give_up(version).await
            {
                tracing::warn!(version, %error, "a version that was not finished is left behind");
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.projection.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(self.give_up());
        }
    }
}

impl Projections {
    /// The projection that `projection` keeps, of the events in `store`.
    pub fn new(store: Arc<dyn EventStore>, projection: Arc<dyn ProjectionStore>) -> Self {
        Self { store, projection, last: Mutex::new(None) }
    }

    /// The projection as it is.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn status(&self) -> Result<ProjectionStatus, ProjectionError> {
        let mut heads = Vec::new();
        for partition in 0..self.store.partitions() {
            heads.push(self.store.head(partition).await?);
        }
        let mut versions = Vec::new();
        for (version, state) in self.projection.versions().await? {
            let mut partitions = Vec::new();
            for (partition, head) in (0..).zip(&heads) {
                let position = self.projection.checkpoint(version, partition).await?.position;
                partitions.push(PartitionStatus { partition, position, head: *head });
            }
            let mut parked = self.projection.parked(version, PARKED).await?;
            for stream in &mut parked {
                stream.partition = partition_of(&stream.stream, self.store.partitions());
            }
            let divergences = if state == VersionState::Live {
                self.divergences(version).await?.into_values().collect()
            } else {
                Vec::new()
            };
            versions.push(VersionStatus { version, state, partitions, parked, divergences });
        }
        let last_report = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(ProjectionStatus { versions, last_report })
    }

    /// Makes a new version beside the live one, compares the two row by row, and makes the new one live; with
    /// `accept_differences` even if rows differ, or the live version has diverged from its store. Dropped in the middle, it
    /// leaves the live version as it is.
    ///
    /// # Errors
    /// See [`ProjectionError`].
    pub async fn rebuild(
        &self,
        accept_differences: bool,
        told: watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError> {
        self.build(false, accept_differences, &told).await
    }

    /// Brings the version that was live before up to date and makes it live again. Rows may differ: that may be why.
    ///
    /// # Errors
    /// See [`ProjectionError`].
    pub async fn rollback(&self, told: watch::Sender<ProjectionProgress>) -> Result<ProjectionReport, ProjectionError> {
        self.build(true, true, &told).await
    }

    /// Applies a parked stream again, from its first event.
    ///
    /// # Errors
    /// See [`ProjectionError`].
    pub async fn retry(&self, stream: &str) -> Result<(), ProjectionError> {
        let partition = partition_of(stream, self.store.partitions());
        for held in [false, false, true, true] {
            // Where much happens, the projector has passed what is read here before it is applied, unless it is held.
            if held {
                self.projection.hold().await?;
            }
            let live = self.live().await?;
            // A history from another store is none of this version.
            if let Some(problem) = self.divergence(live, partition).await? {
                return Err(ProjectionError::Diverged { version: live, problem });
            }
            // The end first, so that the history holds everything up to it.
            let known = self.store.head(partition).await?;
            let history = match self.store.read(stream, 0).await {
                Err(StoreError::Damaged { problem, .. }) => return Err(ProjectionError::StillParked(problem)),
                history => history?,
            };
            match self.projection.retry(live, partition, stream, known, history).await? {
                Retried::Yes => return Ok(()),
                Retried::NotParked => return Err(ProjectionError::NotParked),
                Retried::Poisoned { reason } => return Err(ProjectionError::StillParked(reason)),
                Retried::Moved => {}
            }
        }
        Err(ProjectionError::Behind)
    }

    async fn live(&self) -> Result<i64, ProjectionError> {
        let versions = self.projection.versions().await?;
        let live = versions.iter().find(|(_, state)| *state == VersionState::Live);
        Ok(live.map(|(version, _)| *version).ok_or(StoreError::Unavailable("no version is live".to_owned()))?)
    }

    /// How a version has diverged from the store in a partition, if it has.
    async fn divergence(&self, version: i64, partition: u16) -> Result<Option<String>, StoreError> {
        let checkpoint = self.projection.checkpoint(version, partition).await?;
        Ok(match read_behind(self.store.as_ref(), partition, &checkpoint, 0).await? {
            Behind::Commits(_) => None,
            Behind::Diverged(problem) => Some(problem),
        })
    }

    /// The partitions in which a version has diverged from the store, and how.
    async fn divergences(&self, version: i64) -> Result<BTreeMap<u16, String>, StoreError> {
        let looks = (0..self.store.partitions()).map(|partition| self.divergence(version, partition));
        let found = try_join_all(looks).await?;
        Ok((0..).zip(found).filter_map(|(partition, problem)| Some((partition, problem?))).collect())
    }

    async fn build(
        &self,
        retired: bool,
        accept_differences: bool,
        told: &watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError> {
        let version = match self.projection.take(retired).await? {
            Taken::Version(version) => version,
            Taken::Running => return Err(ProjectionError::Running),
            Taken::Nothing => return Err(ProjectionError::NothingToRollBack),
        };
        let mut unfinished = Unfinished { projection: Some(self.projection.clone()), version };
        let built = self.build_version(version, accept_differences, told).await;
        if built.is_err() {
            unfinished.give_up().await;
        }
        unfinished.projection = None;
        let report = built?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
        Ok(report)
    }

    async fn build_version(
        &self,
        version: i64,
        accept_differences: bool,
        told: &watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError> {
        let live = self.live().await?;
        let mut diverged = self.divergences(live).await?;
        if !accept_differences && let Some((_, problem)) = diverged.pop_first() {
            return Err(ProjectionError::Diverged { version: live, problem });
        }
        let mut checkpoints = Vec::new();
        for partition in 0..self.store.partitions() {
            checkpoints.push(self.projection.checkpoint(version, partition).await?);
        }
        let mut build = Build {
            live,
            projections: self,
            version,
            diverged: diverged.into_keys().collect(),
            checkpoints,
            progress: ProjectionProgress::default(),
            told,
            kept: Instant::now(),
        };
        build.catch_up().await?;
        build.phase(Phase::Comparing);
        let comparison = build.compare().await?;
        let report = ProjectionReport {
            version,
            previous: build.live,
            commits: build.progress.applied,
            rows: comparison.rows,
            differing: comparison.differing,
            differences: comparison.differences,
            completed_at: OffsetDateTime::now_utc(),
        };
        if report.differing > 0 && !accept_differences {
            return Err(ProjectionError::Differs(Box::new(report)));
        }
        if !build.diverged.is_empty() {
            tracing::warn!(version, partitions = ?build.diverged, "a version takes the place of one that has diverged");
        }
        build.phase(Phase::Switching);
        build.switch().await?;
        let commits = build.progress.applied;
        Ok(ProjectionReport { commits, completed_at: OffsetDateTime::now_utc(), ..report })
    }
}

impl Build<'_> {
    fn phase(&mut self, phase: Phase) {
        self.progress.phase = phase;
        self.told.send_replace(self.progress);
    }

    /// Says that this build is alive, now and then.
    async fn keep(&mut self) -> Result<(), ProjectionError> {
        if self.kept.elapsed() >= KEEP {
            if !self.projections.projection.keep(self.version).await? {
                return Err(ProjectionError::Running);
            }
            self.kept = Instant::now();
        }
        Ok(())
    }

    /// Applies everything that there is, and tells how far it is.
    async fn catch_up(&mut self) -> Result<(), ProjectionError> {
        let begun: i64 = self.checkpoints.iter().map(|checkpoint| checkpoint.position).sum();
        let mut total = 0;
        for partition in 0..self.projections.store.partitions() {
            total += self.projections.store.head(partition).await?;
        }
        self.progress.total = u64::try_from(total - begun).unwrap_or_default();
        self.told.send_replace(self.progress);
        self.catch_up_quietly().await
    }

    pub(super) async fn catch_up_quietly(&mut self) -> Result<(), ProjectionError> {
        while self.step().await? {}
        Ok(())
    }

    /// Applies a batch of every partition, of all at once: the live version moves on meanwhile, and the shorter a step, the
    /// less. Returns whether there may be more.
    async fn step(&mut self) -> Result<bool, ProjectionError> {
        self.keep().await?;
        let steps = (0..).zip(&self.checkpoints).map(|(partition, after)| self.step_of(partition, after.clone()));
        let steps = try_join_all(steps).await?;
        let mut more = false;
        for (checkpoint, applied) in self.checkpoints.iter_mut().zip(steps) {
            let Some((last, commits)) = applied else { continue };
            *checkpoint = last;
            more |= commits == BATCH;
            let commits = u64::try_from(commits).unwrap_or(u64::MAX);
            self.progress.applied = self.progress.applied.saturating_add(commits);
        }
        if self.progress.phase == Phase::Applying {
            self.told.send_replace(self.progress);
        }
        Ok(more)
    }

    /// Applies a batch of one partition. Returns the last commit in it, and how many it had.
    async fn step_of(&self, partition: u16, after: Checkpoint) -> Result<Option<(Checkpoint, usize)>, ProjectionError> {
        let Projections { store, projection, .. } = self.projections;
        let commits = match read_behind(store.as_ref(), partition, &after, BATCH).await? {
            Behind::Commits(commits) => commits,
            Behind::Diverged(problem) => return Err(ProjectionError::Diverged { version: self.version, problem }),
        };
        let Some(last) = commits.last().map(Checkpoint::of) else { return Ok(None) };
        let count = commits.len();
        match projection.apply(self.version, partition, after.position, commits, ApplyMode::Strict).await? {
            Applied::Yes => Ok(Some((last, count))),
            // Another builder has taken the version for a dead one's.
            Applied::Elsewhere => Err(ProjectionError::Running),
            Applied::Poisoned { stream, reason } => Err(ProjectionError::Poisoned { stream, reason }),
        }
    }

    /// Makes the version live at a moment when it is no further behind than the live one. Where the live one has diverged from
    /// the store it can't be, and needn't.
    async fn switch(&mut self) -> Result<(), ProjectionError> {
        let deadline = Instant::now() + SWITCH;
        let diverged: Vec<u16> = self.diverged.iter().copied().collect();
        while Instant::now() < deadline {
            // What isn't moved is caught up with; a batch that was under way may still end, and then it is tried again.
            self.projections.projection.hold().await?;
            self.catch_up_quietly().await?;
            if self.projections.projection.switch(self.version, &diverged).await? {
                return Ok(());
            }
            // The live version may have met what another process has made, before this one has.
            for partition in 0..self.projections.store.partitions() {
                self.projections.store.head(partition).await?;
            }
        }
        Err(ProjectionError::Behind)
    }
}
