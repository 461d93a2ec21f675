//! The embedded bus against the conformance suite, and the way of an event over it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_events::inbox::sqlite::{self as inbox, Inbox};
use meshwork_events::outbox::sqlite::{self as outbox, Outbox};
use meshwork_events::outbox::{NewEvent, PARTITIONS};
use meshwork_events::testing::{conformance, event, lane, publish, read_all, tail};
use meshwork_events::{
    Bus as _, Consumer, ConsumerState, Envelope, HandleError, Handler, Lane, MAX_MESSAGE_BYTES, Relay, Resume,
    Source as _, SqliteBus, StoreSource,
};
use meshwork_eventstore::testing::command;
use meshwork_eventstore::{EventStore, Expected, SqliteEventStore};
use meshwork_sql::{Error, Sqlite};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// For how long a subscription waits for its first event.
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance(SqliteBus::open(folder.path()).await.unwrap()).await;
}

/// Changes the bus's file, as time would.
async fn age(folder: &std::path::Path, sql: &'static str) {
    let db = Sqlite::open(&folder.join("bus.db"), &[]).await.unwrap();
    db.write_once::<_, Error, _>(move |connection| {
        Box::pin(async move {
            sqlx::query(sql).execute(connection).await?;
            Ok(())
        })
    })
    .await
    .unwrap();
}

/// Publishes so often that the bus sweeps this lane once.
async fn publish_more(bus: &SqliteBus, lane: &Lane, from: i64) {
    for n in from..from + 64 {
        publish(bus, lane, vec![event("a", n, n, 0)]).await;
    }
}

fn versions(events: &[Envelope]) -> Vec<i64> {
    events.iter().map(|event| event.version).collect()
}

/// Acknowledges what a consumer is handed over first.
async fn handle(bus: &SqliteBus, consumer: &str, lane: &Lane, count: usize) {
    let mut subscription = bus.subscribe(consumer, lane, Resume::AsAcknowledged).await.unwrap();
    let deliveries = subscription.next(count, SECOND).await.unwrap().deliveries;
    assert_eq!(deliveries.len(), count);
    subscription.done_through(deliveries[count - 1].place).await.unwrap();
}

#[tokio::test]
async fn e7_old_messages_go_once_every_consumer_has_acknowledged_them() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    let lane = lane("swept", 3);
    let events: Vec<_> = (1..=10).map(|n| event("a", n, n, 0)).collect();
    publish(bus.as_ref(), &lane, events).await;
    handle(&bus, "fast", &lane, 10).await;
    handle(&bus, "slow", &lane, 2).await;
    age(folder.path(), "UPDATE messages SET stored_at = 0").await;
    publish_more(&bus, &lane, 11).await;
    let left = versions(&read_all(bus.as_ref(), &lane).await);
    assert_eq!(left[..8], (3..=10).collect::<Vec<_>>(), "what a consumer hasn't handled stays");
    handle(&bus, "slow", &lane, 3).await;
    publish_more(&bus, &lane, 75).await;
    assert_eq!(read_all(bus.as_ref(), &lane).await[0].version, 6);
}

#[tokio::test]
async fn e7_a_consumer_that_is_retired_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    let lane = lane("retired", 3);
    publish(bus.as_ref(), &lane, (1..=10).map(|n| event("a", n, n, 0)).collect()).await;
    handle(&bus, "retired", &lane, 2).await;
    age(folder.path(), "UPDATE messages SET stored_at = 0").await;
    publish_more(&bus, &lane, 11).await;
    assert_eq!(read_all(bus.as_ref(), &lane).await[0].version, 3);
    age(folder.path(), "UPDATE subscriptions SET seen_at = unixepoch() - 29 * 86400").await;
    publish_more(&bus, &lane, 75).await;
    assert!(read_all(bus.as_ref(), &lane).await[0].version > 10);
}

#[tokio::test]
async fn e7_old_messages_of_a_stream_without_consumers_go_too() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    let lane = lane("nobodys", 3);
    publish(bus.as_ref(), &lane, (1..=10).map(|n| event("a", n, n, 0)).collect()).await;
    // Whoever handles another stream keeps nothing of this one.
    bus.subscribe("reader", &self::lane("another", 3), Resume::FromStart).await.unwrap();
    age(folder.path(), "UPDATE messages SET stored_at = 0").await;
    publish_more(&bus, &lane, 11).await;
    assert!(read_all(bus.as_ref(), &lane).await[0].version > 10);
    // The tail stays however old it is: the relay goes on from there.
    age(folder.path(), "UPDATE messages SET stored_at = 0").await;
    publish_more(&bus, &lane, 75).await;
    assert!(read_all(bus.as_ref(), &lane).await[0].version >= 74);
    assert_eq!(tail(bus.as_ref(), &lane).await.unwrap().version, 138);
}

/// A release before this one kept parked events on the bus.
#[tokio::test]
async fn what_the_release_before_has_parked_is_handed_over_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    let lane = lane("handed-over", 3);
    let parked = "INSERT INTO parked (consumer, stream, partition, n, i, id, source, type, subject, version, time, data, reason, parked_at) \
                  VALUES ('reader', 'handed-over', 3, 1, 0, 'a:1', 'tests', 'happened', 'a', 1, 0, x'01', 'planted', 0)";
    age(folder.path(), parked).await;
    publish(bus.as_ref(), &lane, vec![event("a", 2, 2, 0)]).await;
    let mut subscription = bus.subscribe("reader", &lane, Resume::FromStart).await.unwrap();
    let first = subscription.next(10, SECOND).await.unwrap().deliveries;
    assert_eq!((first.len(), first[0].event.version), (1, 1));
    subscription.done_through(first[0].place).await.unwrap();
    let second = subscription.next(10, SECOND).await.unwrap().deliveries;
    assert_eq!((second.len(), second[0].event.version), (1, 2));
    subscription.done_through(second[0].place).await.unwrap();
    drop(subscription);
    let mut subscription = bus.subscribe("reader", &lane, Resume::AsAcknowledged).await.unwrap();
    assert_eq!(subscription.next(10, SECOND).await.unwrap().deliveries, []);
}

/// Who was killed before it was done, again and again, is told so: it may be the event that kills.
#[tokio::test]
async fn an_event_that_ends_each_process_is_known_by_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    let lane = lane("deadly", 3);
    for idle in 0..3 {
        let mut subscription = bus.subscribe("reader", &lane, Resume::AsAcknowledged).await.unwrap();
        assert_eq!(subscription.next(10, SECOND).await.unwrap().deliveries, [], "{idle}");
    }
    publish(bus.as_ref(), &lane, vec![event("a", 1, 1, 0), event("a", 2, 2, 0)]).await;
    for attempt in 1..=4 {
        let mut subscription = bus.subscribe("reader", &lane, Resume::AsAcknowledged).await.unwrap();
        assert_eq!(subscription.next(1, SECOND).await.unwrap().deliveries[0].attempt, attempt);
    }
    let mut subscription = bus.subscribe("reader", &lane, Resume::AsAcknowledged).await.unwrap();
    let first = subscription.next(1, SECOND).await.unwrap().deliveries;
    subscription.done_through(first[0].place).await.unwrap();
    assert_eq!(subscription.next(1, SECOND).await.unwrap().deliveries[0].attempt, 1);
}

#[tokio::test]
async fn opening_a_bus_twice_in_a_process_shares_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = SqliteBus::open(folder.path()).await.unwrap();
    assert!(Arc::ptr_eq(&first, &SqliteBus::open(folder.path()).await.unwrap()));
}

/// Waits for a condition, at most ten seconds.
async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// Notes what it is handed; refuses what it is told to.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<Envelope>>,
    poisoned: Mutex<HashSet<String>>,
    failures: Mutex<HashMap<String, usize>>,
    /// For a consumer without a gate: its effect isn't in this database.
    state: Option<Inbox>,
}

impl Recorder {
    fn seen(&self, subject: &str) -> Vec<i64> {
        self.seen.lock().unwrap().iter().filter(|event| event.subject == subject).map(|event| event.version).collect()
    }
}

#[async_trait]
impl Handler for Recorder {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        if let Some(state) = &self.state
            && state.blocks(&event.subject, event.version).await?
        {
            return Err(HandleError::Parked);
        }
        if self.poisoned.lock().unwrap().contains(&event.id) {
            return Err(HandleError::Poison("planted".to_owned()));
        }
        if let Some(left) = self.failures.lock().unwrap().get_mut(&event.id)
            && *left > 0
        {
            *left -= 1;
            return Err(HandleError::Retry("planted".to_owned()));
        }
        self.seen.lock().unwrap().push(event.clone());
        Ok(())
    }
}

struct Running {
    shutdown: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    fn new() -> Self {
        Self { shutdown: CancellationToken::new(), tasks: Vec::new() }
    }

    fn relay(&mut self, relay: Relay) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move { relay.run(shutdown).await }));
    }

    fn consumer(&mut self, consumer: Consumer) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move { consumer.run(shutdown).await }));
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
        }
    }
}

struct Shop {
    folder: TempDir,
    db: Sqlite,
    outbox: Outbox,
    state: Inbox,
}

impl Shop {
    fn consumer(&self, bus: &Arc<SqliteBus>, recorder: &Arc<Recorder>) -> Consumer {
        Consumer::new(bus.clone(), "recorder", "shop", recorder.clone(), Arc::new(self.state.clone()))
    }
}

async fn shop() -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let components = [outbox::COMPONENTS, inbox::COMPONENTS].concat();
    let db = Sqlite::open(&folder.path().join("shop.db"), &components).await.unwrap();
    Shop { outbox: Outbox::new(db.clone(), "shop"), state: Inbox::new(db.clone(), "recorder"), db, folder }
}

async fn happen(shop: &Shop, subject: &str, version: i64) {
    happen_with(shop, subject, version, vec![1, 2, 3]).await;
}

async fn happen_with(shop: &Shop, subject: &str, version: i64, data: Vec<u8>) {
    let outbox = shop.outbox.clone();
    let event = NewEvent { event_type: "happened", schema_version: 1, subject: subject.to_owned(), version, data };
    shop.db
        .write_once::<(), Error, _>(move |connection| {
            Box::pin(async move { outbox.append(connection, OffsetDateTime::UNIX_EPOCH, &[event]).await })
        })
        .await
        .unwrap();
}

async fn published(bus: &SqliteBus, stream: &str) -> Vec<Envelope> {
    let mut events = Vec::new();
    for partition in 0..PARTITIONS {
        events.extend(read_all(bus, &lane(stream, partition)).await);
    }
    events
}

#[tokio::test]
async fn an_outbox_reaches_its_consumers_over_restarts_of_relay_and_consumer() {
    let shop = shop().await;
    let bus = SqliteBus::open(shop.folder.path()).await.unwrap();
    let recorder = Arc::new(Recorder::default());
    for round in 1..=3 {
        let mut running = Running::new();
        running.relay(Relay::new(Arc::new(shop.outbox.clone()), bus.clone(), "shop"));
        running.consumer(shop.consumer(&bus, &recorder));
        for subject in 0..20 {
            happen(&shop, &format!("things/{subject}"), round).await;
        }
        eventually("the round's events", async || {
            (0..20).all(|subject| recorder.seen(&format!("things/{subject}")).last() == Some(&round))
        })
        .await;
        running.stop().await;
    }
    for subject in 0..20 {
        assert_eq!(recorder.seen(&format!("things/{subject}")), [1, 2, 3]);
    }
    assert_eq!(published(&bus, "shop").await.len(), 60);
}

#[tokio::test]
async fn two_relays_publish_each_event_once_and_in_order() {
    let shop = shop().await;
    let bus = SqliteBus::open(shop.folder.path()).await.unwrap();
    let mut running = Running::new();
    for _ in 0..2 {
        running.relay(Relay::new(Arc::new(shop.outbox.clone()), bus.clone(), "shop"));
    }
    for version in 1..=100 {
        happen(&shop, "things/one", version).await;
    }
    eventually("all events", async || published(&bus, "shop").await.len() >= 100).await;
    running.stop().await;
    let versions: Vec<_> = published(&bus, "shop").await.iter().map(|event| event.version).collect();
    assert_eq!(versions, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_store_is_a_source_and_private_events_stay_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 4).await.unwrap());
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    let mut hidden = command("orders/1", Expected::NoStream, "a", 1);
    hidden.events[0].event_type = "hidden";
    store.append(hidden).await.unwrap();
    store.append(command("orders/1", Expected::Exact(1), "b", 2)).await.unwrap();
    let mut running = Running::new();
    let source = StoreSource::new(store.clone(), "orders", |event_type| event_type != "hidden");
    running.relay(Relay::new(Arc::new(source), bus.clone(), "orders"));
    eventually("the public events", async || published(&bus, "orders").await.len() >= 2).await;
    let events = published(&bus, "orders").await;
    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["orders/1:2", "orders/1:3"]);
    running.stop().await;
}

/// No commit of the shop has two events: what the crash points of the whole can't meet is tried here.
#[tokio::test]
async fn a_relay_that_has_ended_between_two_events_of_a_commit_goes_on_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), PARTITIONS).await.unwrap());
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    store.append(command("orders/1", Expected::NoStream, "a", 2)).await.unwrap();
    store.append(command("orders/1", Expected::Exact(2), "b", 1)).await.unwrap();
    let partition = meshwork_eventstore::partition_of("orders/1", PARTITIONS);
    let source = Arc::new(StoreSource::new(store, "orders", |_| true));
    let first = source.read(partition, 1, 1).await.unwrap().events.swap_remove(0);
    publish(bus.as_ref(), &lane("orders", partition), vec![first]).await;
    let mut running = Running::new();
    running.relay(Relay::new(source, bus.clone(), "orders"));
    eventually("the last event", async || published(&bus, "orders").await.len() >= 3).await;
    running.stop().await;
    let events = published(&bus, "orders").await;
    let places: Vec<_> = events.iter().map(|event| (event.version, event.position.n, event.position.index)).collect();
    assert_eq!(places, [(1, 1, 0), (2, 1, 1), (3, 2, 0)]);
}

/// The positions of an event store are the truth of others too: it can't go on behind what it doesn't know.
#[tokio::test]
async fn a_relay_stops_when_the_bus_holds_what_its_store_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), PARTITIONS).await.unwrap());
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    store.append(command("orders/one", Expected::NoStream, "a", 1)).await.unwrap();
    let partition = meshwork_eventstore::partition_of("orders/one", PARTITIONS);
    let mut stranger = event("orders/one", 9, 1, 0);
    stranger.position.partition = partition;
    publish(bus.as_ref(), &lane("orders", partition), vec![stranger]).await;
    let mut running = Running::new();
    running.relay(Relay::new(Arc::new(StoreSource::new(store.clone(), "orders", |_| true)), bus.clone(), "orders"));
    // Another partition goes on, and shows that the relay has been at work.
    let other =
        (0..).map(|n| format!("orders/{n}")).find(|s| meshwork_eventstore::partition_of(s, PARTITIONS) != partition);
    store.append(command(&other.unwrap(), Expected::NoStream, "b", 1)).await.unwrap();
    eventually("the other partition's event", async || published(&bus, "orders").await.len() == 2).await;
    running.stop().await;
    assert_eq!(tail(bus.as_ref(), &lane("orders", partition)).await.unwrap().version, 9);
}

#[tokio::test]
async fn a_poison_event_parks_its_aggregate_only_and_a_restart_heals_it_in_order() {
    let shop = shop().await;
    let bus = SqliteBus::open(shop.folder.path()).await.unwrap();
    let recorder = Arc::new(Recorder { state: Some(shop.state.clone()), ..Recorder::default() });
    recorder.poisoned.lock().unwrap().insert("things/bad:1".to_owned());
    let start = || {
        let mut running = Running::new();
        running.relay(Relay::new(Arc::new(shop.outbox.clone()), bus.clone(), "shop"));
        running.consumer(shop.consumer(&bus, &recorder));
        running
    };
    let running = start();
    for version in 1..=3 {
        happen(&shop, "things/bad", version).await;
        happen(&shop, "things/good", version).await;
    }
    eventually("the good aggregate", async || recorder.seen("things/good") == [1, 2, 3]).await;
    let parked = async || shop.state.summary().await.unwrap().letters;
    eventually("the bad aggregate's parking", async || parked().await == 3).await;
    running.stop().await;
    assert_eq!(recorder.seen("things/bad"), Vec::<i64>::new());

    recorder.poisoned.lock().unwrap().clear();
    let running = start();
    eventually("the healing", async || recorder.seen("things/bad") == [1, 2, 3]).await;
    eventually("the end of parking", async || parked().await == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_failure_that_passes_is_tried_again_and_nothing_overtakes() {
    let shop = shop().await;
    let bus = SqliteBus::open(shop.folder.path()).await.unwrap();
    let recorder = Arc::new(Recorder::default());
    recorder.failures.lock().unwrap().insert("things/one:1".to_owned(), 3);
    let mut running = Running::new();
    running.relay(Relay::new(Arc::new(shop.outbox.clone()), bus.clone(), "shop"));
    running.consumer(shop.consumer(&bus, &recorder));
    happen(&shop, "things/one", 1).await;
    happen(&shop, "things/one", 2).await;
    eventually("both events", async || recorder.seen("things/one").len() >= 2).await;
    running.stop().await;
    assert_eq!(recorder.seen("things/one"), [1, 2]);
}

#[tokio::test]
async fn relay_and_consumer_tell_how_far_behind_they_are() {
    let shop = shop().await;
    let bus = SqliteBus::open(shop.folder.path()).await.unwrap();
    bus.ping().await.unwrap();
    let recorder = Arc::new(Recorder::default());
    let relay = Relay::new(Arc::new(shop.outbox.clone()), bus.clone(), "shop");
    let consumer = shop.consumer(&bus, &recorder);
    let (published, handled) = (relay.progress(), consumer.progress());
    // Neither runs yet, and so both fall behind.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(published.lag() >= Duration::from_millis(20) && handled.lag() >= Duration::from_millis(20));

    // An event that fails until it is told otherwise.
    let stuck = Envelope::id_of("things/one", 1);
    recorder.failures.lock().unwrap().insert(stuck.clone(), usize::MAX);
    let mut running = Running::new();
    running.relay(relay);
    running.consumer(consumer);
    happen(&shop, "things/one", 1).await;
    // Partitions are looked at each second: beyond that one of them stands still.
    let (far, near) = (Duration::from_secs(3), Duration::from_millis(2_500));
    eventually("the lag of a consumer that is stuck", async || handled.lag() > far).await;
    eventually("a relay that isn't", async || published.lag() < near).await;
    recorder.failures.lock().unwrap().remove(&stuck);
    eventually("a consumer that has caught up", async || handled.lag() < near).await;
    assert_eq!(recorder.seen("things/one"), [1]);
    running.stop().await;
}

/// Until somebody gives it up: it will never be taken.
#[tokio::test]
async fn an_event_that_is_too_large_stops_its_aggregate_only() {
    let shop = shop().await;
    let bus = SqliteBus::open(shop.folder.path()).await.unwrap();
    // In the same partition, so that it would be stopped too.
    let of_partition = |k: usize| {
        let all = (0..).map(|n| format!("things/{n}"));
        all.filter(|subject| meshwork_eventstore::partition_of(subject, PARTITIONS) == 1).nth(k).unwrap()
    };
    let (large, other) = (of_partition(0), of_partition(1));
    happen(&shop, &large, 1).await;
    happen_with(&shop, &large, 2, vec![0; MAX_MESSAGE_BYTES]).await;
    happen(&shop, &large, 3).await;
    let relay = || {
        let state = Arc::new(shop.state.clone());
        Relay::new(Arc::new(shop.outbox.clone()), bus.clone(), "shop").parking(state)
    };
    let ids = async |count: usize| {
        eventually("what can be published", async || published(&bus, "shop").await.len() >= count).await;
        published(&bus, "shop").await.iter().map(|event| event.id.clone()).collect::<Vec<_>>()
    };
    for round in 1..=2 {
        let mut running = Running::new();
        running.relay(relay());
        happen(&shop, &other, round).await;
        let round = usize::try_from(round).unwrap();
        assert_eq!(ids(1 + round).await.len(), 1 + round);
        eventually("the letters", async || shop.state.summary().await.unwrap().letters == 2).await;
        running.stop().await;
    }
    let letters = shop.state.list(None, None, 10).await.unwrap();
    let first = letters.iter().find(|letter| letter.event.version == 2).unwrap();
    assert!(first.reason.contains("bytes, and the bus takes"), "{}", first.reason);
    let relay = relay();
    let redriver = relay.redriver().unwrap();
    assert!(redriver.redrive(&large).await.unwrap().left.is_some());
    // It is given up, and the next one comes beside the lane.
    redriver.discard(first.id).await.unwrap().unwrap();
    let mut running = Running::new();
    running.relay(relay);
    happen(&shop, &large, 4).await;
    let all = ids(5).await;
    running.stop().await;
    let of_large: HashSet<_> = all.iter().filter(|id| id.starts_with(&format!("{large}:"))).cloned().collect();
    assert_eq!(of_large, [1, 3, 4].map(|version| format!("{large}:{version}")).into());
    assert_eq!(shop.state.summary().await.unwrap().letters, 0);
}
