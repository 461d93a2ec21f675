//! A source over several shards: each has an outbox and a relay, and all have one stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meshwork_events::outbox::PARTITIONS;
use meshwork_events::testing::{lane, read_all};
use meshwork_events::{
    Bus as _, Consumer, ConsumerState as _, Envelope, Position, Published, Relay, Source as _, SqliteBus,
    StreamReader as _, outbox_history_select,
};
use meshwork_eventstore::partition_of;
use meshwork_sql::{Error, to_micros};
use sqlx::{AssertSqlSafe, Row as _};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::appends::{append, happened};
use super::inbox::{self, Inbox};
use super::ledger::{self, CONSUMER, Ledger};
use super::outbox::{self, Outbox};
use super::{Database, PLACES, World};
use crate::feed::{STREAM, envelope, subject_in};
use crate::running::{Running, eventually};

/// The space of the aggregates' keys.
const SPACE: i16 = 3;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Shard {
    _world: World,
    db: Database,
    outbox: Outbox,
    state: Inbox,
}

impl Shard {
    /// The shard of a number, with an empty database.
    async fn new(number: u16) -> Self {
        let world = World::new();
        let components = [inbox::COMPONENTS.as_slice(), &outbox::COMPONENTS, &[outbox::HISTORY], PLACES].concat();
        let db = world.open(&components).await;
        let outbox = Outbox::numbered(db.clone(), "shop", number * PARTITIONS).with_history(SPACE);
        Self { state: Inbox::new(db.clone(), "shop"), _world: world, db, outbox }
    }

    async fn append(&self, subject: &str, version: i64) {
        append(&self.db, &self.outbox, vec![happened(subject, version)]).await;
    }

    fn relay(&self, bus: &Arc<SqliteBus>) -> Relay {
        let state = Arc::new(self.state.clone());
        Relay::new(Arc::new(self.outbox.clone()), bus.clone(), STREAM).checkpoint(state.clone()).parking(state)
    }

    /// Executes a statement without parameters.
    async fn execute(&self, sql: &str) {
        let executed = self.db.write(sql.to_owned(), |connection, sql| {
            Box::pin(async move {
                sqlx::query(AssertSqlSafe(sql.clone())).execute(connection).await?;
                Ok::<_, Error>(())
            })
        });
        executed.await.unwrap();
    }

    /// Takes the events of an aggregate as they come from another shard.
    async fn take_history(&self, events: Vec<Envelope>) {
        let taken = self.db.write(events, |connection, events| {
            Box::pin(async move {
                for event in events {
                    sqlx::query(
                        "INSERT INTO outbox_history \
                         (subject, version, type, schema_version, time, context, data, slot, key) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, 7, 'key')",
                    )
                    .bind(&event.subject)
                    .bind(event.version)
                    .bind(&event.event_type)
                    .bind(i64::from(event.schema_version))
                    .bind(to_micros(event.time))
                    .bind(event.context.to_text())
                    .bind(event.data.as_ref())
                    .execute(&mut *connection)
                    .await?;
                }
                Ok::<_, Error>(())
            })
        });
        taken.await.unwrap();
    }

    async fn numbers(&self, sql: &'static str) -> Vec<i64> {
        let rows = sqlx::query(sql).fetch_all(self.db.reader()).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// A bus with lanes for two shards.
async fn bus() -> (TempDir, Arc<SqliteBus>) {
    let folder = tempfile::tempdir().unwrap();
    let lanes = HashMap::from([(STREAM.to_owned(), 2 * PARTITIONS)]);
    let bus = SqliteBus::open_with(folder.path(), &lanes).await.unwrap();
    (folder, bus)
}

fn versions(events: &[Envelope]) -> Vec<i64> {
    events.iter().map(|event| event.version).collect()
}

#[tokio::test]
async fn each_shard_publishes_to_its_own_lanes_and_to_no_other() {
    let (_folder, bus) = bus().await;
    let shards = [Shard::new(0).await, Shard::new(1).await];
    let mut running = Running::default();
    let mut published: Vec<Published> = Vec::new();
    for shard in &shards {
        let relay = shard.relay(&bus);
        published.push(relay.published());
        running.relay(relay);
    }
    for (number, shard) in shards.iter().enumerate() {
        for partition in 0..PARTITIONS {
            for version in 1..=2 {
                shard.append(&subject_in(partition, number), version).await;
            }
        }
    }
    let shard_of = |partition: u16| usize::from(partition / PARTITIONS);
    eventually("all events", async || {
        (0..2 * PARTITIONS).all(|partition| published[shard_of(partition)].last(partition) == Some(2))
    })
    .await;
    running.stop().await;

    for partition in 0..2 * PARTITIONS {
        let (shard, other) = (shard_of(partition), 1 - shard_of(partition));
        let events = read_all(bus.as_ref(), &lane(STREAM, partition)).await;
        let subject = subject_in(partition % PARTITIONS, shard);
        assert!(events.iter().all(|event| event.subject == subject && event.position.partition == partition));
        assert_eq!(versions(&events), [1, 2]);
        assert_eq!(published[other].last(partition), None);
        // How far it has come is noted by the numbers of the stream.
        let noted = shards[shard].state.position(STREAM, partition).await.unwrap();
        assert_eq!(noted, Some(Position { partition, n: 2, index: 0 }));
        assert_eq!(shards[other].state.position(STREAM, partition).await.unwrap(), None);
    }
    assert_eq!(shards[1].numbers("SELECT DISTINCT partition FROM outbox ORDER BY partition").await, [0, 1, 2, 3]);

    // What another shard's relay has published says nothing of this one's.
    assert_eq!(shards[1].outbox.prune(&published[0], DAY, 100).await.unwrap(), 0);
    assert_eq!(shards[1].outbox.prune(&published[1], DAY, 100).await.unwrap(), 4);
}

#[tokio::test]
async fn nothing_is_published_of_a_shard_for_which_the_bus_has_no_lanes() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path()).await.unwrap();
    assert_eq!(bus.lanes(STREAM).len(), usize::from(PARTITIONS));
    let shard = Shard::new(1).await;
    shard.append("things/one", 1).await;
    let relay = shard.relay(&bus);
    let run = relay.run(CancellationToken::new());
    assert!(tokio::time::timeout(Duration::from_secs(10), run).await.is_ok(), "it has to say so and to end");
    for partition in 0..2 * PARTITIONS {
        assert_eq!(read_all(bus.as_ref(), &lane(STREAM, partition)).await, []);
    }
}

#[tokio::test]
async fn an_outbox_knows_its_partitions_by_their_numbers_in_the_stream() {
    let shard = Shard::new(1).await;
    let (one, other) = (subject_in(1, 0), subject_in(1, 1));
    assert_eq!(shard.outbox.partitions(), 4..8);
    let mut beats = shard.outbox.beats(5);
    shard.append(&one, 1).await;
    tokio::time::timeout(Duration::from_secs(10), beats.any(Duration::from_secs(60))).await.unwrap();
    assert_eq!(shard.outbox.head(5).await.unwrap(), Some(1));
    assert_eq!(shard.outbox.heads().await.unwrap(), Some(vec![(4, 0), (5, 1), (6, 0), (7, 0)]));
    for foreign in [0, 1, 8] {
        let refused = shard.outbox.read(foreign, 1, 10).await.unwrap_err();
        assert!(refused.contains("4..8") && shard.outbox.head(foreign).await.is_err(), "{refused}");
    }
    // It was put back to an older copy, and the bus holds what it doesn't.
    let mut tail = envelope(&other, 3, 3);
    tail.position.partition = 5;
    assert!(shard.outbox.go_on_behind(&tail, 0).await.unwrap());
    let read = shard.outbox.read(5, 3, 10).await.unwrap().events;
    let places: Vec<_> = read.iter().map(|event| (event.subject.as_str(), event.position.n)).collect();
    assert_eq!(places, [(other.as_str(), 3), (one.as_str(), 4)]);
    assert!(read.iter().all(|event| event.position.partition == 5));
    assert_eq!(shard.outbox.head(5).await.unwrap(), Some(4));
    assert_eq!(shard.outbox.heads().await.unwrap(), Some(vec![(4, 0), (5, 4), (6, 0), (7, 0)]));
    tail.position.partition = 1;
    assert!(shard.outbox.go_on_behind(&tail, 0).await.is_err());
}

#[tokio::test]
async fn the_history_of_an_aggregate_is_read_with_what_came_behind_it_each_version_once() {
    let shard = Shard::new(1).await;
    for version in 1..=3 {
        shard.append("things/one", version).await;
        shard.append("things/two", version).await;
    }
    let select = outbox_history_select!("7", "substr(t.subject, 8)");
    shard
        .execute(&format!(
            "INSERT INTO outbox_history (subject, version, type, schema_version, time, context, data, slot, key) \
             SELECT {select} FROM outbox t"
        ))
        .await;
    let keys = "SELECT count(*) FROM outbox_history WHERE slot = 7 AND key = 'two'";
    assert_eq!(shard.numbers(keys).await, [3]);
    let (before, with_history) = (shard.outbox.read_stream("things/one", 0, 10).await.unwrap(), &shard.outbox);
    shard.execute("DELETE FROM outbox WHERE version < 3").await;
    shard.append("things/one", 4).await;

    let all = with_history.read_stream("things/one", 0, 10).await.unwrap();
    assert_eq!(versions(&all), [1, 2, 3, 4]);
    let partition = PARTITIONS + partition_of("things/one", PARTITIONS);
    assert!(all.iter().all(|event| event.position.partition == partition));
    assert_eq!(all.iter().map(|event| event.position.n > 0).collect::<Vec<_>>(), [false, false, true, true]);
    // It is the same event, but for its place.
    let moved = Envelope { position: before[0].position, ..all[0].clone() };
    assert_eq!(moved, before[0]);
    for (after, limit, expected) in [(0, 2, vec![1, 2]), (1, 2, vec![2, 3]), (2, 10, vec![3, 4]), (4, 10, vec![])] {
        let read = with_history.read_stream("things/one", after, limit).await.unwrap();
        assert_eq!(versions(&read), expected, "behind {after}");
    }
    let without = Outbox::numbered(shard.db.clone(), "shop", PARTITIONS);
    assert_eq!(versions(&without.read_stream("things/one", 0, 10).await.unwrap()), [3, 4]);

    // Its events are of 1970. Nothing is published, but the history is: by whom it has come from.
    let (_folder, bus) = bus().await;
    let published = shard.relay(&bus).published();
    assert_eq!(with_history.prune(&published, 365 * 200 * DAY, 100).await.unwrap(), 0);
    assert_eq!(with_history.prune(&published, DAY, 4).await.unwrap(), 4);
    assert_eq!(with_history.prune(&published, DAY, 100).await.unwrap(), 2);
    assert_eq!(versions(&with_history.read_stream("things/one", 0, 10).await.unwrap()), [3, 4]);
}

#[tokio::test]
async fn events_that_are_still_being_moved_here_are_left_to_their_owner() {
    if PLACES.is_empty() {
        // Nothing moves to a file.
        return;
    }
    let (from, to) = (Shard::new(0).await, Shard::new(1).await);
    for version in 1..=2 {
        from.append("things/one", version).await;
    }
    to.take_history(from.outbox.read_stream("things/one", 0, 10).await.unwrap()).await;
    to.execute("INSERT INTO shard_foreign (space, piece, slot) VALUES (3, 7, 7)").await;
    let (_folder, bus) = bus().await;
    let published = to.relay(&bus).published();
    assert_eq!(to.outbox.prune(&published, DAY, 100).await.unwrap(), 0);
    assert_eq!(versions(&to.outbox.read_stream("things/one", 0, 10).await.unwrap()), [1, 2]);
    to.execute("DELETE FROM shard_foreign").await;
    assert_eq!(to.outbox.prune(&published, DAY, 100).await.unwrap(), 2);
}

#[tokio::test]
async fn a_consumer_handles_each_event_of_an_aggregate_that_has_moved_once_and_in_order() {
    let (_folder, bus) = bus().await;
    let (from, to) = (Shard::new(0).await, Shard::new(1).await);
    let world = World::new();
    let ledger = Ledger::new(ledger::open(&world).await);
    let consumer = Consumer::new(bus.clone(), CONSUMER, STREAM, ledger.clone(), Arc::new(ledger.state.clone()));
    let mut running = Running::default();
    running.consumer(consumer.backfill(Arc::new(to.outbox.clone())));
    let moved = "things/one";
    for version in 1..=3 {
        from.append(moved, version).await;
    }
    // The others stay where they are.
    for partition in 0..PARTITIONS {
        from.append(&subject_in(partition, 1), 1).await;
        to.append(&subject_in(partition, 2), 1).await;
    }
    to.take_history(from.outbox.read_stream(moved, 0, 10).await.unwrap()).await;
    to.append(moved, 4).await;
    to.append(moved, 5).await;

    // What came first is fetched from its new owner, since the lanes of the old one are behind.
    running.relay(to.relay(&bus));
    ledger.have_applied(moved, 5).await;
    running.relay(from.relay(&bus));
    for partition in 0..PARTITIONS {
        ledger.have_applied(&subject_in(partition, 1), 1).await;
        ledger.have_applied(&subject_in(partition, 2), 1).await;
    }
    let lane = partition_of(moved, PARTITIONS);
    eventually("the events of the old owner", async || {
        let position = ledger.state.position(STREAM, lane).await.unwrap();
        position.is_some_and(|position| position.n >= 4)
    })
    .await;
    running.stop().await;
    assert_eq!(ledger.of(moved).await, [1, 2, 3, 4, 5]);
    assert_eq!((ledger.parked().await, ledger.applied().await.len()), (0, 9));
}
