//! Consumers: hand events to a handler, those of an aggregate in order, and again only where it isn't known whether it was
//! done.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join, join_all};
use futures_util::stream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::bus::{Bus, Delivery, Lane, Resume, Subscription};
use crate::deliverer::{Asks, Delivered, Deliverer};
use crate::handler::Handler;
use crate::redrive::Redriver;
use crate::state::ConsumerState;
use crate::{Envelope, Position, Progress, StreamReader};

/// How many events are fetched at once.
const BATCH: usize = 64;
/// How many aggregates of a lane are worked at at once: their effects share a flush of the consumer's database. What that bears
/// bounds all lanes together ([`ConsumerState::concurrency`]).
const CONCURRENCY: usize = 16;
/// How long the first event is waited for.
const WAIT: Duration = Duration::from_secs(1);
/// How long and how many events may wait for their acknowledgement, which costs two writes.
const ACKNOWLEDGE: Duration = Duration::from_millis(200);
const UNACKNOWLEDGED: usize = BATCH;
/// From which attempt on events are handed over one by one: each instance that ends, and each connection that breaks, has others
/// in hand too.
const ONE_BY_ONE: u32 = 3;
/// How often an event is tried before it is parked.
const ATTEMPTS: u32 = 8;
/// How long the pause between two tries gets: all of them take about 20 s.
const PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked for parked events that are to be tried again by themselves.
const REDRIVE: Duration = Duration::from_secs(15);

/// Hands the events of a stream to a handler.
pub struct Consumer {
    bus: Arc<dyn Bus>,
    name: &'static str,
    stream: &'static str,
    deliverer: Arc<Deliverer>,
    progress: Progress,
    places: Arc<Semaphore>,
}

/// A lane's subscription while it is worked at.
struct Worked<'a> {
    lane: &'a Lane,
    subscription: &'a mut dyn Subscription,
    /// When the bus was told last that we are at it.
    said: Instant,
    /// What is done and not acknowledged.
    done: Option<Done>,
    acknowledged_at: Instant,
}

/// Deliveries that are done, one behind the other.
#[derive(Clone, Copy)]
struct Done {
    /// The furthest position.
    position: Position,
    /// The last place.
    place: u64,
    events: usize,
}

impl Worked<'_> {
    /// Notes that a delivery is done, and all before it.
    fn done(&mut self, delivery: &Delivery) {
        let (position, events) = self.done.map_or((delivery.event.position, 0), |done| (done.position, done.events));
        let position = position.max(delivery.event.position);
        self.done = Some(Done { position, place: delivery.place, events: events + 1 });
    }

    /// For how long what is done may still wait for its acknowledgement; `None` when nothing is done.
    fn remaining(&self) -> Option<Duration> {
        let done = self.done?;
        let full = done.events >= UNACKNOWLEDGED;
        Some(if full { Duration::ZERO } else { ACKNOWLEDGE.saturating_sub(self.acknowledged_at.elapsed()) })
    }

    /// Does a piece of work, and tells the bus meanwhile, before it loses its patience.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let patience = self.subscription.patience() / 3;
        let mut work = pin!(work);
        loop {
            match timeout_at(self.said + patience, &mut work).await {
                Ok(worked) => return worked,
                Err(_) => {
                    self.said = Instant::now();
                    if let Err(error) = self.subscription.working().await {
                        // It may be handed over to another instance too, which its inbox tells.
                        tracing::warn!(lane = %self.lane, %error, "the bus can't be told that an event is worked at");
                    }
                }
            }
        }
    }
}

/// The places of deliveries by their aggregates.
fn by_aggregate(deliveries: &[Delivery]) -> Vec<Vec<usize>> {
    let mut chains: Vec<Vec<_>> = Vec::new();
    let mut known = HashMap::new();
    for (at, Delivery { event, .. }) in deliveries.iter().enumerate() {
        let chain = *known.entry(event.subject.as_str()).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[chain].push(at);
    }
    chains
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Consumer {
    /// A consumer known to the bus as `name`, with its own database as `state`: there it parks what it can't handle.
    pub fn new(
        bus: Arc<dyn Bus>,
        name: &'static str,
        stream: &'static str,
        handler: Arc<dyn Handler>,
        state: Arc<dyn ConsumerState>,
    ) -> Self {
        let partitions = bus.lanes(stream).iter().map(|lane| lane.partition + 1).max().unwrap_or_default();
        let progress = Progress::new(partitions);
        let places = Arc::new(Semaphore::new(state.concurrency().clamp(1, Semaphore::MAX_PERMITS)));
        Self { bus, name, stream, deliverer: Arc::new(Deliverer::new(handler, state, None)), progress, places }
    }

    /// Fetches missing events from `owner`. Without one, an aggregate that misses some is parked.
    #[must_use]
    pub fn backfill(self, owner: Arc<dyn StreamReader>) -> Self {
        let Deliverer { handler, state, .. } = self.deliverer.as_ref();
        let deliverer = Arc::new(Deliverer::new(handler.clone(), state.clone(), Some(owner)));
        Self { deliverer, ..self }
    }

    /// How far behind it is, for a check. What was parked is done.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// What hands its parked events over again.
    pub fn redriver(&self) -> Redriver {
        Redriver(self.deliverer.clone())
    }

    /// Handles events until `shutdown`; the event in hand is finished first.
    ///
    /// Events that were parked are tried again at the start, so that a new version of the handler heals them, and from time
    /// to time, so that an owner which is in reach again does.
    pub async fn run(&self, shutdown: CancellationToken) {
        let lanes = self.bus.lanes(self.stream);
        let lanes = join_all(lanes.iter().map(|lane| self.run_lane(lane, &shutdown)));
        join(lanes, self.redrive(&shutdown)).await;
    }

    async fn run_lane(&self, lane: &Lane, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new();
        while let Err(problem) = self.follow(lane, shutdown, &mut backoff).await {
            tracing::warn!(consumer = self.name, lane = %lane, problem, "consuming is tried again");
            self.progress.failed(lane.partition, &problem);
            if !backoff.pause(shutdown).await {
                return;
            }
        }
    }

    /// Handles events until `shutdown`, or until the bus or the consumer's own database fails: all is opened anew then.
    async fn follow(&self, lane: &Lane, shutdown: &CancellationToken, backoff: &mut Backoff) -> Result<(), String> {
        let resume = self.resume(lane).await?;
        let mut subscription = self.bus.subscribe(self.name, lane, resume).await.map_err(sentence)?;
        let now = Instant::now();
        let mut worked =
            Worked { lane, subscription: subscription.as_mut(), said: now, done: None, acknowledged_at: now };
        while !shutdown.is_cancelled() {
            let asked = Instant::now();
            let wait = worked.remaining().unwrap_or(WAIT);
            let Some(batch) = shutdown.run_until_cancelled(worked.subscription.next(BATCH, wait)).await else { break };
            let batch = batch.map_err(sentence)?;
            worked.said = asked;
            let all = self.work(&batch.deliveries, &mut worked, shutdown).await;
            // What was done before something failed is done.
            if !matches!(all, Ok(true)) || worked.remaining().is_some_and(|remaining| remaining.is_zero()) {
                self.acknowledge(&mut worked).await?;
            }
            if all? && batch.at_end {
                self.progress.caught_up(lane.partition, asked);
            }
            *backoff = Backoff::new();
        }
        self.acknowledge(&mut worked).await?;
        // Another instance, or the next, has what we held at once.
        subscription.later(Duration::ZERO).await.map_err(sentence)
    }

    /// Where to go on. Our own database may have been restored from an older copy.
    async fn resume(&self, lane: &Lane) -> Result<Resume, String> {
        let state = &self.deliverer.state;
        match state.position(&lane.stream, lane.partition).await {
            Ok(Some(position)) => Ok(Resume::Behind(position)),
            Ok(None) => Ok(Resume::FromStart),
            Err(error) if state.is_required() => Err(error.to_string()),
            Err(error) => {
                tracing::warn!(consumer = self.name, lane = %lane, %error, "a consumer goes on where the bus says");
                Ok(Resume::AsAcknowledged)
            }
        }
    }

    /// Handles deliveries, those of an aggregate in order; returns false when `shutdown` came before all were done.
    async fn work(
        &self,
        deliveries: &[Delivery],
        worked: &mut Worked<'_>,
        shutdown: &CancellationToken,
    ) -> Result<bool, String> {
        // What instances have had in hand when they ended comes one by one: what lies behind an event that ends this process
        // too isn't blamed for it, and what lies before isn't handed over again.
        let again = deliveries.first().is_some_and(|first| first.attempt >= ONE_BY_ONE);
        let done = match again {
            true => vec![false; deliveries.len()],
            false => self.work_at_once(deliveries, worked, shutdown).await,
        };
        for (at, (delivery, done)) in deliveries.iter().zip(done).enumerate() {
            if !done {
                let attempt = if at == 0 { delivery.attempt } else { 1 };
                if shutdown.is_cancelled() || !worked.beside(self.take(&delivery.event, attempt, shutdown)).await? {
                    return Ok(false);
                }
            }
            worked.done(delivery);
            self.progress.reached(worked.lane.partition, delivery.event.time);
            if again {
                self.acknowledge(worked).await?;
            }
        }
        Ok(true)
    }

    /// Hands the events of several aggregates over at once, as long as nothing stands in the way of any; returns which are done.
    ///
    /// What can't be done now is tried again by [`take`](Self::take), one event at a time: an outage doesn't park more than
    /// stood at the head of a lane.
    async fn work_at_once(
        &self,
        deliveries: &[Delivery],
        worked: &mut Worked<'_>,
        shutdown: &CancellationToken,
    ) -> Vec<bool> {
        let stopped = AtomicBool::new(false);
        let chains =
            by_aggregate(deliveries).into_iter().map(|chain| self.chain(deliveries, chain, shutdown, &stopped));
        let mut chains = pin!(stream::iter(chains).buffer_unordered(CONCURRENCY));
        let mut done = vec![false; deliveries.len()];
        while let Some(taken) = worked.beside(chains.next()).await {
            for at in taken {
                done[at] = true;
            }
        }
        done
    }

    /// Hands events of one aggregate over, in order; returns the places of what is done.
    async fn chain(
        &self,
        deliveries: &[Delivery],
        chain: Vec<usize>,
        shutdown: &CancellationToken,
        stopped: &AtomicBool,
    ) -> Vec<usize> {
        let mut taken = Vec::with_capacity(chain.len());
        for at in chain {
            let Some(Delivery { event, .. }) = deliveries.get(at) else { break };
            let Ok(_place) = self.places.acquire().await else { break };
            if shutdown.is_cancelled() || stopped.load(Ordering::Relaxed) {
                break;
            }
            match self.deliverer.deliver(self.stream, event, Asks::UnlessItHangs).await {
                Ok(Delivered::Done | Delivered::Parked(None)) => taken.push(at),
                Ok(Delivered::Parked(Some(reason))) => {
                    self.say_parked(event, &reason);
                    taken.push(at);
                }
                Ok(Delivered::Later(_)) | Err(_) => {
                    stopped.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
        taken
    }

    /// Notes what is done, here and on the bus: after its effect (NT-6).
    async fn acknowledge(&self, worked: &mut Worked<'_>) -> Result<(), String> {
        let Some(Done { position, place, .. }) = worked.done.take() else { return Ok(()) };
        // At once, since each waits for a disk: what the bus knows is ahead of this by a batch at most, unless this
        // database was restored.
        let reached = self.deliverer.state.reached(&worked.lane.stream, position);
        let (reached, acknowledged) = join(reached, worked.subscription.done_through(place)).await;
        fail::fail_point!("consumer::acknowledged");
        worked.acknowledged_at = Instant::now();
        reached.map_err(sentence)?;
        acknowledged.map_err(sentence)
    }

    /// Handles or parks an event; false when `shutdown` came before either.
    async fn take(&self, event: &Envelope, attempt: u32, shutdown: &CancellationToken) -> Result<bool, String> {
        let mut backoff = Backoff::between(PAUSE / 50, PAUSE);
        for attempt in attempt.. {
            let reason = if attempt > ATTEMPTS {
                format!("it was handed over {ATTEMPTS} times and never done")
            } else {
                let delivered = self.deliverer.deliver(self.stream, event, Asks::UnlessItHangs);
                match delivered.await.map_err(sentence)? {
                    Delivered::Done | Delivered::Parked(None) => return Ok(true),
                    Delivered::Parked(Some(reason)) => {
                        self.say_parked(event, &reason);
                        return Ok(true);
                    }
                    Delivered::Later(reason) => reason,
                }
            };
            if attempt >= ATTEMPTS {
                match self.deliverer.state.park(self.stream, event, &reason).await {
                    Ok(()) => {
                        self.say_parked(event, &reason);
                        return Ok(true);
                    }
                    // It waits, and so does everything behind it: nothing is lost.
                    Err(error) => {
                        tracing::warn!(consumer = self.name, event = event.id, %error, "an event can't be parked")
                    }
                }
            }
            tracing::warn!(consumer = self.name, event = event.id, attempt, reason, "an event is tried again");
            self.progress.failed(event.position.partition, &format!("{} is tried again: {reason}", event.id));
            if !backoff.pause(shutdown).await {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn say_parked(&self, event: &Envelope, reason: &str) {
        tracing::error!(
            consumer = self.name,
            event = event.id,
            r#type = event.event_type,
            reason,
            "an event can't be handled; it is parked, and its aggregate waits"
        );
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
            if shutdown.run_until_cancelled(tokio::time::sleep(REDRIVE)).await.is_none() {
                return;
            }
        }
    }
}
