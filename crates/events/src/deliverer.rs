//! One event to its handler: with what it misses before it, or into the parked events.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use meshwork_sql::Error;
use tokio::time::Instant;

use crate::handler::{HandleError, Handler};
use crate::state::ConsumerState;
use crate::{Envelope, StreamReader};

/// How many missing events are fetched at once.
const PAGE: usize = 256;
/// How many missing events of one aggregate are fetched at most before it is parked instead.
const MISSING: i64 = 10_000;
/// How long one request for missing events may take.
const FETCH: Duration = Duration::from_secs(5);
/// How often their owner is asked before the aggregate is parked; once only while the owner was out of reach just now, or when
/// it doesn't answer at all.
const TRIES: u32 = 3;
/// The pause between two of these tries.
const PAUSE: Duration = Duration::from_millis(250);
/// For how long an owner that could not be asked is asked only once for each aggregate, and one that did not answer not at all:
/// others wait behind it.
const OUT_OF_REACH: Duration = Duration::from_secs(30);
/// How often an event is handed over at most while nothing is wrong with it: it was not blocked any more, or what it misses
/// was there.
const ROUNDS: u32 = 4;

/// What has become of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It was handled, now or before.
    Done,
    /// It is parked; the reason, unless it only waits behind others.
    Parked(Option<String>),
    /// It may work later: why it didn't now.
    Later(String),
}

/// Whether the owner of missing events is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// In any case: somebody wants it now.
    Always,
    /// Unless it did not answer a moment ago: others wait.
    UnlessItHangs,
}

/// What has become of the events that were missing.
enum Filled {
    Yes,
    Later(String),
    No(String),
}

/// Delivers events to one consumer's handler.
pub(crate) struct Deliverer {
    pub handler: Arc<dyn Handler>,
    pub state: Arc<dyn ConsumerState>,
    owner: Option<Arc<dyn StreamReader>>,
    /// That the owner could not be asked.
    out_of_reach: Mutex<Option<OutOfReach>>,
}

/// An owner could not be asked.
#[derive(Clone)]
struct OutOfReach {
    /// When that was.
    at: Instant,
    /// Whether it has not answered at all, rather than refused.
    hangs: bool,
}

impl Deliverer {
    pub fn new(handler: Arc<dyn Handler>, state: Arc<dyn ConsumerState>, owner: Option<Arc<dyn StreamReader>>) -> Self {
        Self { handler, state, owner, out_of_reach: Mutex::new(None) }
    }

    /// Hands an event over once, filling a hole before it. What can't be handled is parked. `asks` says whether an owner is asked
    /// that did not answer just now.
    ///
    /// # Errors
    /// When it can't be parked.
    pub async fn deliver(&self, stream: &str, event: &Envelope, asks: Asks) -> Result<Delivered, Error> {
        for _ in 0..ROUNDS {
            match self.hand_over(event).await {
                Ok(()) => return Ok(Delivered::Done),
                Err(HandleError::Retry(reason)) => return Ok(Delivered::Later(reason)),
                Err(HandleError::Poison(reason)) => return self.park(stream, event, reason).await,
                Err(HandleError::Parked) => {
                    if self.state.queue(stream, event).await? {
                        return Ok(Delivered::Parked(None));
                    }
                }
                Err(HandleError::Hole { last }) => match self.fill(stream, event, last, asks).await? {
                    Filled::Yes => {}
                    Filled::Later(reason) => return Ok(Delivered::Later(reason)),
                    Filled::No(reason) => return self.park(stream, event, reason).await,
                },
            }
        }
        Ok(Delivered::Later(format!("{} changes its place each time it is looked at", event.id)))
    }

    /// What the handler writes is caused by the event. A handler that panics must not take the other aggregates with it.
    async fn hand_over(&self, event: &Envelope) -> Result<(), HandleError> {
        fail::fail_point!("consumer::handed_over");
        let handled = AssertUnwindSafe(event.caused().scope(self.handler.handle(event))).catch_unwind().await;
        fail::fail_point!("consumer::done");
        handled.unwrap_or_else(|_| Err(HandleError::Retry("its handler has panicked".to_owned())))
    }

    async fn park(&self, stream: &str, event: &Envelope, reason: String) -> Result<Delivered, Error> {
        self.state.park(stream, event, &reason).await?;
        Ok(Delivered::Parked(Some(reason)))
    }

    /// Fetches what is missing between `last` and the event from its owner, and hands it over.
    async fn fill(&self, stream: &str, event: &Envelope, last: i64, asks: Asks) -> Result<Filled, Error> {
        let missing = format!("versions {} to {} of {} are missing", last + 1, event.version - 1, event.subject);
        let Some(owner) = &self.owner else { return Ok(Filled::No(missing)) };
        if event.version - last > MISSING {
            return Ok(Filled::No(format!("{missing}, more than are fetched")));
        }
        let mut done = last;
        while done < event.version - 1 {
            let events = match self.fetch(owner.as_ref(), &event.subject, done, asks).await {
                Ok(events) => events,
                Err(problem) => {
                    return Ok(Filled::No(format!("{missing}, and {} could not be asked: {problem}", event.source)));
                }
            };
            let before = done;
            for fetched in events {
                if fetched.version >= event.version || fetched.version != done + 1 {
                    break;
                }
                match self.hand_over(&fetched).await {
                    Ok(()) => done = fetched.version,
                    Err(HandleError::Retry(reason)) => return Ok(Filled::Later(reason)),
                    Err(HandleError::Poison(reason)) => {
                        self.state.park(stream, &fetched, &reason).await?;
                        return Ok(Filled::Yes);
                    }
                    Err(HandleError::Parked) => return Ok(Filled::Yes),
                    Err(HandleError::Hole { .. }) => break,
                }
            }
            if done == before {
                return Ok(Filled::No(format!("{missing}, and {} doesn't have them any more", event.source)));
            }
        }
        tracing::info!(event = event.id, from = last + 1, to = done, "missing events were fetched from their owner");
        Ok(Filled::Yes)
    }

    async fn fetch(
        &self,
        owner: &dyn StreamReader,
        subject: &str,
        after: i64,
        asks: Asks,
    ) -> Result<Vec<Envelope>, String> {
        let failed = self.out_of_reach.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failed = failed.filter(|failed| failed.at.elapsed() < OUT_OF_REACH);
        let tries = match &failed {
            // Each aggregate would wait as long, one behind the other.
            Some(failed) if failed.hangs && asks == Asks::UnlessItHangs => {
                return Err(format!("no answer within {} s, just now", FETCH.as_secs()));
            }
            Some(_) => 1,
            None => TRIES,
        };
        let (mut problem, mut hangs) = (String::new(), false);
        for attempt in 1..=tries {
            match tokio::time::timeout(FETCH, owner.read_stream(subject, after, PAGE)).await {
                Ok(Ok(events)) => {
                    *self.out_of_reach.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    return Ok(events);
                }
                Ok(Err(error)) => problem = error,
                Err(_) => {
                    // Whoever waits behind this one has waited long enough.
                    problem = format!("no answer within {} s", FETCH.as_secs());
                    hangs = true;
                    break;
                }
            }
            if attempt < tries {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let failed = OutOfReach { at: Instant::now(), hangs };
        *self.out_of_reach.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
        Err(problem)
    }
}
