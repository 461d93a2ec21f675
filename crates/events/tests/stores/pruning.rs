//! What is old goes, and what is needed stays.

use std::sync::Arc;
use std::time::Duration;

use meshwork_events::inbox::Gate;
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::{ConsumerState as _, Relay};
use meshwork_eventstore::partition_of;
use meshwork_sql::Error;
use sqlx::Row as _;

use super::appends::{append, happened};
use super::inbox::{Inbox, gate};
use super::ledger::{CONSUMER, open};
use super::outbox::Outbox;
use super::{Database, World};
use crate::feed::{Feed, STREAM, envelope};
use crate::running::{Running, eventually};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn numbers(db: &Database, sql: &'static str) -> Vec<i64> {
    let rows = sqlx::query(sql).fetch_all(db.reader()).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn e7_an_outbox_keeps_its_tail_and_what_is_not_published() {
    const LEFT: &str = "SELECT n FROM outbox ORDER BY n";
    let (world, feed) = (World::new(), Feed::new().await);
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    let relay = |running: &mut Running| {
        let relay = Relay::new(Arc::new(outbox.clone()), feed.bus.clone(), STREAM);
        let published = relay.published();
        running.relay(relay);
        published
    };
    let mut running = Running::default();
    let published = relay(&mut running);
    // Before anything is published nothing goes.
    assert_eq!(outbox.prune(&published, Duration::ZERO, 100).await.unwrap(), 0);
    for version in 1..=6 {
        append(&db, &outbox, vec![happened("things/one", version)]).await;
    }
    let partition = partition_of("things/one", PARTITIONS);
    eventually("the relay", async || published.last(partition) == Some(6)).await;
    running.stop().await;
    append(&db, &outbox, vec![happened("things/one", 7), happened("things/one", 8)]).await;

    // Its events are of 1970: older than any day that is kept, but not than all time.
    assert_eq!(outbox.prune(&published, 365 * 200 * DAY, 100).await.unwrap(), 0);
    assert_eq!(outbox.prune(&published, DAY, 2).await.unwrap(), 2);
    assert_eq!(numbers(&db, LEFT).await, [3, 4, 5, 6, 7, 8]);
    assert_eq!(outbox.prune(&published, DAY, 100).await.unwrap(), 3);
    assert_eq!(numbers(&db, LEFT).await, [6, 7, 8]);
    assert_eq!(outbox.prune(&published, DAY, 100).await.unwrap(), 0);

    // The relay finds the tail, and goes on behind it.
    let mut running = Running::default();
    let published = relay(&mut running);
    eventually("the rest", async || published.last(partition) == Some(8)).await;
    running.stop().await;
    assert_eq!(feed.all().await.len(), 8);
}

#[tokio::test]
async fn e7_an_inbox_forgets_who_was_silent_unless_something_of_it_is_parked() {
    const LEFT: &str = "SELECT last_version FROM inbox WHERE consumer = 'ledger' ORDER BY last_version";
    let world = World::new();
    let db = open(&world).await;
    let state = Inbox::new(db.clone(), CONSUMER);
    let come = async |consumer: &'static str, subject: &'static str, last: i64| {
        let come = db.write((subject, last), move |connection, (subject, last)| {
            Box::pin(async move {
                for version in 1..=*last {
                    assert_eq!(gate(connection, consumer, subject, version).await?, Gate::Apply);
                }
                Ok::<_, Error>(())
            })
        });
        come.await.unwrap();
    };
    for (subject, last) in [("silent/1", 1), ("silent/2", 2), ("parked", 3), ("of old", 4)] {
        come(CONSUMER, subject, last).await;
    }
    come("another", "silent/1", 1).await;
    state.park(STREAM, &envelope("parked", 4, 4), "planted").await.unwrap();
    let aged = db.write((), |connection, ()| {
        Box::pin(async move {
            let sql = "UPDATE inbox SET seen_at = CASE subject WHEN 'of old' THEN 0 ELSE seen_at - 172800000000 END";
            sqlx::query(sql).execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    aged.await.unwrap();
    come(CONSUMER, "young", 5).await;

    assert_eq!(state.prune(3 * DAY, 100).await.unwrap(), 0);
    assert_eq!(state.prune(DAY, 1).await.unwrap(), 1);
    assert_eq!(state.prune(DAY, 100).await.unwrap(), 1);
    assert_eq!(state.prune(DAY, 100).await.unwrap(), 0);
    // What the release before has noted was seen now.
    assert_eq!(numbers(&db, LEFT).await, [3, 4, 5]);
    assert_eq!(numbers(&db, "SELECT seen_at FROM inbox WHERE seen_at = 0").await, Vec::<i64>::new());
    assert_eq!(numbers(&db, "SELECT last_version FROM inbox WHERE consumer = 'another'").await, [1]);
}
