//! The relay: publishes what a source holds, in order, from where the lane's own tail says (NT-1 to NT-4).

mod audit;
mod auditor;
mod common;
mod follower;
mod parking;
mod published;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio_util::sync::CancellationToken;

use self::auditor::Auditor;
use self::follower::{Follower, Restart};
use self::parking::{Parking, Republish};
pub use self::published::Published;
use crate::backoff::Backoff;
use crate::bus::{Bus, Lane};
use crate::deliverer::Deliverer;
use crate::redrive::Redriver;
use crate::state::ConsumerState;
use crate::{Progress, Source};

/// How long a relay waits at most that another one has overtaken.
const SECOND: Duration = Duration::from_secs(1);
/// How often it is looked for parked events that are to be tried again by themselves.
const REDRIVE: Duration = Duration::from_secs(15);

/// Follows a source and publishes its events to a stream of the bus.
pub struct Relay {
    source: Arc<dyn Source>,
    bus: Arc<dyn Bus>,
    stream: &'static str,
    checkpoint: Option<Arc<dyn ConsumerState>>,
    parking: Option<Parking>,
    redriver: Option<Redriver>,
    progress: Progress,
    published: Published,
}

impl Relay {
    /// A relay from `source` to `stream`.
    pub fn new(source: Arc<dyn Source>, bus: Arc<dyn Bus>, stream: &'static str) -> Self {
        let (progress, published) = (Progress::over(source.partitions()), Published::over(source.partitions()));
        Self { source, bus, stream, checkpoint: None, parking: None, redriver: None, progress, published }
    }

    /// Notes in `state` how far it has come, so that events which have aged on the bus aren't taken for lost (NT-4). Without
    /// it, a bus that is empty is filled with all that the source holds.
    #[must_use]
    pub fn checkpoint(self, state: Arc<dyn ConsumerState>) -> Self {
        Self { checkpoint: Some(state), ..self }
    }

    /// Parks in `state` the aggregates of which an event can't be read or published (E2), and publishes them once it can be.
    /// Without it, such an event stops its partition.
    #[must_use]
    pub fn parking(self, state: Arc<dyn ConsumerState>) -> Self {
        let republish = Republish { source: self.source.clone(), bus: self.bus.clone(), stream: self.stream };
        let redriver = Redriver(Arc::new(Deliverer::new(Arc::new(republish), state.clone(), None)));
        Self { parking: Some(Parking::new(state, self.stream)), redriver: Some(redriver), ..self }
    }

    /// What publishes its parked events, once it has somewhere to park them.
    pub fn redriver(&self) -> Option<Redriver> {
        self.redriver.clone()
    }

    /// How far its events are on the bus: what lies behind may be removed from the source in time.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    /// How far behind it is, for a check.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Publishes until `shutdown`, and then what the source holds by that time. Failures are tried again for ever, with
    /// pauses: no event is left out.
    ///
    /// Lanes of partitions that aren't the source's are left alone: another relay publishes them. Returns at once, having said
    /// so, when the source has a partition for which the bus has no lane: consumers would not see it.
    pub async fn run(&self, shutdown: CancellationToken) {
        let lanes = self.bus.lanes(self.stream);
        let partitions = self.source.partitions();
        let has_lane = |partition: u16| lanes.iter().any(|lane| lane.partition == partition);
        if !partitions.clone().all(has_lane) {
            tracing::error!(
                stream = self.stream,
                ?partitions,
                lanes = lanes.len(),
                "the source has partitions for which the bus has no lanes: open the bus with as many lanes of the stream as all \
                 its shards have partitions"
            );
            return;
        }
        let lanes = lanes.iter().filter(|lane| partitions.contains(&lane.partition));
        let run = |lane| join(self.run_lane(lane, &shutdown), self.audit(lane, &shutdown));
        join(join_all(lanes.map(run)), self.redrive(&shutdown)).await;
    }

    async fn audit(&self, lane: &Lane, shutdown: &CancellationToken) {
        let (source, bus, parking) = (self.source.as_ref(), self.bus.as_ref(), self.parking.as_ref());
        Auditor { source, bus, lane, parking }.run(shutdown).await;
    }

    async fn run_lane(&self, lane: &Lane, shutdown: &CancellationToken) {
        let follower = Follower {
            source: self.source.as_ref(),
            bus: self.bus.as_ref(),
            lane,
            checkpoint: self.checkpoint.as_deref(),
            parking: self.parking.as_ref(),
            progress: &self.progress,
            published: &self.published,
        };
        let mut backoff = Backoff::new();
        // Who is always second looks less often, and takes over when the first is gone: the fence decides, not this.
        let mut second = Backoff::between(SECOND / 20, SECOND);
        while !shutdown.is_cancelled() {
            let last = self.published.last(lane.partition);
            match follower.follow(shutdown, &mut backoff).await {
                Ok(Restart::Shutdown) => return,
                Ok(Restart::ReadTail) => {
                    if self.published.last(lane.partition) != last {
                        second = Backoff::between(SECOND / 20, SECOND);
                    }
                    second.pause(shutdown).await;
                }
                Err(problem) => {
                    tracing::warn!(lane = %lane, problem, "publishing is tried again");
                    self.progress.failed(lane.partition, &problem);
                    if !backoff.pause(shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    /// Publishes what is parked, once it can be.
    async fn redrive(&self, shutdown: &CancellationToken) {
        let Some(redriver) = &self.redriver else { return };
        let mut due = false;
        loop {
            match shutdown.run_until_cancelled(redriver.redrive_all(Some(self.stream), due)).await {
                None => return,
                Some(Ok(_)) => due = true,
                Some(Err(error)) => {
                    tracing::warn!(stream = self.stream, %error, "parked events can't be published again");
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(REDRIVE)).await.is_none() {
                return;
            }
        }
    }
}
