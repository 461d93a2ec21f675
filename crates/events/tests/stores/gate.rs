//! The gate: each event once, in order, whoever delivers it.

use std::collections::VecDeque;
use std::time::Duration;

use meshwork_events::inbox::Gate;
use meshwork_events::{ConsumerState as _, HandleError, Handler as _};
use meshwork_sql::Error;

use super::inbox::{Inbox, gate};
use super::ledger::{Ledger, Variant, open};
use super::{Database, World};
use crate::checks::each_once_in_order;
use crate::feed::{STREAM, envelope};

async fn ask(db: &Database, consumer: &'static str, version: i64) -> Gate {
    let asked = db.write((consumer, version), |connection, (consumer, version)| {
        Box::pin(async move { gate(connection, consumer, "things/one", *version).await })
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn it_tells_new_events_from_duplicates_and_holes() {
    let world = World::new();
    let db = open(&world).await;
    assert_eq!(ask(&db, "reader", 2).await, Gate::Hole { last: 0 });
    assert_eq!(ask(&db, "reader", 1).await, Gate::Apply);
    assert_eq!(ask(&db, "reader", 1).await, Gate::Duplicate);
    assert_eq!(ask(&db, "reader", 3).await, Gate::Hole { last: 1 });
    assert_eq!(ask(&db, "reader", 2).await, Gate::Apply);
    assert_eq!(ask(&db, "reader", 1).await, Gate::Duplicate);
    // Each consumer has its own.
    assert_eq!(ask(&db, "another", 1).await, Gate::Apply);
}

#[tokio::test]
async fn what_comes_behind_a_parked_event_is_parked_and_the_event_itself_may_come() {
    let world = World::new();
    let db = open(&world).await;
    let state = Inbox::new(db.clone(), "reader");
    assert_eq!(ask(&db, "reader", 1).await, Gate::Apply);
    state.park(STREAM, &envelope("things/one", 2, 2), "planted").await.unwrap();
    assert_eq!(ask(&db, "reader", 1).await, Gate::Duplicate);
    assert_eq!(ask(&db, "reader", 3).await, Gate::Parked);
    assert_eq!(ask(&db, "reader", 9).await, Gate::Parked);
    assert!(state.queue(STREAM, &envelope("things/one", 3, 3)).await.unwrap());
    // It is applied, and so it isn't parked any more.
    assert_eq!(ask(&db, "reader", 2).await, Gate::Apply);
    assert_eq!(state.first_of("things/one").await.unwrap().unwrap().event.version, 3);
    assert_eq!(ask(&db, "reader", 3).await, Gate::Apply);
    assert_eq!(state.summary().await.unwrap().letters, 0);
    assert_eq!(ask(&db, "reader", 4).await, Gate::Apply);
}

/// A hole that is parked doesn't keep away what fills it.
#[tokio::test]
async fn what_is_missing_before_a_parked_event_is_let_in() {
    let world = World::new();
    let db = open(&world).await;
    let state = Inbox::new(db.clone(), "reader");
    state.park(STREAM, &envelope("things/one", 3, 3), "planted").await.unwrap();
    assert_eq!(ask(&db, "reader", 2).await, Gate::Hole { last: 0 });
    assert_eq!(ask(&db, "reader", 1).await, Gate::Apply);
    assert_eq!(ask(&db, "reader", 4).await, Gate::Parked);
    for version in 2..=4 {
        assert_eq!(ask(&db, "reader", version).await, Gate::Apply);
    }
}

#[tokio::test]
async fn what_was_undone_is_not_noted() {
    let world = World::new();
    let db = open(&world).await;
    let undone = db.write((), |connection, ()| {
        Box::pin(async move {
            assert_eq!(gate(connection, "reader", "things/one", 1).await?, Gate::Apply);
            Err::<(), _>(Error::Panicked)
        })
    });
    undone.await.unwrap_err();
    assert_eq!(ask(&db, "reader", 1).await, Gate::Apply);
}

#[tokio::test]
async fn what_was_applied_is_listed_by_aggregate_page_by_page() {
    let world = World::new();
    let db = open(&world).await;
    for (subject, version) in [("things/b", 1), ("things/a", 1), ("things/b", 2), ("things/c", 1)] {
        let asked = db.write((subject, version), |connection, (subject, version)| {
            Box::pin(async move { gate(connection, "reader", subject, *version).await })
        });
        assert_eq!(asked.await.unwrap(), Gate::Apply);
    }
    let state = Inbox::new(db.clone(), "reader");
    let first = state.applied("", 2).await.unwrap();
    assert_eq!(first, [("things/a".to_owned(), 1), ("things/b".to_owned(), 2)]);
    assert_eq!(state.applied("things/b", 2).await.unwrap(), [("things/c".to_owned(), 1)]);
    assert_eq!(state.applied("things/c", 2).await.unwrap(), []);
    assert_eq!(Inbox::new(db, "another").applied("", 2).await.unwrap(), []);
}

const SUBJECTS: [&str; 4] = ["things/a", "things/b", "things/c", "things/d"];
const VERSIONS: i64 = 6;

/// Delivers the same events by many tasks over two handles; some of them go down before their commit.
async fn delivered_by_many(variant: Variant) -> Result<(), String> {
    let world = World::new();
    let ledgers = [Ledger::with(open(&world).await, variant), Ledger::with(open(&world).await, variant)];
    for ledger in &ledgers {
        for subject in SUBJECTS {
            ledger.crash_at(subject, 1);
            ledger.crash_at(subject, 4);
        }
    }
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let ledger = ledgers[task % 2].clone();
            let mut events = VecDeque::new();
            for at in 0..SUBJECTS.len() {
                let subject = SUBJECTS[(at + task) % SUBJECTS.len()];
                events.extend((1..=VERSIONS).map(|version| envelope(subject, version, version)));
            }
            tokio::spawn(async move {
                while let Some(event) = events.pop_front() {
                    match ledger.handle(&event).await {
                        Ok(()) => {}
                        // What another task is to deliver is missing yet; the same one comes again.
                        Err(HandleError::Hole { .. } | HandleError::Retry(_)) => events.push_back(event),
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    }
    let expected = SUBJECTS.map(|subject| (subject, VERSIONS));
    each_once_in_order(&ledgers[0].applied().await, &expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_deliver_at_once_is_applied_once_and_in_order() {
    delivered_by_many(Variant::Shipped).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_outside_of_the_effect_s_transaction_is_seen() {
    let broken = delivered_by_many(Variant::InboxOutside).await.unwrap_err();
    assert!(broken.contains("should have come to"), "{broken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_writes_whatever_it_finds_is_seen() {
    let broken = delivered_by_many(Variant::Unconditional).await.unwrap_err();
    assert!(broken.contains("should have come to"), "{broken}");
}
