//! Why events happened and the versions of their schemas, as outboxes and parked events keep them.

use meshwork_events::outbox::{NewEvent, PARTITIONS};
use meshwork_events::{ConsumerState as _, Context, Envelope, Position, Source as _, StreamReader as _};
use meshwork_eventstore::partition_of;
use meshwork_sql::Error;
use time::OffsetDateTime;

use super::inbox::Inbox;
use super::ledger::{CONSUMER, open};
use super::outbox::Outbox;
use super::{Database, World};
use crate::feed::STREAM;

const SUBJECT: &str = "things/one";

fn by(actor: &str) -> Context {
    Context {
        causation_id: "shop.v1.Shop/Buy".to_owned(),
        correlation_id: "a \"quoted\" one".to_owned(),
        trace_parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        trace_state: "vendor=value".to_owned(),
        actor: actor.to_owned(),
    }
}

/// Appends the event of a version, of the schema of that number.
async fn append(db: &Database, outbox: &Outbox, version: u16) {
    let event = NewEvent {
        event_type: "happened",
        schema_version: version,
        subject: SUBJECT.to_owned(),
        version: i64::from(version),
        data: vec![1, 2, 3],
    };
    let appended = db.write((outbox.clone(), event), |connection, (outbox, event)| {
        Box::pin(async move {
            outbox.append(connection, OffsetDateTime::UNIX_EPOCH, std::slice::from_ref(event)).await?;
            Ok::<_, Error>(())
        })
    });
    appended.await.unwrap();
}

/// Runs a statement as an earlier release would.
async fn run(db: &Database, sql: &'static str, partition: u16) {
    let done = db.write(i64::from(partition), move |connection, partition| {
        Box::pin(async move {
            sqlx::query(sql).bind(*partition).execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    done.await.unwrap();
}

/// The schemas and contexts of the subject's events.
fn told(events: &[Envelope]) -> Vec<(u16, Context)> {
    events.iter().map(|event| (event.schema_version, event.context.clone())).collect()
}

#[tokio::test]
async fn an_outbox_tells_schemas_and_the_contexts_of_who_has_appended() {
    let world = World::new();
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    by("users/1").scope(append(&db, &outbox, 1)).await;
    append(&db, &outbox, 2).await;
    // At once: their work shares the writer and none of their contexts.
    let (one, other) = (Outbox::new(db.clone(), "shop"), Outbox::new(db.clone(), "shop"));
    tokio::join!(by("users/3").scope(append(&db, &one, 3)), append(&db, &other, 4));
    let expected = [(1, by("users/1")), (2, Context::default()), (3, by("users/3")), (4, Context::default())];
    let read = outbox.read_stream(SUBJECT, 0, 10).await.unwrap();
    assert_eq!(told(&read), expected);
    let mut followed = outbox.read(partition_of(SUBJECT, PARTITIONS), 1, 10).await.unwrap().events;
    followed.sort_by_key(|event| event.version);
    assert_eq!(followed, read);
}

#[tokio::test]
async fn events_of_an_earlier_release_are_of_the_first_schema_and_nothing_is_known_of_why() {
    let world = World::new();
    let db = open(&world).await;
    let partition = partition_of(SUBJECT, PARTITIONS);
    run(
        &db,
        "INSERT INTO outbox (partition, n, type, subject, version, time, data) \
         VALUES ($1, 1, 'happened', 'things/one', 1, 0, '')",
        partition,
    )
    .await;
    run(
        &db,
        "INSERT INTO dead_letter (id, consumer, stream, subject, version, event_id, source, type, partition, n, i, time, \
         data, reason, attempts, parked_at, tried_at) VALUES ('6a0f3c52-9d1e-4f0b-8a67-2b1c5d7e9f10', 'ledger', 'shop', \
         'things/one', 1, 'things/one:1', 'shop', 'happened', $1, 1, 0, 0, '', 'planted', 1, 0, 0)",
        partition,
    )
    .await;
    let expected = [(1, Context::default())];
    let outbox = Outbox::new(db.clone(), "shop");
    assert_eq!(told(&outbox.read_stream(SUBJECT, 0, 10).await.unwrap()), expected);
    let letter = Inbox::new(db, CONSUMER).first_of(SUBJECT).await.unwrap().unwrap();
    assert_eq!(told(&[letter.event]), expected);
}

#[tokio::test]
async fn an_outbox_that_goes_on_behind_the_bus_keeps_them() {
    let world = World::new();
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    by("users/1").scope(append(&db, &outbox, 1)).await;
    by("users/2").scope(append(&db, &outbox, 2)).await;
    let partition = partition_of(SUBJECT, PARTITIONS);
    let mut tail = outbox.read(partition, 1, 1).await.unwrap().events.remove(0);
    tail.position = Position { partition, n: 7, index: 0 };
    (tail.version, tail.schema_version, tail.context) = (3, 9, by("users/9"));
    tail.id = Envelope::id_of(SUBJECT, 3);
    assert!(outbox.go_on_behind(&tail, 1).await.unwrap());
    let events = outbox.read(partition, 1, 10).await.unwrap().events;
    assert_eq!(told(&events), [(1, by("users/1")), (9, by("users/9")), (2, by("users/2"))]);
    assert_eq!(events[1], tail);
}

#[tokio::test]
async fn a_letter_keeps_them() {
    let world = World::new();
    let db = open(&world).await;
    let state = Inbox::new(db, CONSUMER);
    let event = Envelope {
        id: Envelope::id_of(SUBJECT, 1),
        source: "shop".to_owned(),
        event_type: "happened".to_owned(),
        schema_version: u16::MAX,
        subject: SUBJECT.to_owned(),
        version: 1,
        position: Position { partition: partition_of(SUBJECT, PARTITIONS), n: 1, index: 0 },
        time: OffsetDateTime::UNIX_EPOCH,
        context: by("users/1"),
        data: "data".into(),
    };
    // Whoever parks it is not why it happened.
    by("users/2").scope(state.park(STREAM, &event, "planted")).await.unwrap();
    assert_eq!(state.first_of(SUBJECT).await.unwrap().unwrap().event, event);
    assert_eq!(state.list(None, None, 10).await.unwrap()[0].event, event);
    // What was tried again is the same event.
    state.park(STREAM, &event, "planted again").await.unwrap();
    assert_eq!(state.first_of(SUBJECT).await.unwrap().unwrap().event, event);
}
