//! Consumers: hand events to a handler, in order, at least once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::delivery::{Asks, Delivered, Delivery};
use crate::handler::Handler;
use crate::redrive::Redriver;
use crate::state::ConsumerState;
use crate::{Envelope, EventBus, Position, Progress, StreamReader};

/// How many events are fetched and acknowledged at once.
const BATCH: usize = 64;
/// How long a consumer sleeps when no beat wakes it.
const POLL: Duration = Duration::from_secs(1);
/// How often it is looked for parked events that are to be tried again by themselves.
const REDRIVE: Duration = Duration::from_secs(15);

/// Hands the events of a stream to a handler.
pub struct Consumer {
    bus: Arc<dyn EventBus>,
    name: &'static str,
    stream: &'static str,
    delivery: Arc<Delivery>,
    progress: Progress,
}

impl Consumer {
    /// A consumer known to the bus as `name`, with its own database as `state`: there it parks what it can't handle.
    pub fn new(
        bus: Arc<dyn EventBus>,
        name: &'static str,
        stream: &'static str,
        handler: Arc<dyn Handler>,
        state: Arc<dyn ConsumerState>,
    ) -> Self {
        let progress = Progress::new(bus.partitions());
        Self { bus, name, stream, delivery: Arc::new(Delivery::new(handler, state, None)), progress }
    }

    /// Fetches missing events from `owner`. Without one, an aggregate that misses some is parked.
    #[must_use]
    pub fn backfill(self, owner: Arc<dyn StreamReader>) -> Self {
        let Delivery { handler, state, .. } = self.delivery.as_ref();
        let delivery = Arc::new(Delivery::new(handler.clone(), state.clone(), Some(owner)));
        Self { delivery, ..self }
    }

    /// How far behind it is, for a check. What was parked is done.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// What hands its parked events over again.
    pub fn redriver(&self) -> Redriver {
        Redriver(self.delivery.clone())
    }

    /// Handles events until `shutdown`; the event in hand is finished first.
    ///
    /// Events that were parked are tried again at the start, so that a new version of the handler heals them, and from time
    /// to time, so that an owner which is in reach again does.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        while let Err(problem) = self.begin().await {
            tracing::warn!(consumer = self.name, stream = self.stream, problem, "registering is tried again");
            if !backoff.pause(&shutdown).await {
                return;
            }
        }
        let partitions = join_all((0..self.bus.partitions()).map(|partition| self.run_partition(partition, &shutdown)));
        join(partitions, self.redrive(&shutdown)).await;
    }

    /// Makes the consumer known, and takes over what the release before has parked in the bus: before anything is tried again,
    /// so that this is too.
    async fn begin(&self) -> Result<(), String> {
        self.bus.register(self.name, self.stream).await.map_err(|error| error.to_string())?;
        for partition in 0..self.bus.partitions() {
            self.take_parked_of_bus(partition).await?;
        }
        Ok(())
    }

    async fn run_partition(&self, partition: u16, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new();
        while let Err(problem) = self.follow(partition, shutdown, &mut backoff).await {
            tracing::warn!(consumer = self.name, stream = self.stream, partition, problem, "consuming is tried again");
            if !backoff.pause(shutdown).await {
                return;
            }
        }
    }

    /// Handles events until `shutdown`, or until the bus or the store of parked events fails.
    async fn follow(&self, partition: u16, shutdown: &CancellationToken, backoff: &mut Backoff) -> Result<(), String> {
        let mut beats = self.bus.beats(self.stream, partition);
        self.rewind(partition).await?;
        loop {
            let asked = Instant::now();
            let events = self.bus.fetch(self.name, self.stream, partition, BATCH).await.map_err(|it| it.to_string())?;
            *backoff = Backoff::new();
            let mut done = None;
            for event in &events {
                if shutdown.is_cancelled() || !self.take(event, shutdown).await? {
                    break;
                }
                done = Some(event);
            }
            if let Some(event) = done {
                // At once, since each waits for a disk: what the bus knows is ahead of this by a batch at most, unless this
                // database was restored.
                let reached = self.delivery.state.reached(self.stream, event.position);
                let acknowledged = self.bus.acknowledge(self.name, self.stream, event.position);
                let (reached, acknowledged) = join(reached, acknowledged).await;
                reached.map_err(|error| error.to_string())?;
                acknowledged.map_err(|error| error.to_string())?;
                self.progress.reached(partition, event.time);
            }
            // A batch that isn't full has reached the end, and a beat will tell of more.
            let at_end = events.len() < BATCH;
            if at_end && done.map(|event| event.position) == events.last().map(|event| event.position) {
                self.progress.caught_up(partition, asked);
            }
            if shutdown.is_cancelled() || at_end && shutdown.run_until_cancelled(beats.any(POLL)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Handles or parks an event; false when `shutdown` came before either.
    async fn take(&self, event: &Envelope, shutdown: &CancellationToken) -> Result<bool, String> {
        let mut backoff = Backoff::new();
        loop {
            match self
                .delivery
                .deliver(self.stream, event, Asks::UnlessItHangs)
                .await
                .map_err(|error| error.to_string())?
            {
                Delivered::Done | Delivered::Parked(None) => return Ok(true),
                Delivered::Parked(Some(reason)) => {
                    tracing::error!(
                        consumer = self.name,
                        event = event.id,
                        r#type = event.event_type,
                        reason,
                        "an event can't be handled; it is parked, and its aggregate waits"
                    );
                    return Ok(true);
                }
                Delivered::Later(reason) => {
                    tracing::warn!(consumer = self.name, event = event.id, reason, "an event is tried again");
                    if !backoff.pause(shutdown).await {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Takes over what the release before has parked in the bus, of a partition.
    async fn take_parked_of_bus(&self, partition: u16) -> Result<(), String> {
        let parked = self.bus.parked(self.name, self.stream, partition).await.map_err(|error| error.to_string())?;
        for (event, reason) in parked {
            let state = &self.delivery.state;
            state.park(self.stream, &event, &reason).await.map_err(|error| error.to_string())?;
            let unparked = self.bus.unpark(self.name, self.stream, event.position).await;
            unparked.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Goes back to where our own database is, which may have been restored from an older copy.
    async fn rewind(&self, partition: u16) -> Result<(), String> {
        let theirs =
            self.bus.acknowledged(self.name, self.stream, partition).await.map_err(|error| error.to_string())?;
        let ours = self.delivery.state.position(self.stream, partition).await.map_err(|error| error.to_string())?;
        let Some(ours) = ours else { return self.note_start(partition).await };
        let Some(theirs) = theirs.filter(|theirs| *theirs > ours) else { return Ok(()) };
        if self.bus.rewind(self.name, self.stream, ours).await.map_err(|error| error.to_string())? {
            tracing::warn!(
                consumer = self.name,
                stream = self.stream,
                partition,
                ours = ours.n,
                acknowledged = theirs.n,
                "our database is behind what was acknowledged: it was restored from an older copy, or a process has ended \
                 within a batch. What came since is handled again"
            );
        }
        Ok(())
    }

    /// Notes where we begin, before anything was handled: a copy of our database then knows the partition, though its first
    /// event may come later.
    async fn note_start(&self, partition: u16) -> Result<(), String> {
        // The tail first: what comes meanwhile is not acknowledged.
        let tail = self.bus.tail(self.stream, partition).await.map_err(|error| error.to_string())?;
        let next = self.bus.fetch(self.name, self.stream, partition, 1).await.map_err(|error| error.to_string())?;
        let start = match (next.first().map(|event| event.position), tail) {
            (Some(Position { n, index: 0, .. }), _) => Position { partition, n: n - 1, index: u32::MAX },
            (Some(Position { n, index, .. }), _) => Position { partition, n, index: index - 1 },
            (None, Some(tail)) => tail.position,
            (None, None) => Position { partition, n: 0, index: 0 },
        };
        self.delivery.state.reached(self.stream, start).await.map_err(|error| error.to_string())
    }

    /// Tries what is parked again: all of it at first, then what is due.
    async fn redrive(&self, shutdown: &CancellationToken) {
        let mut due = false;
        loop {
            match shutdown.run_until_cancelled(self.redriver().redrive_all(Some(self.stream), due)).await {
                None => return,
                Some(Ok(_)) => due = true,
                Some(Err(error)) => {
                    tracing::warn!(consumer = self.name, %error, "parked events can't be tried again");
                }
            }
            // An instance of the release before may run beside this one.
            for partition in 0..self.bus.partitions() {
                if let Err(problem) = self.take_parked_of_bus(partition).await {
                    tracing::warn!(
                        consumer = self.name,
                        partition,
                        problem,
                        "events that are parked in the bus stay there"
                    );
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(REDRIVE)).await.is_none() {
                return;
            }
        }
    }
}
