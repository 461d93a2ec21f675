//! The relay: publishes what a source holds, in order, from where the bus's own tail says (NT-1 to NT-4).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::{BusError, Envelope, EventBus, Position, Progress, Source};

/// How many commits are read and published at once.
const BATCH: usize = 128;
/// How long the relay sleeps when no beat wakes it.
const POLL: Duration = Duration::from_secs(1);
/// How long the source may take to be read: a server may be gone without a word.
const READ: Duration = Duration::from_secs(30);
/// How often the event at the bus's tail is looked for before it counts as lost.
const LOOKS: u32 = 4;
/// How often a partition that was stopped says so.
const ALARM: Duration = Duration::from_secs(60);

/// How far a relay knows its events to be on the bus. Clones share it.
#[derive(Clone, Debug)]
pub struct Published(Arc<[AtomicI64]>);

impl Published {
    fn new(partitions: u16) -> Self {
        Self((0..partitions).map(|_| AtomicI64::new(0)).collect())
    }

    /// The position of a partition's last event on the bus; `None` when the relay hasn't learnt of any yet.
    pub fn last(&self, partition: u16) -> Option<i64> {
        let last = self.0.get(usize::from(partition))?.load(Ordering::Relaxed);
        (last > 0).then_some(last)
    }

    fn reached(&self, position: Position) {
        if let Some(last) = self.0.get(usize::from(position.partition)) {
            last.fetch_max(position.n, Ordering::Relaxed);
        }
    }
}

/// Follows a source and publishes its events to a stream of the bus.
pub struct Relay {
    source: Arc<dyn Source>,
    bus: Arc<dyn EventBus>,
    stream: &'static str,
    progress: Progress,
    published: Published,
}

/// Why a partition's relay begins again from the bus's tail.
enum Restart {
    Shutdown,
    ReadTail,
}

impl Relay {
    /// A relay from `source` to `stream`.
    pub fn new(source: Arc<dyn Source>, bus: Arc<dyn EventBus>, stream: &'static str) -> Self {
        let (progress, published) = (Progress::new(source.partitions()), Published::new(source.partitions()));
        Self { source, bus, stream, progress, published }
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
    /// Returns at once, having said so, when the source has more partitions than the bus: consumers would not see them.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (source, bus) = (self.source.partitions(), self.bus.partitions());
        if source > bus {
            tracing::error!(stream = self.stream, source, bus, "the source has more partitions than the bus");
            return;
        }
        join_all((0..self.source.partitions()).map(|partition| self.run_partition(partition, &shutdown))).await;
    }

    async fn run_partition(&self, partition: u16, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new();
        while !shutdown.is_cancelled() {
            match self.follow(partition, shutdown, &mut backoff).await {
                Ok(Restart::Shutdown) => return,
                Ok(Restart::ReadTail) => {}
                Err(problem) => {
                    tracing::warn!(stream = self.stream, partition, problem, "publishing is tried again");
                    if !backoff.pause(shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    /// Publishes from the tail on, until the bus says that the tail is elsewhere.
    async fn follow(
        &self,
        partition: u16,
        shutdown: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<Restart, String> {
        let mut beats = self.source.beats(partition);
        let tail = self.bus.tail(self.stream, partition).await.map_err(|error| error.to_string())?;
        let mut tail_at = tail.as_ref().map(|tail| tail.position);
        let mut next = 1;
        if let Some(tail) = tail {
            // The tail must be ours: a bus that is ahead of its source belongs to another source, or the source has
            // lost commits. Going on would publish other events under positions that are taken.
            match self.holds(&tail, shutdown).await? {
                Some(true) => {
                    self.published.reached(tail.position);
                    next = tail.position.n;
                }
                Some(false) => {
                    let common = self.common(&tail).await?;
                    if !self.source.go_on_behind(&tail, common).await? {
                        return Ok(self.diverged(partition, tail.position, shutdown).await);
                    }
                    tracing::error!(
                        stream = self.stream,
                        partition,
                        n = tail.position.n,
                        common,
                        "relay_diverged: the bus holds an event that its source doesn't, since the source was restored from an \
                         older copy; what the bus doesn't hold is published behind that"
                    );
                    return Ok(Restart::ReadTail);
                }
                None => return Ok(Restart::Shutdown),
            }
        }
        let mut stopping = false;
        loop {
            let asked = Instant::now();
            let read = tokio::time::timeout(READ, self.source.read(partition, next, BATCH)).await;
            let batch = read.unwrap_or_else(|_| Err(format!("no answer within {} s", READ.as_secs())))?;
            // A relay may have stopped between two events of one commit.
            let events: Vec<_> = batch.events.into_iter().filter(|event| Some(event.position) > tail_at).collect();
            if let Some((last, at)) = events.last().map(|event| (event.position, event.time)) {
                match self.bus.publish(self.stream, partition, tail_at, events).await {
                    Ok(()) => {
                        self.published.reached(last);
                        tail_at = Some(last);
                    }
                    Err(BusError::TailMoved) => return Ok(Restart::ReadTail),
                    Err(error) => return Err(error.to_string()),
                }
                self.progress.reached(partition, at);
                *backoff = Backoff::new();
            }
            // Positions are dense: a batch that ends early has reached the end, and a beat will tell of more.
            let full = next + i64::try_from(BATCH).unwrap_or(i64::MAX) - 1;
            let at_end = batch.seen.is_none_or(|seen| seen < full);
            next = batch.seen.map_or(next, |seen| seen + 1);
            if at_end {
                self.progress.caught_up(partition, asked);
                // One more read after the stop was asked for: what was written before it is published.
                if stopping {
                    return Ok(Restart::Shutdown);
                }
                stopping = shutdown.run_until_cancelled(beats.any(POLL)).await.is_none();
            }
        }
    }

    /// Whether the source holds the event at the bus's tail; `None` when `shutdown` comes first.
    ///
    /// Another process may have published what this one has not met yet, nor the server that it happens to ask.
    async fn holds(&self, tail: &Envelope, shutdown: &CancellationToken) -> Result<Option<bool>, String> {
        let Position { partition, n, .. } = tail.position;
        let mut backoff = Backoff::new();
        for _ in 0..LOOKS {
            let read = tokio::time::timeout(READ, self.source.read_now(partition, n, 1)).await;
            let batch = read.unwrap_or_else(|_| Err(format!("no answer within {} s", READ.as_secs())))?;
            if batch.seen.is_some() {
                return Ok(Some(
                    batch
                        .events
                        .iter()
                        .any(|event| event.position == tail.position && self.source.is_same(event, tail)),
                ));
            }
            if !backoff.pause(shutdown).await {
                return Ok(None);
            }
        }
        Ok(Some(false))
    }

    /// Up to which position the source and the bus hold the same, below an event of the bus that the source doesn't hold. What
    /// a copy has of the source is a beginning of it, so that half of what is left is looked at each time.
    async fn common(&self, tail: &Envelope) -> Result<i64, String> {
        let Position { partition, n, .. } = tail.position;
        let (mut same, mut other) = (0, n);
        while other - same > 1 {
            let middle = same + (other - same) / 2;
            if self.is_published(partition, middle).await? { same = middle } else { other = middle }
        }
        Ok(same)
    }

    /// Whether what the source holds at a position, if anything, is what the bus holds there, or has held.
    async fn is_published(&self, partition: u16, n: i64) -> Result<bool, String> {
        let batch = self.source.read(partition, n, 1).await?;
        let Some(event) = batch.events.first() else { return Ok(false) };
        if event.position.n != n {
            // The source has removed it, which it does with what is published.
            return Ok(true);
        }
        match self.bus.event_at(self.stream, event.position).await.map_err(|error| error.to_string())? {
            Some(published) => Ok(self.source.is_same(event, &published)),
            // The bus has removed it, if it is as old as that.
            None => Ok(OffsetDateTime::now_utc() - event.time > self.bus.retention()),
        }
    }

    /// Stops the partition and says so, until somebody has put it right.
    async fn diverged(&self, partition: u16, tail: Position, shutdown: &CancellationToken) -> Restart {
        tracing::error!(
            stream = self.stream,
            partition,
            n = tail.n,
            "relay_diverged: the bus holds an event that its source doesn't; nothing is published until the bus is \
             emptied or the source is restored"
        );
        match shutdown.run_until_cancelled(tokio::time::sleep(ALARM)).await {
            None => Restart::Shutdown,
            Some(()) => Restart::ReadTail,
        }
    }
}
