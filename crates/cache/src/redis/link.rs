//! The task that looks after the link to Redis (CA-7): beats, what others wrote, and how a loss is made up for.

use std::sync::Arc;
use std::time::Duration;

use fred::error::Error;
use fred::types::client::Invalidation;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinError;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::commands::{Beat, Commands};
use super::connection::Subscriptions;
use super::epoch::Epoch;
use super::events::Event;
use super::failures::Failure;
use super::health::Health;
use super::pace::{AFTER_END, Recoveries, Silence};
use super::tracking;
use crate::remote::Listener;

/// Between signs of life.
const BEAT: Duration = Duration::from_millis(250);
/// Between two uses of what must not be evicted.
const TOUCH: Duration = Duration::from_secs(5);
/// How long it may take to make up for a loss; then it begins again.
const RECOVERY: Duration = Duration::from_secs(60);
/// A server that can't serve is left at most so often.
const BETWEEN_LEAVES: Duration = Duration::from_secs(1);
/// After so many attempts in a row that failed, a cluster gets other connections.
const FAILED_RECOVERIES: u32 = 3;
/// That a client has given up is said as an error at most so often.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// An attempt to make up for what was missed: the number of losses at its begin, and how it ended.
type Recovery = AbortOnDropHandle<(u64, Result<(), String>)>;

/// The link's task. It passes on what others wrote and takes the answers of beats, so that a beat that counts proves that
/// all that was told before it has been passed on.
pub(super) struct Link {
    commands: Arc<Commands>,
    health: Arc<Health>,
    subscriptions: Subscriptions,
    beat: Option<BoxFuture<'static, Beat>>,
    silence: Silence,
    /// Whether there is no connection yet, or none any more: the reason for that is told by the client.
    is_unconnected: bool,
    epoch: Option<Epoch>,
    touch: Option<BoxFuture<'static, Result<(), Failure>>>,
    touched: Instant,
    recovery: Option<Recovery>,
    recoveries: Recoveries,
    failed_recoveries: u32,
    /// Whether anything was written yet that a cluster's node could have lost.
    is_used: bool,
    left: Option<Instant>,
    reported: Option<Instant>,
}

impl Link {
    pub fn new(commands: Arc<Commands>, health: Arc<Health>, subscriptions: Subscriptions) -> Self {
        Self {
            commands,
            health,
            subscriptions,
            beat: None,
            silence: Silence::new(),
            is_unconnected: true,
            epoch: None,
            touch: None,
            touched: Instant::now(),
            recovery: None,
            recoveries: Recoveries::new(),
            failed_recoveries: 0,
            is_used: false,
            left: None,
            reported: None,
        }
    }

    /// Until nobody uses the cache any more.
    pub async fn run(mut self) {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.health.listener().is_some() {
            tokio::select! {
                biased;
                event = self.subscriptions.events.next() => self.happened(&event),
                message = next(&mut self.subscriptions.invalidations) => match message {
                    Ok(invalidation) => self.pass_on(&invalidation),
                    Err(missed) => self.missed(missed),
                },
                answered = settled(&mut self.beat) => {
                    self.beat = None;
                    self.answered(answered);
                }
                ended = settled(&mut self.recovery) => {
                    self.recovery = None;
                    self.ended(ended);
                }
                touched = settled(&mut self.touch) => {
                    self.touch = None;
                    if let Err(failure) = touched {
                        // The beats tell whether that is more than a bad moment.
                        let problem = failure.sentence;
                        tracing::debug!(problem, "cache: tags and marks were not touched, and may be evicted first");
                    }
                }
                given_up = settled(&mut self.subscriptions.end) => {
                    self.subscriptions.end = None;
                    self.gave_up(given_up);
                }
                () = self.health.distrusted() => ticks.reset_immediately(),
                _ = ticks.tick(), if self.beat.is_none() => self.ask(),
            }
            if self.health.is_down() {
                self.recoveries.down(self.health.is_distrusted());
            }
            if self.health.must_leave() {
                self.leave();
            }
            if self.silence.is_over() {
                self.replace("the connection to Redis gives no answers; another one is made");
            }
        }
    }

    /// Sends a beat, unless there is nobody who would.
    fn ask(&mut self) {
        if self.subscriptions.end.is_none() {
            return;
        }
        self.beat = Some(Arc::clone(&self.commands).beat().boxed());
        if self.touch.is_none() && self.touched.elapsed() >= TOUCH && !self.health.is_down() {
            self.touched = Instant::now();
            self.touch = Some(Arc::clone(&self.commands).touch().boxed());
        }
    }

    fn happened(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.silence.connected();
                self.is_unconnected = false;
            }
            Event::Failed(failure) if !failure.is_vague => self.is_unconnected = true,
            // Whose place another server has taken may have had more than that, and what invalidates it again begins at
            // marks that lie on a third one.
            Event::Moved | Event::Missed if self.commands.is_clustered && self.is_used => self.forget(),
            _ => {}
        }
        match event {
            Event::Failed(failure) if !failure.is_vague => self.health.lose(event.problem()),
            _ => self.health.interrupt(event.problem()),
        }
    }

    /// The next recovery drops all that Redis holds.
    fn forget(&self) {
        if let Some(listener) = self.health.listener() {
            listener.forget();
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
        while let Some(event) = self.subscriptions.events.take() {
            self.happened(&event);
        }
        loop {
            match self.subscriptions.invalidations.try_recv() {
                Ok(invalidation) => self.pass_on(&invalidation),
                Err(TryRecvError::Lagged(missed)) => self.missed(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn answered(&mut self, beat: Beat) {
        let is_answer = match &beat.answer {
            Ok(_) => true,
            Err(failure) => failure.is_answer,
        };
        if is_answer {
            self.silence.answered();
            self.is_unconnected = false;
        }
        let epoch = match beat.answer {
            Ok(epoch) => epoch,
            Err(failure) if failure.leave => {
                self.health.lose(&failure.sentence);
                return self.leave();
            }
            Err(failure) if failure.is_vague || self.is_unconnected => {
                return self.health.interrupt(&failure.sentence);
            }
            Err(failure) => return self.health.lose(&failure.sentence),
        };
        self.catch_up_with_messages();
        if let Some(problem) = self.epoch.as_ref().and_then(|last| epoch.breaks_with(last)) {
            // The marks may have been moved past what was lost, between the last beat on the old data and now.
            self.forget();
            self.health.interrupt(problem);
        }
        self.epoch = Some(epoch);
        self.health.beat(beat.sent);
        if self.health.is_down() {
            self.recoveries.down(self.health.is_distrusted());
            if self.recovery.is_none() && self.recoveries.is_due() {
                self.recover();
            }
        }
    }

    /// Begins to make up for what was missed, in a task of its own: the beats go on.
    fn recover(&mut self) {
        let Some(listener) = self.health.listener() else { return };
        self.is_used = true;
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
                self.failed_recoveries = 0;
                // When it was lost meanwhile, the next beat begins again.
                if self.health.recovered(losses) {
                    self.recoveries.up();
                    if let Some(listener) = self.health.listener() {
                        listener.recovered();
                    }
                }
                return;
            }
            Ok((_, Err(problem))) => problem,
            Err(error) => format!("making up for what was missed broke off ({error}); this is a bug, please report it"),
        };
        self.health.lose(&problem);
        self.recoveries.failed();
        self.failed_recoveries += 1;
        // Beats reach one server of a cluster only: the connection to another may be dead.
        if self.commands.is_clustered && self.failed_recoveries >= FAILED_RECOVERIES {
            self.failed_recoveries = 0;
            self.replace("what was missed could not be made up for; other connections are made");
        }
    }

    /// Looks for another server by the URL, since this one can't serve.
    fn leave(&mut self) {
        if self.left.is_none_or(|at| at.elapsed() >= BETWEEN_LEAVES) {
            self.left = Some(Instant::now());
            self.replace("the Redis that can't serve is left");
        }
    }

    /// The client has ended by itself, which happens where it finds that trying again is no use.
    fn gave_up(&mut self, ended: Result<Result<(), Error>, JoinError>) {
        let why = match ended {
            Ok(Ok(())) => "it was told to".to_owned(),
            Ok(Err(error)) => Failure::of(&error, &self.commands.place).sentence,
            Err(error) => error.to_string(),
        };
        let problem = format!("the client of Redis has given up ({why})");
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            tracing::error!("cache: {problem}; correct the URL or the server; it is tried again every {AFTER_END:?}");
        }
        self.health.lose(&problem);
        self.beat = None;
        self.silence.ended();
    }

    /// Makes another connection. The last one ends at once, and with it what was under way there.
    fn replace(&mut self, problem: &str) {
        self.health.interrupt(problem);
        self.subscriptions = self.commands.replace();
        self.is_unconnected = true;
        self.beat = None;
        self.touch = None;
        self.silence.replaced();
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
