//! A consumer works at several aggregates of a lane at once, and acknowledges only what lies before everything that isn't done.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_events::inbox::sqlite::{self as inbox, Inbox};
use meshwork_events::testing::{event, lane, publish};
use meshwork_events::{Bus as _, Consumer, ConsumerState, Envelope, HandleError, Handler, Lane, Resume, SqliteBus};
use meshwork_sql::Sqlite;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const STREAM: &str = "things";
const CONSUMER: &str = "ledger";

/// Waits for a condition, at most ten seconds.
async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// Handles events as it is told to.
#[derive(Default)]
struct Hands {
    /// By aggregate, the versions that were handled.
    handled: Mutex<HashMap<String, Vec<i64>>>,
    /// The aggregates whose events wait, each until it gets a permit.
    blocked: HashMap<String, Semaphore>,
    /// How many events fail yet.
    failing: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Hands {
    fn blocking(subjects: &[&str]) -> Arc<Self> {
        let blocked = subjects.iter().map(|subject| ((*subject).to_owned(), Semaphore::new(0))).collect();
        Arc::new(Self { blocked, ..Self::default() })
    }

    fn release(&self, subject: &str, events: usize) {
        self.blocked[subject].add_permits(events);
    }

    fn of(&self, subject: &str) -> Vec<i64> {
        self.handled.lock().unwrap().get(subject).cloned().unwrap_or_default()
    }
}

#[async_trait]
impl Handler for Hands {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        if let Some(blocked) = self.blocked.get(&event.subject) {
            blocked.acquire().await.unwrap().forget();
        }
        tokio::task::yield_now().await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let fails = self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fails.is_ok() {
            return Err(HandleError::Retry("planted".to_owned()));
        }
        self.handled.lock().unwrap().entry(event.subject.clone()).or_default().push(event.version);
        Ok(())
    }
}

struct World {
    _folder: TempDir,
    bus: Arc<SqliteBus>,
    /// The bus's file, for what it has noted.
    file: Sqlite,
    state: Arc<dyn ConsumerState>,
    lane: Lane,
}

impl World {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(folder.path()).await.unwrap();
        let db = Sqlite::open(&folder.path().join("ledger.db"), &inbox::COMPONENTS).await.unwrap();
        let state = Arc::new(Inbox::new(db, CONSUMER));
        let file = Sqlite::open(&folder.path().join("bus.db"), &[]).await.unwrap();
        Self { _folder: folder, bus, file, state, lane: lane(STREAM, 3) }
    }

    /// Publishes an event of each, in this order.
    async fn publish(&self, events: &[(&str, i64)]) {
        let events = (1..).zip(events).map(|(n, (subject, version))| event(subject, *version, n, 0)).collect();
        publish(self.bus.as_ref(), &self.lane, events).await;
    }

    fn consume(&self, hands: &Arc<Hands>) -> (CancellationToken, JoinHandle<()>) {
        let consumer = Consumer::new(self.bus.clone(), CONSUMER, STREAM, hands.clone(), self.state.clone());
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        (stop, tokio::spawn(async move { consumer.run(shutdown).await }))
    }

    /// Up to where the bus has an acknowledgement.
    async fn acknowledged(&self) -> i64 {
        let sql = "SELECT coalesce(max(n), 0) FROM acknowledged WHERE consumer = $1 AND partition = 3";
        sqlx::query_scalar(sql).bind(CONSUMER).fetch_one(self.file.reader()).await.unwrap()
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_behind_what_is_not_done() {
    let world = World::open().await;
    let hands = Hands::blocking(&["second"]);
    world.publish(&[("first", 1), ("second", 1), ("third", 1), ("second", 2), ("first", 2)]).await;
    let (_, task) = world.consume(&hands);
    eventually("the others", async || hands.of("first") == [1, 2] && hands.of("third") == [1]).await;
    assert_eq!(hands.of("second"), [] as [i64; 0]);
    // As when the process ends.
    task.abort();
    task.await.unwrap_err();
    assert_eq!(world.acknowledged().await, 0);

    // The next instance is handed over all of it again, and what it does is acknowledged without anything else to come.
    hands.release("second", 2);
    let (stop, task) = world.consume(&hands);
    eventually("all of them", async || world.acknowledged().await == 5).await;
    assert_eq!(hands.of("second"), [1, 2]);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn what_is_done_is_acknowledged_when_it_stops() {
    let world = World::open().await;
    let hands = Hands::blocking(&["slow"]);
    world.publish(&[("fast", 1), ("slow", 1), ("fast", 2)]).await;
    let (stop, task) = world.consume(&hands);
    eventually("the fast one", async || hands.of("fast") == [1, 2]).await;
    stop.cancel();
    // The event in hand is finished first.
    hands.release("slow", 1);
    task.await.unwrap();
    assert_eq!((hands.of("slow"), world.acknowledged().await), (vec![1], 3));
    let mut subscription = world.bus.subscribe(CONSUMER, &world.lane, Resume::AsAcknowledged).await.unwrap();
    assert_eq!(subscription.next(10, Duration::from_millis(50)).await.unwrap().deliveries, []);
}

#[tokio::test]
async fn so_many_aggregates_of_a_lane_are_worked_at_at_once() {
    let world = World::open().await;
    let subjects: Vec<_> = (0..40).map(|number| format!("thing-{number}")).collect();
    let names: Vec<_> = subjects.iter().map(String::as_str).collect();
    let hands = Hands::blocking(&names);
    world.publish(&names.iter().map(|name| (*name, 1)).collect::<Vec<_>>()).await;
    let (stop, task) = world.consume(&hands);
    eventually("several at once", async || hands.at_once.load(Ordering::SeqCst) == 16).await;
    names.iter().for_each(|name| hands.release(name, 1));
    eventually("all of them", async || world.acknowledged().await == 40).await;
    assert_eq!(hands.most_at_once.load(Ordering::SeqCst), 16);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn what_fails_for_a_moment_is_done_once() {
    let world = World::open().await;
    let hands = Arc::new(Hands { failing: AtomicUsize::new(4), ..Hands::default() });
    let subjects: Vec<_> = (0..20).map(|number| format!("thing-{number}")).collect();
    world.publish(&subjects.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>()).await;
    let (stop, task) = world.consume(&hands);
    eventually("all of them", async || world.acknowledged().await == 20).await;
    for subject in &subjects {
        assert_eq!(hands.of(subject), [1]);
    }
    assert_eq!(world.state.summary().await.unwrap().letters, 0);
    stop.cancel();
    task.await.unwrap();
}
