//! A consumer's part in handling a lane: one instance at a time has the lane, and the others wait for its end.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_eventstore::Beats;
use meshwork_sql::Error;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use tokio::time::Instant;

use super::lock::LaneLock;
use super::log::Log;
use super::{messages, sweep};
use crate::bus::{Batch, BusError, Delivery, Lane, Resume, Subscription};
use crate::{Envelope, Position};

/// How often it is tried to have a lane that another instance has.
const TRY_LOCK: Duration = Duration::from_millis(200);
/// How often it is looked beside a lane on which events come.
const LOOK_BESIDE: Duration = Duration::from_millis(100);
/// How often it is looked for what an instance of the release before has parked.
const PARKED: Duration = Duration::from_secs(15);
/// We wait for our own process for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where an event that is handed over lies.
#[derive(Clone, Copy)]
enum Origin {
    Message { n: i64, i: i64 },
    Repaired(i64),
    Parked { n: i64, i: i64 },
}

/// What was acknowledged.
#[derive(Clone, Copy)]
struct Acknowledged {
    message: (i64, i64),
    repaired: i64,
    /// How many instances have been handed over what comes behind it.
    attempts: u32,
}

/// A subscription.
pub(super) struct SqliteSubscription {
    log: Log,
    consumer: String,
    lane: Lane,
    resume: Resume,
    lock: LaneLock,
    beats: Beats,
    /// Once the lane is ours.
    acknowledged: Option<Acknowledged>,
    /// Behind what it goes on: ahead of what is acknowledged by what is handed over.
    at: (i64, i64),
    repaired: i64,
    handed_over: VecDeque<(u64, Origin)>,
    place: u64,
    /// Whether it is noted that this instance was handed over what is behind the acknowledged.
    is_noted: bool,
    /// How often that was given back.
    given_back: u32,
    not_before: Option<Instant>,
    parked_at: Option<Instant>,
    /// Whether the last read has reached the end: a beat tells of more.
    at_end: bool,
    /// When it was looked last for what was published beside the lane.
    looked_beside: Option<Instant>,
}

impl SqliteSubscription {
    pub(super) async fn open(
        log: Log,
        consumer: String,
        lane: Lane,
        resume: Resume,
        lock: LaneLock,
    ) -> Result<Self, BusError> {
        let beats = log.beats(&lane);
        let mut subscribed = Self {
            log,
            consumer,
            lane,
            resume,
            lock,
            beats,
            acknowledged: None,
            at: (0, 0),
            repaired: 0,
            handed_over: VecDeque::new(),
            place: 0,
            is_noted: false,
            given_back: 0,
            not_before: None,
            parked_at: None,
            at_end: false,
            looked_beside: None,
        };
        subscribed.take_over().await?;
        Ok(subscribed)
    }

    /// Takes the lane over if no other instance has it; returns what is acknowledged then.
    async fn take_over(&mut self) -> Result<Option<Acknowledged>, BusError> {
        if self.acknowledged.is_some() {
            return Ok(self.acknowledged);
        }
        let locked = self.lock.try_lock();
        if !locked.map_err(|error| BusError::Unavailable(format!("{} can't be locked: {error}", self.lane)))? {
            // By the time that we have it, the other instance has noted in our database what it has acknowledged.
            self.resume = Resume::AsAcknowledged;
            return Ok(None);
        }
        let (consumer, lane, resume) = (self.consumer.clone(), self.lane.clone(), self.resume);
        let work = self.log.db.write_once::<_, Error, _>(move |connection| {
            Box::pin(async move { Ok(begin(connection, &consumer, &lane, resume).await?) })
        });
        let acknowledged = work.await?;
        (self.at, self.repaired) = (acknowledged.message, acknowledged.repaired);
        self.acknowledged = Some(acknowledged);
        Ok(self.acknowledged)
    }

    async fn read(&mut self, max: usize) -> Result<Vec<(Origin, Envelope)>, BusError> {
        let db = self.log.db.reader();
        if self.parked_at.is_none_or(|at| at.elapsed() >= PARKED) {
            let parked = messages::parked(db, &self.consumer, &self.lane, max).await?;
            // Those that come now are looked at again once they are done.
            self.parked_at = Some(Instant::now());
            if !parked.is_empty() {
                let origin = |event: &Envelope| Origin::Parked { n: event.position.n, i: event.position.index.into() };
                return Ok(parked.into_iter().map(|event| (origin(&event), event)).collect());
            }
        }
        let found = messages::behind(db, &self.lane, self.at, max).await?;
        let mut read: Vec<_> = found.into_iter().map(|event| (message(&event), event)).collect();
        if let Some((Origin::Message { n, i }, _)) = read.last() {
            self.at = (*n, *i);
        }
        let looks_beside = read.is_empty() || self.looked_beside.is_none_or(|at| at.elapsed() >= LOOK_BESIDE);
        if read.len() < max && looks_beside {
            self.looked_beside = Some(Instant::now());
            let repaired = messages::repaired(db, &self.lane, self.repaired, max - read.len()).await?;
            self.repaired = repaired.last().map_or(self.repaired, |(seq, _)| *seq);
            read.extend(repaired.into_iter().map(|(seq, event)| (Origin::Repaired(seq), event)));
        }
        Ok(read)
    }

    async fn hand_over(
        &mut self,
        mut acknowledged: Acknowledged,
        read: Vec<(Origin, Envelope)>,
    ) -> Result<Vec<Delivery>, BusError> {
        if !read.is_empty() && !self.is_noted {
            // Before it is handed over: it may be the last that is heard of this process.
            acknowledged.attempts = acknowledged.attempts.saturating_add(1);
            let (consumer, lane) = (self.consumer.clone(), self.lane.clone());
            let work = self.log.db.write_once::<_, Error, _>(move |connection| {
                Box::pin(async move { Ok(note_attempt(connection, &consumer, &lane, acknowledged).await?) })
            });
            work.await?;
            (self.acknowledged, self.is_noted) = (Some(acknowledged), true);
        }
        let attempt = acknowledged.attempts.saturating_add(self.given_back);
        let deliveries = read.into_iter().map(|(origin, event)| {
            self.place += 1;
            self.handed_over.push_back((self.place, origin));
            Delivery { event, attempt, place: self.place }
        });
        Ok(deliveries.collect())
    }
}

fn message(event: &Envelope) -> Origin {
    Origin::Message { n: event.position.n, i: event.position.index.into() }
}

#[async_trait]
impl Subscription for SqliteSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Batch, BusError> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(acknowledged) = self.take_over().await? else {
                // Another instance handles what there is.
                if left.is_zero() {
                    return Ok(Batch { deliveries: Vec::new(), at_end: true });
                }
                tokio::time::sleep(left.min(TRY_LOCK)).await;
                continue;
            };
            if let Some(not_before) = self.not_before {
                if not_before > until {
                    tokio::time::sleep(left).await;
                    return Ok(Batch::default());
                }
                tokio::time::sleep_until(not_before).await;
                self.not_before = None;
            }
            if self.at_end && !left.is_zero() {
                self.beats.any(left).await;
            }
            let read = self.read(max).await?;
            self.at_end = read.len() < max && !matches!(read.last(), Some((Origin::Parked { .. }, _)));
            if !read.is_empty() || left.is_zero() {
                let at_end = self.at_end;
                return Ok(Batch { deliveries: self.hand_over(acknowledged, read).await?, at_end });
            }
        }
    }

    async fn working(&mut self) -> Result<(), BusError> {
        Ok(())
    }

    async fn done_through(&mut self, place: u64) -> Result<(), BusError> {
        let Some(mut acknowledged) = self.acknowledged else { return Ok(()) };
        let count = self.handed_over.iter().take_while(|(handed_over, _)| *handed_over <= place).count();
        let done: Vec<_> = self.handed_over.iter().take(count).map(|(_, origin)| *origin).collect();
        let mut parked = Vec::new();
        for origin in done {
            match origin {
                Origin::Message { n, i } => acknowledged.message = acknowledged.message.max((n, i)),
                Origin::Repaired(seq) => acknowledged.repaired = acknowledged.repaired.max(seq),
                Origin::Parked { n, i } => parked.push((n, i)),
            }
        }
        let any_parked = !parked.is_empty();
        let (consumer, lane) = (self.consumer.clone(), self.lane.clone());
        let work = self.log.db.write_once::<_, Error, _>(move |connection| {
            Box::pin(async move { Ok(acknowledge(connection, &consumer, &lane, acknowledged, &parked).await?) })
        });
        work.await?;
        self.handed_over.drain(..count);
        if any_parked {
            self.parked_at = None;
        }
        if count > 0 {
            self.given_back = 0;
            acknowledged.attempts = 1;
        }
        self.acknowledged = Some(acknowledged);
        Ok(())
    }

    async fn later(&mut self, delay: Duration) -> Result<(), BusError> {
        if let Some(acknowledged) = self.acknowledged
            && !self.handed_over.is_empty()
        {
            (self.at, self.repaired, self.at_end) = (acknowledged.message, acknowledged.repaired, false);
            self.handed_over.clear();
            self.parked_at = None;
            self.given_back = self.given_back.saturating_add(1);
            self.not_before = Some(Instant::now() + delay);
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// Notes that an instance begins, having moved the acknowledgement to where its own database is.
async fn begin(
    connection: &mut SqliteConnection,
    consumer: &str,
    lane: &Lane,
    resume: Resume,
) -> Result<Acknowledged, sqlx::Error> {
    sqlx::query(
        "INSERT INTO acknowledged (consumer, stream, partition, n, i) VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING",
    )
    .bind(consumer)
    .bind(&lane.stream)
    .bind(lane.partition)
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query("SELECT n, i FROM acknowledged WHERE consumer = ? AND stream = ? AND partition = ?")
        .bind(consumer)
        .bind(&lane.stream)
        .bind(lane.partition)
        .fetch_one(&mut *connection)
        .await?;
    let theirs: (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let ours = match resume {
        Resume::Behind(Position { n, index, .. }) => (n, i64::from(index)),
        Resume::FromStart => (0, 0),
        Resume::AsAcknowledged => theirs,
    };
    if ours < theirs {
        tracing::warn!(
            consumer,
            lane = %lane,
            ours = ours.0,
            acknowledged = theirs.0,
            "our database is behind what was acknowledged: it was restored from an older copy, or a process has ended within \
             a batch. What came since is handled again"
        );
        sqlx::query("UPDATE acknowledged SET n = ?, i = ? WHERE consumer = ? AND stream = ? AND partition = ?")
            .bind(ours.0)
            .bind(ours.1)
            .bind(consumer)
            .bind(&lane.stream)
            .bind(lane.partition)
            .execute(&mut *connection)
            .await?;
    }
    let message = ours.min(theirs);
    // What came beside the lane may lack too.
    let set_back = ours < theirs || matches!(resume, Resume::FromStart);
    let row = sqlx::query(
        "INSERT INTO subscriptions (consumer, stream, partition, n, i, attempts, repaired, seen_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6) ON CONFLICT (consumer, stream, partition) DO UPDATE SET \
         attempts = CASE WHEN n = ?4 AND i = ?5 THEN attempts ELSE 0 END, n = ?4, i = ?5, seen_at = ?6, \
         repaired = CASE WHEN ?7 THEN 0 ELSE repaired END \
         RETURNING attempts, repaired",
    )
    .bind(consumer)
    .bind(&lane.stream)
    .bind(lane.partition)
    .bind(message.0)
    .bind(message.1)
    .bind(sweep::now())
    .bind(set_back)
    .fetch_one(connection)
    .await?;
    Ok(Acknowledged { message, attempts: row.try_get(0)?, repaired: row.try_get(1)? })
}

async fn note_attempt(
    connection: &mut SqliteConnection,
    consumer: &str,
    lane: &Lane,
    acknowledged: Acknowledged,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE subscriptions SET n = ?, i = ?, attempts = ? WHERE consumer = ? AND stream = ? AND partition = ?",
    )
    .bind(acknowledged.message.0)
    .bind(acknowledged.message.1)
    .bind(acknowledged.attempts)
    .bind(consumer)
    .bind(&lane.stream)
    .bind(lane.partition)
    .execute(connection)
    .await?;
    Ok(())
}

async fn acknowledge(
    connection: &mut SqliteConnection,
    consumer: &str,
    lane: &Lane,
    acknowledged: Acknowledged,
    parked: &[(i64, i64)],
) -> Result<(), sqlx::Error> {
    let Acknowledged { message, repaired, .. } = acknowledged;
    sqlx::query(
        "INSERT INTO acknowledged (consumer, stream, partition, n, i) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (consumer, stream, partition) DO UPDATE SET n = excluded.n, i = excluded.i \
         WHERE (excluded.n, excluded.i) > (n, i)",
    )
    .bind(consumer)
    .bind(&lane.stream)
    .bind(lane.partition)
    .bind(message.0)
    .bind(message.1)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE subscriptions SET repaired = max(repaired, ?), seen_at = ?, attempts = 0 \
         WHERE consumer = ? AND stream = ? AND partition = ?",
    )
    .bind(repaired)
    .bind(sweep::now())
    .bind(consumer)
    .bind(&lane.stream)
    .bind(lane.partition)
    .execute(&mut *connection)
    .await?;
    for (n, i) in parked {
        sqlx::query("DELETE FROM parked WHERE consumer = ? AND stream = ? AND partition = ? AND n = ? AND i = ?")
            .bind(consumer)
            .bind(&lane.stream)
            .bind(lane.partition)
            .bind(n)
            .bind(i)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
