//! A consumer whose effect is a row in a ledger, in the transaction of its gate.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use meshwork_events::inbox::Gate;
use meshwork_events::{Consumer, ConsumerState as _, Envelope, HandleError, Handler, Redriver};
use meshwork_sql::{Error, WorkError};
use sqlx::Row as _;

use super::inbox::{self, Inbox, gate};
use super::{Connection, Database, World, outbox};
use crate::checks::Applied;
use crate::feed::{Feed, STREAM};
use crate::owner::Owner;
use crate::running::{Running, eventually};
use crate::worlds;

/// The consumer.
pub(crate) const CONSUMER: &str = "ledger";

pub(crate) async fn open(world: &World) -> Database {
    let components = [inbox::COMPONENTS.as_slice(), &outbox::COMPONENTS, &[worlds::ledger()]].concat();
    world.open(&components).await
}

/// How events are told from those that were applied: as shipped, or with a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Shipped,
    /// The inbox is written in a transaction of its own, before that of the effect.
    InboxOutside,
    /// The inbox's row is written whatever it holds.
    Unconditional,
}

/// What undoes the transaction of an event.
enum Undo {
    Gate(Gate),
    Crash,
    Store(Error),
}

impl From<Error> for Undo {
    fn from(error: Error) -> Self {
        Undo::Store(error)
    }
}

impl WorkError for Undo {
    fn is_conflict(&self) -> bool {
        matches!(self, Undo::Store(error) if error.is_conflict())
    }
}

/// Handles events; refuses what it is told to.
pub(crate) struct Ledger {
    db: Database,
    pub(crate) state: Inbox,
    variant: Variant,
    poisoned: Mutex<HashSet<String>>,
    crashes: Mutex<HashSet<String>>,
}

impl Ledger {
    pub(crate) fn new(db: Database) -> Arc<Self> {
        Self::with(db, Variant::Shipped)
    }

    pub(crate) fn with(db: Database, variant: Variant) -> Arc<Self> {
        let state = Inbox::new(db.clone(), CONSUMER);
        Arc::new(Self { db, state, variant, poisoned: Mutex::default(), crashes: Mutex::default() })
    }

    /// Can't handle an event until it is healed.
    pub(crate) fn poison(&self, subject: &str, version: i64) {
        self.poisoned.lock().unwrap().insert(Envelope::id_of(subject, version));
    }

    /// Can handle everything.
    pub(crate) fn heal(&self) {
        self.poisoned.lock().unwrap().clear();
    }

    /// Goes down between an event's effect and its commit, once.
    pub(crate) fn crash_at(&self, subject: &str, version: i64) {
        self.crashes.lock().unwrap().insert(Envelope::id_of(subject, version));
    }

    /// What was applied.
    pub(crate) async fn applied(&self) -> Applied {
        let sql = "SELECT subject, version FROM ledger ORDER BY subject, place, version";
        let mut applied = Applied::new();
        for row in sqlx::query(sql).fetch_all(self.db.reader()).await.unwrap() {
            applied.entry(row.get(0)).or_default().push(row.get(1));
        }
        applied
    }

    /// The versions of an aggregate that were applied.
    pub(crate) async fn of(&self, subject: &str) -> Vec<i64> {
        self.applied().await.remove(subject).unwrap_or_default()
    }

    /// How many events are parked.
    pub(crate) async fn parked(&self) -> i64 {
        self.state.summary().await.unwrap().letters
    }

    /// Waits until so many events are parked.
    pub(crate) async fn have_parked(&self, letters: i64) {
        eventually("what is parked", async || self.parked().await == letters).await;
    }

    /// Waits until an aggregate has come to a version.
    pub(crate) async fn have_applied(&self, subject: &str, last: i64) {
        let what = format!("{subject} at {last}");
        eventually(&what, async || self.of(subject).await.last() == Some(&last)).await;
    }
}

/// Applies an event, in one transaction with its gate unless that was outside.
async fn apply(connection: &mut Connection, event: &Envelope, variant: Variant, crash: bool) -> Result<(), Undo> {
    match decide(connection, event, variant).await? {
        Gate::Apply => {}
        other => return Err(Undo::Gate(other)),
    }
    let sql = "INSERT INTO ledger (subject, version, place) \
               VALUES ($1, $2, (SELECT coalesce(max(place), 0) + 1 FROM ledger WHERE subject = $1))";
    let write = sqlx::query(sql).bind(&event.subject).bind(event.version).execute(connection).await;
    write.map_err(Error::from)?;
    if crash { Err(Undo::Crash) } else { Ok(()) }
}

async fn decide(connection: &mut Connection, event: &Envelope, variant: Variant) -> Result<Gate, Error> {
    match variant {
        Variant::Shipped => gate(connection, CONSUMER, &event.subject, event.version).await,
        Variant::InboxOutside => Ok(Gate::Apply),
        Variant::Unconditional => {
            let sql = "INSERT INTO inbox (consumer, subject, last_version, seen_at) VALUES ($1, $2, $3, 0) \
                       ON CONFLICT (consumer, subject) DO UPDATE SET last_version = excluded.last_version";
            let noted = sqlx::query(sql).bind(CONSUMER).bind(&event.subject).bind(event.version);
            let noted = noted.execute(connection).await?.rows_affected();
            Ok(if noted == 1 { Gate::Apply } else { Gate::Duplicate })
        }
    }
}

#[async_trait]
impl Handler for Ledger {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        if self.poisoned.lock().unwrap().contains(&event.id) {
            return Err(HandleError::Poison("planted".to_owned()));
        }
        let crash = self.crashes.lock().unwrap().remove(&event.id);
        let mut done = Ok(());
        if self.variant == Variant::InboxOutside {
            let outside = self.db.write(event.clone(), |connection, event| {
                Box::pin(async move {
                    match gate(connection, CONSUMER, &event.subject, event.version).await? {
                        Gate::Apply => Ok(()),
                        other => Err(Undo::Gate(other)),
                    }
                })
            });
            done = outside.await;
        }
        if done.is_ok() {
            let input = (event.clone(), self.variant, crash);
            let applied = self.db.write(input, |connection, (event, variant, crash)| {
                Box::pin(apply(connection, event, *variant, *crash))
            });
            done = applied.await;
        }
        match done {
            Ok(()) | Err(Undo::Gate(Gate::Apply | Gate::Duplicate)) => Ok(()),
            Err(Undo::Gate(Gate::Hole { last })) => Err(HandleError::Hole { last }),
            Err(Undo::Gate(Gate::Parked)) => Err(HandleError::Parked),
            Err(Undo::Crash) => Err(HandleError::Retry("planted".to_owned())),
            Err(Undo::Store(error)) => Err(error.into()),
        }
    }
}

/// Has the consumer run on what is fed.
pub(crate) fn consume(feed: &Feed, ledger: &Arc<Ledger>, owner: Option<&Arc<Owner>>) -> (Running, Redriver) {
    let state = Arc::new(ledger.state.clone());
    let mut consumer = Consumer::new(feed.bus.clone(), CONSUMER, STREAM, ledger.clone(), state);
    if let Some(owner) = owner {
        consumer = consumer.backfill(owner.clone());
    }
    let (mut running, redriver) = (Running::default(), consumer.redriver());
    running.consumer(consumer);
    (running, redriver)
}
