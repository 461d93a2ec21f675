//! Following one partition of a source into its lane.

use std::time::Duration;

use meshwork_sql::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::auditor::oldest;
use super::parking::{Blocked, Parking};
use super::published::Published;
use super::{common, reading};
use crate::backoff::Backoff;
use crate::bus::{Bus, BusError, Lane, Publisher};
use crate::source::{Damaged, SourceBatch};
use crate::state::ConsumerState;
use crate::{Envelope, Position, Progress, Source};

/// How many commits are read and published at once.
const BATCH: usize = 128;
/// How long the relay sleeps when no beat wakes it.
const POLL: Duration = Duration::from_secs(1);
/// How often a partition that was stopped says so.
const ALARM: Duration = Duration::from_secs(60);
/// How often it is noted how far the relay has come, and how many positions may pass until then.
const CHECKPOINT: Duration = Duration::from_secs(10);
const CHECKPOINT_POSITIONS: i64 = 1_000;
/// How often it is looked whether the bus has lost its last events, though there is nothing to publish.
const LOOK: Duration = Duration::from_secs(10);
/// How often a state that could not be asked is asked again.
const ASK: Duration = Duration::from_secs(10);

/// Why a partition's relay begins again from the lane's tail.
pub(super) enum Restart {
    Shutdown,
    ReadTail,
}

/// What following a partition needs.
pub(super) struct Follower<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) bus: &'a dyn Bus,
    pub(super) lane: &'a Lane,
    pub(super) checkpoint: Option<&'a dyn ConsumerState>,
    pub(super) parking: Option<&'a Parking>,
    pub(super) progress: &'a Progress,
    pub(super) published: &'a Published,
}

/// Where to begin.
struct First {
    /// The first position to read.
    n: i64,
    /// Up to where it is noted that the lane has come.
    noted: i64,
    /// Up to where what can't be read isn't parked yet, though the lane has passed it.
    passed_over: i64,
}

/// A lane that is open.
struct Open {
    publisher: Box<dyn Publisher>,
    tail: Option<Position>,
    /// `None` while the state can't be asked, and when it was asked last.
    blocked: (Option<Blocked>, Instant),
    /// Up to where it was noted, and when.
    noted: (i64, Instant),
    /// When it was looked last whether the lane still has its end.
    looked_at: Instant,
    /// Up to where commits were passed over that could not be read: by the release before.
    passed_over: i64,
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Follower<'_> {
    /// Publishes from the tail on, until the bus says that the tail is elsewhere.
    pub(super) async fn follow(&self, shutdown: &CancellationToken, backoff: &mut Backoff) -> Result<Restart, String> {
        let mut beats = self.source.beats(self.lane.partition);
        let publisher = self.bus.publisher(self.lane).await.map_err(sentence)?;
        if let Some(tail) = publisher.tail() {
            // The tail must be ours: a bus that is ahead of its source belongs to another source, or the source has
            // lost commits. Going on would publish other events under positions that are taken.
            match reading::holds(self.source, tail, shutdown).await? {
                Some(true) => {}
                Some(false) => return self.diverged(tail, shutdown).await,
                None => return Ok(Restart::Shutdown),
            }
        }
        let tail = publisher.tail().map(|tail| tail.position);
        let first = self.first(tail).await?;
        let now = Instant::now();
        let mut open = Open {
            publisher,
            tail,
            blocked: (self.blocked().await?, now),
            noted: (first.noted, now),
            looked_at: now,
            passed_over: first.passed_over,
        };
        let mut next = first.n;
        if let Some(tail) = tail {
            self.published.reached(tail);
        }
        let mut stopping = false;
        loop {
            let asked = Instant::now();
            let batch = reading::read(self.source, self.lane.partition, next, BATCH).await?;
            // Positions are dense: a batch that ends early has reached the end, and a beat will tell of more.
            let full = next + i64::try_from(BATCH).unwrap_or(i64::MAX) - 1;
            let at_end = batch.seen.is_none_or(|seen| seen < full);
            next = batch.seen.map_or(next, |seen| seen + 1);
            let last = batch.events.last().map(|event| event.time);
            if !self.publish(&mut open, batch).await? {
                return Ok(Restart::ReadTail);
            }
            if let Some(time) = last {
                self.progress.reached(self.lane.partition, time);
                *backoff = Backoff::new();
            }
            self.note(&mut open, stopping).await;
            if at_end {
                self.progress.caught_up(self.lane.partition, asked);
                // One more read after the stop was asked for: what was written before it is published.
                if stopping {
                    return Ok(Restart::Shutdown);
                }
                if open.looked_at.elapsed() >= LOOK && !self.has_its_tail(&mut open).await? {
                    return Ok(Restart::ReadTail);
                }
                stopping = shutdown.run_until_cancelled(beats.any(POLL)).await.is_none();
            }
        }
    }

    /// Where to begin. It lies behind the tail, unless the lane was further once: then it has lost its end, or that has aged.
    async fn first(&self, tail: Option<Position>) -> Result<First, String> {
        let partition = self.lane.partition;
        // A relay may have stopped between two events of one commit.
        let next = tail.map_or(1, |tail| tail.n);
        let noted = match self.checkpoint {
            None => None,
            Some(state) => {
                let position = state.position(&self.lane.stream, partition).await;
                // Nothing tells an empty lane whose events have aged from one that has lost them, but this.
                let position =
                    if tail.is_none() { Some(position.map_err(sentence)?) } else { self.if_reached(state, position)? };
                match position {
                    Some(None) if self.parking.is_some() => {
                        // The first start of a release that parks what can't be read.
                        let n = reading::first_since(self.source, partition, (1, next), oldest(self.bus)).await?;
                        return Ok(First { n: n.min(next), noted: 0, passed_over: next });
                    }
                    position => position.flatten(),
                }
            }
        };
        let noted = noted.map_or(0, |noted| noted.n);
        let known = noted.max(self.published.last(partition).unwrap_or_default());
        if known <= next {
            return Ok(First { n: next, noted, passed_over: 0 });
        }
        // What is older was published, and nobody misses it by now. A source that prunes has nothing that is older.
        let n = match noted > next {
            true => reading::first_since(self.source, partition, (next, noted), oldest(self.bus)).await?,
            false => next,
        };
        if n < known {
            tracing::error!(
                lane = %self.lane,
                first = n,
                last = known,
                "relay_refill: the bus has lost events that were published; they are published again"
            );
        }
        Ok(First { n, noted, passed_over: 0 })
    }

    /// The aggregates that are parked; `None` when they can't be asked for, and we go on.
    async fn blocked(&self) -> Result<Option<Blocked>, String> {
        match self.parking {
            Some(parking) => self.if_reached(parking.state.as_ref(), parking.blocked().await),
            None => Ok(Some(Blocked::new())),
        }
    }

    /// What a state has answered; `None` when it could not be asked and we can go on without it.
    fn if_reached<T>(&self, state: &dyn ConsumerState, answer: Result<T, Error>) -> Result<Option<T>, String> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if state.is_required() => Err(error.to_string()),
            Err(error) => {
                tracing::warn!(lane = %self.lane, %error, "the relay goes on without its state");
                Ok(None)
            }
        }
    }

    /// Publishes what a batch brings; returns false when the lane must be opened anew.
    async fn publish(&self, open: &mut Open, batch: SourceBatch) -> Result<bool, String> {
        if open.blocked.0.is_none() && open.blocked.1.elapsed() >= ASK {
            open.blocked = (self.blocked().await?, Instant::now());
        }
        let mut unknown = Blocked::new();
        let blocked = open.blocked.0.as_mut().unwrap_or(&mut unknown);
        let is_new = |n: i64| n <= open.passed_over || open.tail.is_none_or(|tail| n > tail.n);
        for damaged in batch.damaged.iter().filter(|damaged| is_new(damaged.n)) {
            self.park_damaged(blocked, damaged).await?;
        }
        let mut events = Vec::with_capacity(batch.events.len());
        for event in batch.events.into_iter().filter(|event| Some(event.position) > open.tail) {
            if !self.is_queued(blocked, &event).await? {
                events.push(event);
            }
        }
        let Some(last) = events.last().map(|event| event.position) else { return Ok(true) };
        fail::fail_point!("relay::read");
        match open.publisher.publish(&events).await {
            Ok(()) => {
                fail::fail_point!("relay::published");
                open.tail = Some(last);
                self.published.reached(last);
                Ok(true)
            }
            Err(BusError::TailMoved) => Ok(false),
            Err(error @ BusError::TooLarge { .. }) => self.park_too_large(&events, error).await.map(|()| false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Parks an aggregate from a commit on that can't be read.
    async fn park_damaged(&self, blocked: &mut Blocked, damaged: &Damaged) -> Result<(), String> {
        let Some(parking) = self.parking else {
            return Err(format!("the commit at {} can't be read: {}", damaged.n, damaged.problem));
        };
        parking.park_damaged(self.source.name(), self.lane.partition, damaged).await.map_err(sentence)?;
        let from = blocked.entry(damaged.subject.clone()).or_insert(damaged.n);
        *from = damaged.n.min(*from);
        Ok(())
    }

    async fn park_too_large(&self, events: &[Envelope], error: BusError) -> Result<(), String> {
        let BusError::TooLarge { id, .. } = &error else { return Err(error.to_string()) };
        let event = events.iter().find(|event| event.id == *id);
        match (self.parking, event) {
            (Some(parking), Some(event)) => parking.park(event, &error.to_string()).await.map_err(sentence),
            _ => Err(format!("nothing behind it is published: {error}")),
        }
    }

    /// Queues an event behind what is parked of its aggregate; returns whether it had to be.
    async fn is_queued(&self, blocked: &mut Blocked, event: &Envelope) -> Result<bool, String> {
        let Some(parking) = self.parking else { return Ok(false) };
        if blocked.get(&event.subject).is_none_or(|from| event.position.n < *from) {
            return Ok(false);
        }
        let queued = parking.queue(event).await.map_err(sentence)?;
        if !queued {
            blocked.remove(&event.subject);
        }
        Ok(queued)
    }

    /// Notes how far the lane has come, now and then, and at the end.
    async fn note(&self, open: &mut Open, at_once: bool) {
        let (Some(state), Some(tail)) = (self.checkpoint, open.tail) else { return };
        let (n, at) = open.noted;
        let is_due = at_once || at.elapsed() >= CHECKPOINT || tail.n - n >= CHECKPOINT_POSITIONS;
        if tail.n == n || !is_due {
            return;
        }
        // An older note costs no more than events which are published once more.
        match noting(state.reached(&self.lane.stream, tail)).await {
            Ok(()) => {
                fail::fail_point!("relay::noted");
                open.noted = (tail.n, Instant::now());
            }
            Err(problem) => {
                tracing::warn!(lane = %self.lane, problem, "it can't be noted how far the relay has come");
                open.noted.1 = Instant::now();
            }
        }
    }

    /// Whether the lane still ends where we know it to end.
    async fn has_its_tail(&self, open: &mut Open) -> Result<bool, String> {
        open.looked_at = Instant::now();
        let publisher = self.bus.publisher(self.lane).await.map_err(sentence)?;
        Ok(publisher.tail().map(|tail| tail.position) == open.tail)
    }

    /// Goes on behind a tail that the source doesn't hold, if the source can; else stops the partition and says so, until
    /// somebody has put it right.
    async fn diverged(&self, tail: &Envelope, shutdown: &CancellationToken) -> Result<Restart, String> {
        let common = common::common(self.source, self.bus, self.lane, tail).await?;
        let is_ours = common > 0 || common::has_published(self.source, self.bus, &self.lane.stream).await?;
        if is_ours && self.source.go_on_behind(tail, common).await? {
            tracing::error!(
                lane = %self.lane,
                n = tail.position.n,
                common,
                "relay_diverged: the bus holds an event that its source doesn't, since the source was restored from an older \
                 copy; what the bus doesn't hold is published behind that"
            );
            return Ok(Restart::ReadTail);
        }
        tracing::error!(
            lane = %self.lane,
            n = tail.position.n,
            "relay_diverged: the bus holds an event that its source doesn't; nothing is published until the bus is emptied \
             or the source is restored"
        );
        self.progress.stopped(
            self.lane.partition,
            &format!(
                "relay_diverged: the bus holds {} at position {}, which this service doesn't: put the right store or bus in its \
                 place, or empty the bus (a bus in a folder: stop the services, move it away); what is young is published anew",
                tail.id, tail.position.n
            ),
        );
        match shutdown.run_until_cancelled(tokio::time::sleep(ALARM)).await {
            None => Ok(Restart::Shutdown),
            Some(()) => Ok(Restart::ReadTail),
        }
    }
}

/// Notes within a bound: the lane waits meanwhile.
async fn noting(note: impl Future<Output = Result<(), Error>>) -> Result<(), String> {
    match tokio::time::timeout(Duration::from_secs(5), note).await {
        Ok(noted) => noted.map_err(sentence),
        Err(_) => Err("no answer within 5 s".to_owned()),
    }
}
