//! Databases that were restored from an older copy (E1).

use std::sync::Arc;

use meshwork_events::Relay;
use meshwork_events::outbox::{NewEvent, PARTITIONS};
use meshwork_events::testing::{lane, tail};
use meshwork_sql::Error;
use time::OffsetDateTime;

use super::ledger::{Ledger, consume, open};
use super::outbox::Outbox;
use super::{Database, World};
use crate::checks::each_once_in_order;
use crate::feed::{Feed, STREAM, subject_in};
use crate::running::{Running, eventually};

#[tokio::test]
async fn e1_a_consumer_that_was_set_back_applies_again_what_came_since() {
    let (world, feed) = (World::new(), Feed::new().await);
    // The last partition never has an event; that of the third subject has its first one after the copy.
    let [first, second, third] = [0, 1, 2].map(|partition| subject_in(partition, 0));
    let run = async |world: &World, subjects: &[(&str, i64)]| {
        let db = open(world).await;
        let ledger = Ledger::new(db.clone());
        let (running, _) = consume(&feed, &ledger, None);
        for (subject, last) in subjects {
            ledger.have_applied(subject, *last).await;
        }
        running.stop().await;
        each_once_in_order(&ledger.applied().await, subjects).unwrap();
        assert_eq!(ledger.parked().await, 0);
        db.reader().close().await;
    };
    feed.publish_all(&first, 1..=3).await;
    feed.publish_all(&second, 1..=1).await;
    run(&world, &[(&first, 3), (&second, 1)]).await;
    let copy = world.copy().await;

    feed.publish_all(&first, 4..=6).await;
    feed.publish_all(&second, 2..=2).await;
    feed.publish_all(&third, 1..=2).await;
    let all = [(first.as_str(), 6), (second.as_str(), 2), (third.as_str(), 2)];
    run(&world, &all).await;
    // It has come as far in the copy, each once.
    run(&copy, &all).await;
}

async fn happen(db: &Database, outbox: &Outbox, subject: &str, version: i64) {
    let event = NewEvent {
        event_type: "happened",
        schema_version: 1,
        subject: subject.to_owned(),
        version,
        data: vec![1, 2, 3],
    };
    let done = db.write((outbox.clone(), event), |connection, (outbox, event)| {
        Box::pin(async move {
            outbox.append(connection, OffsetDateTime::UNIX_EPOCH, std::slice::from_ref(event)).await?;
            Ok::<_, Error>(())
        })
    });
    done.await.unwrap();
}

#[tokio::test]
async fn e1_an_outbox_that_was_set_back_goes_on_behind_the_bus() {
    let (world, place, feed) = (World::new(), World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&place).await);
    let (consuming, _) = consume(&feed, &ledger, None);
    // Of one partition.
    let [old, unrelayed, new] = [0, 1, 2].map(|k| subject_in(1, k));
    let relay = |outbox: &Outbox| {
        let mut running = Running::default();
        running.relay(Relay::new(Arc::new(outbox.clone()), feed.bus.clone(), STREAM));
        running
    };

    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    let running = relay(&outbox);
    for version in 1..=3 {
        happen(&db, &outbox, &old, version).await;
    }
    ledger.have_applied(&old, 3).await;
    running.stop().await;
    db.reader().close().await;
    let copy = world.copy().await;
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    let running = relay(&outbox);
    for version in 4..=6 {
        happen(&db, &outbox, &old, version).await;
    }
    ledger.have_applied(&old, 6).await;
    running.stop().await;

    let db = open(&copy).await;
    let outbox = Outbox::new(db.clone(), "shop");
    happen(&db, &outbox, &unrelayed, 1).await;
    // Over restarts of the relay: it doesn't go back each time.
    for version in 1..=2 {
        let running = relay(&outbox);
        happen(&db, &outbox, &new, version).await;
        ledger.have_applied(&new, version).await;
        running.stop().await;
    }
    let expected = [(old.as_str(), 6), (unrelayed.as_str(), 1), (new.as_str(), 2)];
    each_once_in_order(&ledger.applied().await, &expected).unwrap();
    // Six of before, and once behind them the three that the copy was given.
    eventually("the tail", async || tail(feed.bus.as_ref(), &lane(STREAM, 1)).await.unwrap().position.n == 9).await;
    assert_eq!(feed.all().await.len(), 9);
    assert!(usize::from(PARTITIONS) > 1);
    consuming.stop().await;
    assert_eq!(ledger.parked().await, 0);
}
