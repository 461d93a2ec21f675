//! The task that looks after the link to Redis (CA-7): beats, what others wrote, and how a loss is made up for.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::TrackingInterface as _;
use fred::types::client::Invalidation;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinError;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::commands::{Beat, Commands};
use super::events::{Event, Events};
use super::health::Health;
use super::tracking;
use crate::remote::Listener;

/// Between signs of life.
const BEAT: Duration = Duration::from_millis(250);
/// How long it may take to make up for a loss; then it begins again.
const RECOVERY: Duration = Duration::from_secs(60);
/// At most so long after a failed attempt the next one begins; at first after a beat.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A server that can't serve is left at most so often.
const BETWEEN_LEAVES: Duration = Duration::from_secs(1);

/// What the client tells by itself, subscribed to before its first connection.
pub(super) struct Subscriptions {
    events: Events,
    invalidations: Receiver<Invalidation>,
}

impl Subscriptions {
    pub fn of(client: &Client) -> Self {
        Self { events: Events::of(client), invalidations: client.invalidation_rx() }
    }
}

/// An attempt to make up for what was missed: the number of losses at its begin, and how it ended.
type Recovery = AbortOnDropHandle<(u64, Result<(), String>)>;

/// The link's task. It passes on what others wrote and takes the answers of beats, so that a beat that counts proves that
/// all that was told before it has been passed on.
pub(super) struct Link {
    commands: Arc<Commands>,
    health: Arc<Health>,
    events: Events,
    invalidations: Receiver<Invalidation>,
    epoch: Option<String>,
    recovery: Option<Recovery>,
    pause: Duration,
    not_before: Instant,
    left: Option<Instant>,
}

impl Link {
    pub fn new(commands: Arc<Commands>, health: Arc<Health>, subscriptions: Subscriptions) -> Self {
        let Subscriptions { events, invalidations } = subscriptions;
        let not_before = Instant::now();
        let (epoch, recovery, left) = (None, None, None);
        Self { commands, health, events, invalidations, epoch, recovery, pause: BEAT, not_before, left }
    }

    /// Until nobody uses the cache any more.
    pub async fn run(mut self) {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat: Option<BoxFuture<'static, Beat>> = None;
        while self.health.listener().is_some() {
            tokio::select! {
                biased;
                event = self.events.next() => self.happened(&event),
                message = next(&mut self.invalidations) => match message {
                    Ok(invalidation) => self.pass_on(&invalidation),
                    Err(missed) => self.missed(missed),
                },
                answered = settled(&mut beat) => {
                    beat = None;
                    self.answered(answered);
                }
                ended = settled(&mut self.recovery) => {
                    self.recovery = None;
                    self.ended(ended);
                }
                () = self.health.distrusted() => ticks.reset_immediately(),
                _ = ticks.tick(), if beat.is_none() => beat = Some(Arc::clone(&self.commands).beat().boxed()),
            }
            if self.health.must_leave() {
                self.leave();
            }
        }
    }

    fn happened(&self, event: &Event) {
        match event {
            Event::Failed(failure) if !failure.is_vague => self.health.lose(event.problem()),
            _ => self.health.interrupt(event.problem()),
        }
    }

    fn pass_on(&self, invalidation: &Invalidation) {
        if let Some(listener) = self.health.listener() {
            tracking::pass_on(invalidation, &self.commands.keys, &*listener);
        }
    }

    fn missed(&self, missed: u64) {
        self.health
            .interrupt(&format!("{missed} messages about what others wrote came faster than they were passed on"));
    }

    /// Passes on all that has been told before now.
    fn catch_up_with_messages(&mut self) {
        while let Some(event) = self.events.take() {
            self.happened(&event);
        }
        loop {
            match self.invalidations.try_recv() {
                Ok(invalidation) => self.pass_on(&invalidation),
                Err(TryRecvError::Lagged(missed)) => self.missed(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn answered(&mut self, beat: Beat) {
        let epoch = match beat.answer {
            Ok(epoch) => epoch,
            Err(failure) if failure.leave => {
                self.health.lose(&failure.sentence);
                return self.leave();
            }
            Err(failure) if failure.is_vague => return self.health.interrupt(&failure.sentence),
            Err(failure) => return self.health.lose(&failure.sentence),
        };
        self.catch_up_with_messages();
        if self.epoch.as_ref().is_some_and(|last| *last != epoch) {
            // The client drops the message of a flush.
            self.health.interrupt("Redis was flushed, or another server answers with other data");
        }
        self.epoch = Some(epoch);
        self.health.beat(beat.sent);
        if self.health.is_down() && self.recovery.is_none() && Instant::now() >= self.not_before {
            self.recover();
        }
    }

    /// Begins to make up for what was missed, in a task of its own: the beats go on.
    fn recover(&mut self) {
        let Some(listener) = self.health.listener() else { return };
        let losses = self.health.catch_up();
        let commands = Arc::clone(&self.commands);
        let reason = self.health.problem().unwrap_or_else(|| "the link to Redis was not up before".to_owned());
        let recovery = tokio::spawn(async move { (losses, recover(&commands, &*listener, &reason).await) });
        self.recovery = Some(AbortOnDropHandle::new(recovery));
    }

    fn ended(&mut self, ended: Result<(u64, Result<(), String>), JoinError>) {
        self.catch_up_with_messages();
        let problem = match ended {
            Ok((losses, Ok(()))) => {
                // When it was lost meanwhile, the next beat begins again.
                if self.health.recovered(losses) {
                    self.pause = BEAT;
                }
                return;
            }
            Ok((_, Err(problem))) => problem,
            Err(error) => format!("making up for what was missed broke off ({error}); this is a bug, please report it"),
        };
        self.health.lose(&problem);
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Looks for another server by the URL, since this one can't serve.
    fn leave(&mut self) {
        if self.left.is_none_or(|at| at.elapsed() >= BETWEEN_LEAVES) {
            self.left = Some(Instant::now());
            let commands = Arc::clone(&self.commands);
            tokio::spawn(async move { commands.reconnect().await });
        }
    }
}

/// What others write is told from now on, what the local tier holds from before is dropped, and what has been committed
/// meanwhile reaches Redis.
async fn recover(commands: &Commands, listener: &dyn Listener, reason: &str) -> Result<(), String> {
    // In a cluster only one server would tell: without tracking, the local tier holds entries for a second at most.
    if !commands.is_clustered {
        commands.track().await.map_err(|failure| failure.sentence)?;
    }
    listener.lost(reason);
    match timeout(RECOVERY, listener.recover()).await {
        Ok(recovered) => recovered,
        Err(_) => Err(format!("what was missed could not be made up for within {RECOVERY:?}; it begins again")),
    }
}

/// The next message, or how many were missed.
async fn next(messages: &mut Receiver<Invalidation>) -> Result<Invalidation, u64> {
    match messages.recv().await {
        Ok(message) => Ok(message),
        Err(RecvError::Lagged(missed)) => Err(missed),
        // The client has ended: there is nothing more to wait for, and the beats tell.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

/// The outcome, once there is something to wait for.
async fn settled<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
