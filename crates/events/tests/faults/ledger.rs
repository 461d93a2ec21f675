//! A consumer whose effect is a row in a ledger, in the transaction of its gate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_events::inbox::Gate;
use meshwork_events::inbox::sqlite::{self as inbox, Inbox, gate};
use meshwork_events::{Bus, Consumer, ConsumerState as _, Envelope, HandleError, Handler};
use meshwork_sql::{Component, Error, Sqlite};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Row as _, SqlStr};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::checks::{Applied, each_once_in_order};
use crate::running::{PATIENCE, eventually};
use crate::shop::Shop;

/// The consumer.
const CONSUMER: &str = "ledger";

/// What was applied, and at which place in its aggregate.
fn table() -> Component {
    let sql = "CREATE TABLE ledger (subject TEXT NOT NULL, version BIGINT NOT NULL, place BIGINT NOT NULL)";
    let migration = Migration::new(1, "ledger".into(), MigrationType::Simple, SqlStr::from_static(sql), false);
    Component { name: "ledger", migrator: Box::leak(Box::new(Migrator::with_migrations(vec![migration]))) }
}

/// Why an event's transaction is undone.
enum Undo {
    Gate(Gate),
    Store(Error),
}

impl From<Error> for Undo {
    fn from(error: Error) -> Self {
        Undo::Store(error)
    }
}

/// Applies events.
pub(crate) struct Ledger {
    db: Sqlite,
    pub(crate) state: Inbox,
    /// How long it takes before it applies one.
    thinks: Duration,
    _folder: TempDir,
}

impl Ledger {
    pub(crate) async fn new() -> Arc<Self> {
        Self::slow(Duration::ZERO).await
    }

    /// One that takes its time before it applies an event.
    pub(crate) async fn slow(thinks: Duration) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let components = [inbox::COMPONENTS.as_slice(), &[table()]].concat();
        let db = Sqlite::open(&folder.path().join("ledger.db"), &components).await.unwrap();
        Arc::new(Self { state: Inbox::new(db.clone(), CONSUMER), db, thinks, _folder: folder })
    }

    /// A consumer that has nobody to ask for what it misses.
    pub(crate) fn consumer(self: &Arc<Self>, bus: Arc<dyn Bus>, stream: &'static str) -> Consumer {
        Consumer::new(bus, CONSUMER, stream, self.clone(), Arc::new(self.state.clone()))
    }

    /// A consumer that asks the shop for what it misses.
    pub(crate) fn consumer_of(self: &Arc<Self>, shop: &Shop, bus: Arc<dyn Bus>, stream: &'static str) -> Consumer {
        self.consumer(bus, stream).backfill(Arc::new(shop.outbox.clone()))
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

    /// How many events were applied.
    pub(crate) async fn count(&self) -> i64 {
        sqlx::query("SELECT count(*) FROM ledger").fetch_one(self.db.reader()).await.unwrap().get(0)
    }

    /// Waits until an aggregate has come to a version.
    pub(crate) async fn has_applied(&self, subject: &str, last: i64) {
        let what = format!("{subject} at {last}");
        eventually(&what, async || self.of(subject).await.last() == Some(&last)).await;
    }

    /// Whether all of it was applied, each event once and in order, within a while.
    pub(crate) async fn checked(&self, expected: &[(String, i64)], within: Duration) -> Result<(), String> {
        let expected: Vec<_> = expected.iter().map(|(subject, last)| (subject.as_str(), *last)).collect();
        let until = Instant::now() + within;
        loop {
            match each_once_in_order(&self.applied().await, &expected) {
                Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(50)).await,
                checked => return checked,
            }
        }
    }

    /// Waits until all of it was applied, each event once and in order, and nothing is parked.
    pub(crate) async fn has_applied_all(&self, expected: &[(String, i64)]) {
        self.checked(expected, PATIENCE).await.unwrap();
        eventually("the end of parking", async || self.state.summary().await.unwrap().letters == 0).await;
    }
}

#[async_trait]
impl Handler for Ledger {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        tokio::time::sleep(self.thinks).await;
        let event = event.clone();
        let applied = self.db.write_once::<(), Undo, _>(move |connection| {
            Box::pin(async move {
                match gate(connection, CONSUMER, &event.subject, event.version).await? {
                    Gate::Apply => {}
                    other => return Err(Undo::Gate(other)),
                }
                let sql = "INSERT INTO ledger (subject, version, place) \
                           VALUES ($1, $2, (SELECT coalesce(max(place), 0) + 1 FROM ledger WHERE subject = $1))";
                let write = sqlx::query(sql).bind(&event.subject).bind(event.version).execute(connection).await;
                write.map_err(Error::from)?;
                Ok(())
            })
        });
        match applied.await {
            Ok(()) | Err(Undo::Gate(Gate::Apply | Gate::Duplicate)) => Ok(()),
            Err(Undo::Gate(Gate::Hole { last })) => Err(HandleError::Hole { last }),
            Err(Undo::Gate(Gate::Parked)) => Err(HandleError::Parked),
            Err(Undo::Store(error)) => Err(error.into()),
        }
    }
}
