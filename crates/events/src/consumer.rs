//! Consumers: hand events to a handler, in order, at least once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::{BusError, Envelope, EventBus, Position, Progress};

/// How many events are fetched and acknowledged at once.
const BATCH: usize = 64;
/// How long a consumer sleeps when no beat wakes it.
const POLL: Duration = Duration::from_secs(1);

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It may work later: a store is down, or an event before it is missing. It is tried again until it works; the
    /// events behind it in its partition wait.
    #[error("{0}")]
    Retry(String),
    /// It will never work: its bytes can't be understood, say. It is parked, and so are the later events of its
    /// aggregate; others go on (ES-7).
    #[error("{0}")]
    Poison(String),
}

impl From<meshwork_sql::Error> for HandleError {
    fn from(error: meshwork_sql::Error) -> Self {
        HandleError::Retry(error.to_string())
    }
}

/// What a consumer does with an event.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Applies the event. It may come again: the [`inbox`](crate::inbox), or the event's id, tells.
    ///
    /// # Errors
    /// See [`HandleError`].
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError>;
}

/// Hands the events of a stream to a handler.
pub struct Consumer {
    bus: Arc<dyn EventBus>,
    name: &'static str,
    stream: &'static str,
    handler: Arc<dyn Handler>,
    progress: Progress,
}

impl Consumer {
    /// A consumer known to the bus as `name`.
    pub fn new(bus: Arc<dyn EventBus>, name: &'static str, stream: &'static str, handler: Arc<dyn Handler>) -> Self {
        let progress = Progress::new(bus.partitions());
        Self { bus, name, stream, handler, progress }
    }

    /// How far behind it is, for a check. What was parked is done.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Handles events until `shutdown`; the event in hand is finished first.
    ///
    /// Events that were parked are tried again at the start, so that a new version of the handler heals them.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        while let Err(error) = self.bus.register(self.name, self.stream).await {
            tracing::warn!(consumer = self.name, stream = self.stream, %error, "registering is tried again");
            if !backoff.pause(&shutdown).await {
                return;
            }
        }
        join_all((0..self.bus.partitions()).map(|partition| self.run_partition(partition, &shutdown))).await;
    }

    async fn run_partition(&self, partition: u16, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new();
        while let Err(error) = self.follow(partition, shutdown, &mut backoff).await {
            tracing::warn!(consumer = self.name, stream = self.stream, partition, %error, "consuming is tried again");
            if !backoff.pause(shutdown).await {
                return;
            }
        }
    }

    /// Handles events until `shutdown`, or until the bus fails.
    async fn follow(
        &self,
        partition: u16,
        shutdown: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), BusError> {
        let mut beats = self.bus.beats(self.stream, partition);
        let mut parked = self.redrive(partition, shutdown).await?;
        loop {
            let asked = Instant::now();
            let events = self.bus.fetch(self.name, self.stream, partition, BATCH).await?;
            *backoff = Backoff::new();
            let mut done = None;
            for event in &events {
                if shutdown.is_cancelled() || !self.take(event, &mut parked, shutdown).await? {
                    break;
                }
                done = Some(event);
            }
            if let Some(event) = done {
                self.bus.acknowledge(self.name, self.stream, event.position).await?;
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
    async fn take(
        &self,
        event: &Envelope,
        parked: &mut HashSet<String>,
        shutdown: &CancellationToken,
    ) -> Result<bool, BusError> {
        if parked.contains(&event.subject) {
            let reason = "an earlier event of this aggregate is parked";
            self.bus.park(self.name, self.stream, event, reason).await?;
            return Ok(true);
        }
        match self.handle(event, shutdown).await {
            Some(Ok(())) => Ok(true),
            Some(Err(reason)) => {
                tracing::error!(
                    consumer = self.name,
                    event = event.id,
                    r#type = event.event_type,
                    reason,
                    "an event can't be handled; it is parked, and its aggregate waits"
                );
                self.bus.park(self.name, self.stream, event, &reason).await?;
                parked.insert(event.subject.clone());
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Hands the event to the handler until it is handled or refused for good, with the reason; `None` at `shutdown`.
    async fn handle(&self, event: &Envelope, shutdown: &CancellationToken) -> Option<Result<(), String>> {
        let mut backoff = Backoff::new();
        loop {
            match self.handler.handle(event).await {
                Ok(()) => return Some(Ok(())),
                Err(HandleError::Poison(reason)) => return Some(Err(reason)),
                Err(HandleError::Retry(reason)) => {
                    tracing::warn!(consumer = self.name, event = event.id, reason, "an event is tried again");
                    if !backoff.pause(shutdown).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Tries the parked events again; returns the aggregates that stay parked.
    async fn redrive(&self, partition: u16, shutdown: &CancellationToken) -> Result<HashSet<String>, BusError> {
        let mut parked = HashSet::new();
        for event in self.bus.parked(self.name, self.stream, partition).await? {
            if parked.contains(&event.subject) {
                continue;
            }
            match self.handle(&event, shutdown).await {
                Some(Ok(())) => {
                    tracing::info!(consumer = self.name, event = event.id, "a parked event has been handled");
                    let position: Position = event.position;
                    self.bus.unpark(self.name, self.stream, position).await?;
                }
                Some(Err(_)) => {
                    parked.insert(event.subject);
                }
                None => break,
            }
        }
        Ok(parked)
    }
}
