//! Poison parks its aggregate only; it is redriven, or given up.

use std::time::Duration;

use meshwork_events::{ConsumerState as _, DeadLetter, Redriven};
use meshwork_sql::{Error, Sqlite};
use sqlx::Row as _;
use uuid::Uuid;

use super::World;
use super::ledger::{CONSUMER, Ledger, consume, open};
use crate::checks::each_once_in_order;
use crate::feed::{Feed, envelope, subject_in};
use crate::running::eventually;

const HEALED: fn(u64) -> Redriven = |handled| Redriven { handled, left: None };

#[tokio::test]
async fn e6_an_aggregate_waits_behind_poison_and_others_go_on() {
    let (world, feed) = (World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&world).await);
    // Of one partition.
    let (bad, good) = (subject_in(1, 0), subject_in(1, 1));
    ledger.poison(&bad, 2);
    let (running, redriver) = consume(&feed, &ledger, None);
    for version in 1..=4 {
        feed.publish(&bad, version).await;
        feed.publish(&good, version).await;
    }
    ledger.have_applied(&good, 4).await;
    ledger.have_parked(3).await;
    assert_eq!(ledger.of(&bad).await, [1]);

    let letters = ledger.state.list(Some(&bad), None, 10).await.unwrap();
    for letter in &letters {
        let version = letter.event.version;
        let expected = if version == 2 { "planted" } else { "an earlier event of this aggregate is parked" };
        assert_eq!((letter.reason.as_str(), letter.attempts), (expected, 1), "{version}");
        assert_eq!(letter.id, DeadLetter::id_of(CONSUMER, &bad, version));
        assert_eq!(letter.event.data, envelope(&bad, version, 0).data);
    }
    let summary = ledger.state.summary().await.unwrap();
    assert_eq!((summary.letters, summary.aggregates), (3, 1));
    assert_eq!(summary.first, Some((bad.clone(), "planted".to_owned())));

    // In vain, as long as nothing has changed.
    for attempts in 2..=4 {
        let Redriven { handled, left } = redriver.redrive(&bad).await.unwrap();
        let left = left.unwrap();
        assert_eq!((handled, left.event.version, left.attempts), (0, 2, attempts));
    }
    assert_eq!(redriver.redrive_all(None, false).await.unwrap(), (0, 1));
    // It isn't due.
    assert_eq!(redriver.redrive_all(None, true).await.unwrap(), (0, 0));
    feed.publish(&bad, 5).await;
    ledger.have_parked(4).await;

    ledger.heal();
    assert_eq!(redriver.redrive(&bad).await.unwrap(), HEALED(4));
    assert_eq!(redriver.redrive(&bad).await.unwrap(), HEALED(0));
    feed.publish(&bad, 6).await;
    ledger.have_applied(&bad, 6).await;
    assert_eq!(ledger.parked().await, 0);
    running.stop().await;
    each_once_in_order(&ledger.applied().await, &[(&bad, 6), (&good, 4)]).unwrap();
}

#[tokio::test]
async fn e6_what_is_given_up_lets_its_aggregate_go_on() {
    let (world, feed) = (World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&world).await);
    for version in [2, 5, 6] {
        ledger.poison("things/one", version);
    }
    let (running, redriver) = consume(&feed, &ledger, None);
    feed.publish_all("things/one", 1..=7).await;
    ledger.have_parked(6).await;
    let id = |version| DeadLetter::id_of(CONSUMER, "things/one", version);
    assert_eq!(redriver.discard(Uuid::nil()).await.unwrap(), None);
    // On to the next that can't be handled.
    let Redriven { handled, left } = redriver.discard(id(2)).await.unwrap().unwrap();
    assert_eq!((handled, left.unwrap().event.version), (2, 5));
    assert_eq!(ledger.of("things/one").await, [1, 3, 4]);
    // With what is parked before it.
    assert_eq!(redriver.discard(id(6)).await.unwrap(), Some(HEALED(1)));
    assert_eq!(redriver.discard(id(5)).await.unwrap(), None);
    feed.publish("things/one", 8).await;
    ledger.have_applied("things/one", 8).await;
    running.stop().await;
    assert_eq!(ledger.of("things/one").await, [1, 3, 4, 7, 8]);
}

#[tokio::test]
async fn a_failure_that_passes_parks_nothing() {
    let (world, feed) = (World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&world).await);
    ledger.crash_at("things/one", 1);
    ledger.crash_at("things/one", 2);
    let (running, _) = consume(&feed, &ledger, None);
    feed.publish_all("things/one", 1..=3).await;
    ledger.have_applied("things/one", 3).await;
    running.stop().await;
    assert_eq!(ledger.parked().await, 0);
    each_once_in_order(&ledger.applied().await, &[("things/one", 3)]).unwrap();
}

#[tokio::test]
async fn a_start_tries_everything_again_that_is_parked() {
    let (world, feed) = (World::new(), Feed::new().await);
    let db = open(&world).await;
    let ledger = Ledger::new(db.clone());
    ledger.poison("things/one", 1);
    let (running, _) = consume(&feed, &ledger, None);
    feed.publish_all("things/one", 1..=2).await;
    ledger.have_parked(2).await;
    running.stop().await;
    // The next release understands it.
    let ledger = Ledger::new(db);
    let (running, _) = consume(&feed, &ledger, None);
    ledger.have_applied("things/one", 2).await;
    eventually("the end of parking", async || ledger.parked().await == 0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_redrives_and_new_events_at_once_leave_nothing_parked() {
    const VERSIONS: i64 = 10;
    let (world, feed) = (World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&world).await);
    let subjects: Vec<_> = (0..4).map(|k| subject_in(k, 0)).collect();
    for subject in &subjects {
        ledger.poison(subject, 3);
    }
    let (running, redriver) = consume(&feed, &ledger, None);
    let redriving: Vec<_> = (0..2)
        .map(|_| {
            let redriver = redriver.clone();
            tokio::spawn(async move {
                loop {
                    redriver.redrive_all(None, false).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    for version in 1..=VERSIONS {
        if version == 6 {
            eventually("parked events", async || ledger.parked().await >= 4).await;
            ledger.heal();
        }
        for subject in &subjects {
            feed.publish(subject, version).await;
        }
    }
    for subject in &subjects {
        ledger.have_applied(subject, VERSIONS).await;
    }
    eventually("the end of parking", async || ledger.parked().await == 0).await;
    for task in redriving {
        task.abort();
    }
    running.stop().await;
    let expected: Vec<_> = subjects.iter().map(|subject| (subject.as_str(), VERSIONS)).collect();
    each_once_in_order(&ledger.applied().await, &expected).unwrap();
    assert_eq!(ledger.parked().await, 0);
}

/// Publishes three events, of which the release before has parked the first two: in the bus's own table.
async fn parked_of_old(feed: &Feed) -> Sqlite {
    feed.publish_all("things/one", 1..=3).await;
    let bus = feed.database().await;
    let planted = bus.write((), |connection, ()| {
        Box::pin(async move {
            let sql = "INSERT INTO parked (consumer, stream, partition, n, i, id, source, type, subject, version, time, data, \
                       reason, parked_at) SELECT $1, stream, partition, n, i, id, source, type, subject, version, time, data, \
                       'of old', 1 FROM messages WHERE version <= 2";
            sqlx::query(sql).bind(CONSUMER).execute(&mut *connection).await?;
            let sql = "INSERT INTO acknowledged (consumer, stream, partition, n, i) \
                       SELECT $1, stream, partition, 2, 0 FROM messages WHERE version = 2";
            sqlx::query(sql).bind(CONSUMER).execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    planted.await.unwrap();
    bus
}

#[tokio::test]
async fn letters_of_the_release_before_are_taken_over() {
    let (world, feed) = (World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&world).await);
    let bus = parked_of_old(&feed).await;
    ledger.poison("things/one", 1);
    let (running, redriver) = consume(&feed, &ledger, None);
    ledger.have_parked(3).await;
    running.stop().await;
    let letters = ledger.state.list(None, None, 10).await.unwrap();
    let mut reasons: Vec<_> = letters.iter().map(|it| (it.event.version, it.reason.as_str())).collect();
    reasons.sort_unstable();
    let behind = "an earlier event of this aggregate is parked";
    assert_eq!(reasons, [(1, "planted"), (2, behind), (3, behind)]);
    let old = envelope("things/one", 1, 1);
    assert!(letters.iter().any(|letter| letter.event == old));
    let row = sqlx::query("SELECT count(*) FROM parked").fetch_one(bus.reader()).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 0, "the bus has forgotten them");

    ledger.heal();
    assert_eq!(redriver.redrive("things/one").await.unwrap(), HEALED(3));
    each_once_in_order(&ledger.applied().await, &[("things/one", 3)]).unwrap();
}

#[tokio::test]
async fn a_release_that_can_handle_what_the_one_before_has_parked_does_so_at_its_start() {
    let (world, feed) = (World::new(), Feed::new().await);
    let ledger = Ledger::new(open(&world).await);
    parked_of_old(&feed).await;
    let (running, _) = consume(&feed, &ledger, None);
    ledger.have_applied("things/one", 3).await;
    running.stop().await;
    each_once_in_order(&ledger.applied().await, &[("things/one", 3)]).unwrap();
}
