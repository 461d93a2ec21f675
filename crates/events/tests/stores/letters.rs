//! What is parked, as the consumer's database keeps it.

use std::collections::BTreeSet;

use meshwork_events::outbox::PARTITIONS;
use meshwork_events::{ConsumerState as _, DeadLetter, ParkedSummary, Position};
use meshwork_eventstore::partition_of;
use meshwork_sql::{Error, to_micros};
use uuid::Uuid;

use super::inbox::Inbox;
use super::ledger::{CONSUMER, open};
use super::{Database, World};
use crate::feed::{STREAM, envelope};

async fn state(world: &World) -> (Database, Inbox) {
    let db = open(world).await;
    (db.clone(), Inbox::new(db, CONSUMER))
}

#[tokio::test]
async fn a_letter_holds_its_event_and_has_one_id() {
    let world = World::new();
    let (db, state) = state(&world).await;
    let event = envelope("things/one", 1, 1);
    state.park(STREAM, &event, "first\0").await.unwrap();
    state.park(STREAM, &event, "second").await.unwrap();
    let id = DeadLetter::id_of(CONSUMER, "things/one", 1);
    let letter = state.get(id).await.unwrap().unwrap();
    let expected = DeadLetter {
        id,
        consumer: CONSUMER.to_owned(),
        stream: STREAM.to_owned(),
        event,
        reason: "second".to_owned(),
        attempts: 2,
        parked_at: letter.parked_at,
    };
    assert_eq!(letter, expected);
    let age = time::OffsetDateTime::now_utc() - letter.parked_at;
    assert!(age.abs() < time::Duration::seconds(10), "parked {age} ago");
    assert_eq!(state.list(None, None, 10).await.unwrap(), [letter]);
    assert_eq!(state.get(Uuid::nil()).await.unwrap(), None);
    // Another consumer has letters of its own.
    let another = Inbox::new(db, "another");
    assert_eq!(another.get(id).await.unwrap(), None);
    assert_eq!(another.list(None, None, 10).await.unwrap(), []);
    assert_eq!(another.summary().await.unwrap(), ParkedSummary::default());
    assert_eq!(another.discard(id).await.unwrap(), None);
    assert_eq!(state.consumer(), CONSUMER);
}

#[tokio::test]
async fn a_list_is_read_page_by_page_newest_first() {
    let world = World::new();
    let (_, state) = state(&world).await;
    for subject in ["things/a", "things/b", "things/c"] {
        for version in 1..=3 {
            state.park(STREAM, &envelope(subject, version, version), "planted").await.unwrap();
        }
    }
    let (mut seen, mut behind) = (Vec::new(), None);
    loop {
        let page = state.list(None, behind, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        behind = Some((to_micros(last.parked_at), last.id));
        seen.extend(page);
    }
    assert_eq!(seen.iter().map(|letter| letter.id).collect::<BTreeSet<_>>().len(), 9);
    assert_eq!(seen.len(), 9);
    assert!(seen.is_sorted_by_key(|letter| std::cmp::Reverse((letter.parked_at, letter.id))));
    let of_b = state.list(Some("things/b"), None, 10).await.unwrap();
    let versions: BTreeSet<_> =
        of_b.iter().map(|letter| (letter.event.subject.as_str(), letter.event.version)).collect();
    assert_eq!(versions, BTreeSet::from([("things/b", 1), ("things/b", 2), ("things/b", 3)]));
}

#[tokio::test]
async fn d14_a_list_goes_on_behind_letters_that_can_not_be_read() {
    let world = World::new();
    let (db, state) = state(&world).await;
    for subject in ["things/a", "things/b", "things/c", "things/d", "things/e"] {
        state.park(STREAM, &envelope(subject, 1, 1), "planted").await.unwrap();
    }
    let damaged = db.write((), |connection, ()| {
        Box::pin(async move {
            let sql = "UPDATE dead_letter SET id = 'bad ' || subject WHERE subject BETWEEN 'things/b' AND 'things/d'";
            sqlx::query(sql).execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    damaged.await.unwrap();
    for size in [1, 2, 3, 10] {
        let (mut seen, mut behind) = (BTreeSet::new(), None);
        loop {
            let page = state.list(None, behind, size).await.unwrap();
            let Some(last) = page.last() else { break };
            behind = Some((to_micros(last.parked_at), last.id));
            seen.extend(page.iter().map(|letter| letter.event.subject.clone()));
            // Who asks takes a short page for the last one.
            if page.len() < size {
                break;
            }
        }
        assert_eq!(seen, BTreeSet::from(["things/a".to_owned(), "things/e".to_owned()]), "{size}");
    }
}

#[tokio::test]
async fn the_summary_names_who_has_waited_longest_and_why() {
    let world = World::new();
    let (_, state) = state(&world).await;
    assert_eq!(state.summary().await.unwrap(), ParkedSummary::default());
    state.park(STREAM, &envelope("things/one", 1, 1), "planted").await.unwrap();
    for version in 2..=3 {
        assert!(state.queue(STREAM, &envelope("things/one", version, version)).await.unwrap());
    }
    state.park(STREAM, &envelope("things/two", 1, 1), "another").await.unwrap();
    let first = Some(("things/one".to_owned(), "planted".to_owned()));
    assert_eq!(state.summary().await.unwrap(), ParkedSummary { letters: 4, aggregates: 2, first });
}

#[tokio::test]
async fn only_what_is_behind_a_parked_event_is_queued_or_blocked() {
    let world = World::new();
    let (_, state) = state(&world).await;
    assert!(!state.queue(STREAM, &envelope("things/one", 2, 2)).await.unwrap());
    state.park(STREAM, &envelope("things/one", 2, 2), "planted").await.unwrap();
    for (version, behind) in [(1, false), (2, false), (3, true)] {
        assert_eq!(state.queue(STREAM, &envelope("things/one", version, version)).await.unwrap(), behind, "{version}");
        assert_eq!(state.blocks("things/one", version).await.unwrap(), behind, "{version}");
    }
    assert!(!state.blocks("things/two", 3).await.unwrap());
    assert_eq!(state.summary().await.unwrap().letters, 2);
    state.remove("things/one", 2).await.unwrap();
    assert_eq!(state.first_of("things/one").await.unwrap().unwrap().event.version, 3);
    assert_eq!(state.first_of("things/two").await.unwrap(), None);
}

#[tokio::test]
async fn what_was_discarded_is_applied_as_far_as_the_inbox_knows() {
    let world = World::new();
    let (_, state) = state(&world).await;
    for version in 2..=5 {
        state.park(STREAM, &envelope("things/one", version, version), "planted").await.unwrap();
    }
    let third = DeadLetter::id_of(CONSUMER, "things/one", 3);
    assert_eq!(state.discard(third).await.unwrap().as_deref(), Some("things/one"));
    assert_eq!(state.first_of("things/one").await.unwrap().unwrap().event.version, 4);
    assert_eq!(state.discard(third).await.unwrap(), None);
    // One that was applied, or given up, is not parked again.
    for version in 1..=3 {
        state.park(STREAM, &envelope("things/one", version, version), "late").await.unwrap();
    }
    assert_eq!(state.summary().await.unwrap().letters, 2);
}

/// Makes it so long that all letters were tried last.
async fn later(db: &Database, seconds: i64) {
    let aged = db.write(seconds, |connection, seconds| {
        Box::pin(async move {
            let sql = "UPDATE dead_letter SET tried_at = tried_at - $1";
            sqlx::query(sql).bind(seconds * 1_000_000).execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    aged.await.unwrap();
}

#[tokio::test]
async fn letters_are_due_after_pauses_that_double_up_to_an_hour() {
    let world = World::new();
    let (db, state) = state(&world).await;
    let event = envelope("things/one", 1, 1);
    for pause in [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        // Each try begins a pause anew.
        state.park(STREAM, &event, "planted").await.unwrap();
        later(&db, pause - 5).await;
        assert_eq!(state.aggregates(None, "", true, 10).await.unwrap(), Vec::<String>::new(), "before {pause} s");
        assert_eq!(state.aggregates(None, "", false, 10).await.unwrap(), ["things/one"]);
        later(&db, 5).await;
        assert_eq!(state.aggregates(None, "", true, 10).await.unwrap(), ["things/one"], "after {pause} s");
    }
}

#[tokio::test]
async fn an_aggregate_is_due_when_its_first_letter_is() {
    let world = World::new();
    let (db, state) = state(&world).await;
    state.park(STREAM, &envelope("things/one", 1, 1), "planted").await.unwrap();
    state.park(STREAM, &envelope("things/one", 1, 1), "planted").await.unwrap();
    assert!(state.queue(STREAM, &envelope("things/one", 2, 2)).await.unwrap());
    later(&db, 31).await;
    assert_eq!(state.aggregates(None, "", true, 10).await.unwrap(), Vec::<String>::new());
    later(&db, 30).await;
    assert_eq!(state.aggregates(None, "", true, 10).await.unwrap(), ["things/one"]);
}

#[tokio::test]
async fn aggregates_are_told_in_order_and_once() {
    let world = World::new();
    let (_, state) = state(&world).await;
    // Byte by byte, whatever the server's language.
    let subjects = ["a/B", "a/Z", "a/a", "a/b", "a/é"];
    for subject in subjects.iter().rev() {
        for version in 1..=2 {
            state.park(STREAM, &envelope(subject, version, version), "planted").await.unwrap();
        }
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    while let [first, rest @ ..] = state.aggregates(None, &after, false, 2).await.unwrap().as_slice() {
        seen.push(first.clone());
        seen.extend_from_slice(rest);
        after.clone_from(seen.last().unwrap());
    }
    assert_eq!(seen, subjects);
}

#[tokio::test]
async fn a_position_goes_forwards_only() {
    let world = World::new();
    let (db, state) = state(&world).await;
    let partition = partition_of("things/one", PARTITIONS);
    let at = |n, index| Position { partition, n, index };
    assert_eq!(state.position(STREAM, partition).await.unwrap(), None);
    for (reached, expected) in [
        (at(3, 1), at(3, 1)),
        (at(3, 0), at(3, 1)),
        (at(2, 9), at(3, 1)),
        (at(3, u32::MAX), at(3, u32::MAX)),
        (at(4, 0), at(4, 0)),
    ] {
        state.reached(STREAM, reached).await.unwrap();
        assert_eq!(state.position(STREAM, partition).await.unwrap(), Some(expected));
    }
    assert_eq!(state.position("another", partition).await.unwrap(), None);
    assert_eq!(state.position(STREAM, partition + 1).await.unwrap(), None);
    assert_eq!(Inbox::new(db, "another").position(STREAM, partition).await.unwrap(), None);
}
