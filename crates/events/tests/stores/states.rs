//! What the shards of a service keep, as one.

use std::sync::Arc;

use meshwork_events::inbox::Gate;
use meshwork_events::{ConsumerState, DeadLetter, Envelope, Position, ShardedState};
use meshwork_sql::{Error, to_micros};
use uuid::Uuid;

use super::inbox::{self, Inbox, gate};
use super::ledger::CONSUMER;
use super::{Database, World};
use crate::feed::{STREAM, envelope};

/// Two shards, of which the first keeps the partitions 0 to 3 and the second those from 4 to 7.
struct Shards {
    _worlds: [World; 2],
    databases: [Database; 2],
    all: ShardedState,
}

impl Shards {
    async fn new() -> Self {
        let worlds = [World::new(), World::new()];
        let databases = [worlds[0].open(&inbox::COMPONENTS).await, worlds[1].open(&inbox::COMPONENTS).await];
        Self { _worlds: worlds, all: both(&databases), databases }
    }

    fn of(&self, shard: usize) -> Inbox {
        Inbox::new(self.databases[shard].clone(), CONSUMER)
    }

    /// Notes that a shard has applied the versions of an aggregate up to this one.
    async fn apply(&self, shard: usize, subject: &'static str, last: i64) {
        let applied = self.databases[shard].write((subject, last), |connection, (subject, last)| {
            Box::pin(async move {
                for version in 1..=*last {
                    assert_eq!(gate(connection, CONSUMER, subject, version).await?, Gate::Apply);
                }
                Ok::<_, Error>(())
            })
        });
        applied.await.unwrap();
    }
}

fn both(databases: &[Database; 2]) -> ShardedState {
    let state = |at: usize| -> Arc<dyn ConsumerState> { Arc::new(Inbox::new(databases[at].clone(), CONSUMER)) };
    ShardedState::new(vec![(0..4, state(0)), (4..8, state(1))])
}

/// An event in a partition.
fn event(subject: &str, version: i64, partition: u16) -> Envelope {
    let event = envelope(subject, version, version);
    Envelope { position: Position { partition, ..event.position }, ..event }
}

fn id_of(subject: &str, version: i64) -> Uuid {
    DeadLetter::id_of(CONSUMER, subject, version)
}

fn events_of(letters: &[DeadLetter]) -> Vec<(&str, i64)> {
    letters.iter().map(|letter| (letter.event.subject.as_str(), letter.event.version)).collect()
}

#[tokio::test]
async fn what_is_parked_lies_in_the_shard_of_its_partition_and_is_told_of_all() {
    let shards = Shards::new().await;
    let all = &shards.all;
    all.park(STREAM, &event("things/b", 1, 6), "planted in b").await.unwrap();
    all.park(STREAM, &event("things/a", 1, 2), "planted in a").await.unwrap();
    assert!(all.queue(STREAM, &event("things/b", 2, 6)).await.unwrap());
    assert!(!all.queue(STREAM, &event("things/b", 2, 2)).await.unwrap(), "the first shard has nothing of it");
    assert_eq!(shards.of(0).summary().await.unwrap().letters, 1);
    assert_eq!(shards.of(1).summary().await.unwrap().letters, 2);

    let summary = all.summary().await.unwrap();
    assert_eq!((summary.letters, summary.aggregates), (3, 2));
    assert_eq!(summary.first, Some(("things/a".to_owned(), "planted in a".to_owned())));
    let newest = all.list(None, None, 10).await.unwrap();
    let mut found = events_of(&newest);
    found.sort_unstable();
    assert_eq!(found, [("things/a", 1), ("things/b", 1), ("things/b", 2)]);
    // Some may have been parked in one moment.
    let places: Vec<_> = newest.iter().map(|letter| (letter.parked_at, letter.id)).collect();
    assert!(places.is_sorted_by(|one, other| one > other), "{places:?}");
    let (mut paged, mut behind) = (Vec::new(), None);
    while let Some(letter) = all.list(None, behind, 1).await.unwrap().pop() {
        behind = Some((to_micros(letter.parked_at), letter.id));
        paged.push(letter);
    }
    assert_eq!(paged, newest);
    assert_eq!(events_of(&all.list(Some("things/a"), None, 10).await.unwrap()), [("things/a", 1)]);

    let aggregates = async |after: &str, limit: usize| all.aggregates(Some(STREAM), after, false, limit).await.unwrap();
    assert_eq!(aggregates("", 10).await, ["things/a", "things/b"]);
    assert_eq!(aggregates("", 1).await, ["things/a"]);
    assert_eq!(aggregates("things/a", 1).await, ["things/b"]);
    assert_eq!(all.aggregates(Some("another"), "", false, 10).await.unwrap(), Vec::<String>::new());
    assert!(all.blocks("things/b", 2).await.unwrap() && !all.blocks("things/a", 1).await.unwrap());
    assert_eq!(all.first_of("things/b").await.unwrap().unwrap().id, id_of("things/b", 1));
    assert_eq!(all.get(id_of("things/b", 2)).await.unwrap().unwrap().event.position.partition, 6);
    assert_eq!(all.get(id_of("things/c", 1)).await.unwrap(), None);

    assert_eq!(all.discard(id_of("things/b", 1)).await.unwrap().as_deref(), Some("things/b"));
    assert_eq!(all.discard(id_of("things/b", 1)).await.unwrap(), None);
    all.remove("things/a", 1).await.unwrap();
    assert_eq!(events_of(&all.list(None, None, 10).await.unwrap()), [("things/b", 2)]);
}

#[tokio::test]
async fn how_far_it_has_come_is_noted_in_the_shard_of_the_partition() {
    let shards = Shards::new().await;
    let at = Position { partition: 5, n: 9, index: 0 };
    shards.all.reached(STREAM, at).await.unwrap();
    assert_eq!(shards.all.position(STREAM, 5).await.unwrap(), Some(at));
    assert_eq!(shards.of(1).position(STREAM, 5).await.unwrap(), Some(at));
    assert_eq!(shards.of(0).position(STREAM, 5).await.unwrap(), None);
    // A shard that isn't known has noted nothing, and nothing is kept for it.
    assert_eq!(shards.all.position(STREAM, 8).await.unwrap(), None);
    let refused = shards.all.reached(STREAM, Position { partition: 8, ..at }).await.unwrap_err();
    assert!(refused.to_string().contains("the partition 8 of shop"), "{refused}");
}

#[tokio::test]
async fn an_aggregate_has_come_as_far_as_in_the_shard_that_is_ahead() {
    let shards = Shards::new().await;
    shards.apply(0, "things/moved", 2).await;
    shards.apply(1, "things/moved", 3).await;
    shards.apply(1, "things/a", 1).await;
    shards.apply(0, "things/z", 4).await;
    let applied = async |after: &str, limit: usize| shards.all.applied(after, limit).await.unwrap();
    let expected = [("things/a", 1), ("things/moved", 3), ("things/z", 4)].map(|(of, at)| (of.to_owned(), at));
    assert_eq!(applied("", 10).await, expected);
    assert_eq!(applied("", 2).await, expected[..2]);
    assert_eq!(applied("things/a", 1).await, expected[1..2]);
    assert_eq!(applied("things/moved", 10).await, expected[2..]);
}

#[tokio::test]
async fn a_shard_that_can_not_be_asked_is_named_and_keeps_nobody_from_what_another_has() {
    let shards = Shards::new().await;
    shards.all.park(STREAM, &event("things/a", 1, 2), "planted").await.unwrap();
    // It has no tables.
    let world = World::new();
    let all = both(&[shards.databases[0].clone(), world.open(&[]).await]);
    let summary = all.summary().await.unwrap_err().to_string();
    let list = all.list(None, None, 10).await.unwrap_err().to_string();
    for told in [summary, list] {
        assert!(told.contains("the database of the partitions 4 to 7"), "{told}");
    }
    assert!(all.get(id_of("things/a", 1)).await.unwrap().is_some());
    assert!(all.get(id_of("things/b", 1)).await.is_err(), "the other may have it");
    assert!(all.first_of("things/a").await.is_err(), "the other may have an earlier one");
    assert_eq!(all.discard(id_of("things/a", 1)).await.unwrap().as_deref(), Some("things/a"));
}
