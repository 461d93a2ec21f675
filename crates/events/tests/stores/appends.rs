//! The outbox: dense positions in the order of the commits.

use std::sync::Arc;
use std::time::Duration;

use meshwork_events::outbox::{NewEvent, PARTITIONS};
use meshwork_events::{Source as _, StreamReader as _};
use meshwork_eventstore::partition_of;
use meshwork_sql::Error;
use sqlx::Row as _;
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::ledger::open;
use super::outbox::Outbox;
use super::{Connection, Database, World};
use crate::checks::all_seen;
use crate::feed::subject_in;

pub(crate) fn happened(subject: &str, version: i64) -> NewEvent {
    NewEvent {
        event_type: "happened",
        schema_version: 1,
        subject: subject.to_owned(),
        version,
        data: subject.as_bytes().to_vec(),
    }
}

pub(crate) async fn append(db: &Database, outbox: &Outbox, events: Vec<NewEvent>) {
    let appended = db.write((outbox.clone(), events), |connection, (outbox, events)| {
        Box::pin(async move { outbox.append(connection, OffsetDateTime::UNIX_EPOCH, events).await })
    });
    appended.await.unwrap();
}

/// Follows a partition as a relay does: what it has passed it doesn't see again.
struct Follower {
    outbox: Outbox,
    partition: u16,
    next: i64,
    seen: Vec<(String, i64)>,
}

impl Follower {
    fn new(outbox: &Outbox, partition: u16) -> Self {
        Self { outbox: outbox.clone(), partition, next: 1, seen: Vec::new() }
    }

    /// Reads what there is; says so when a position is left out.
    async fn read(&mut self) -> Result<(), String> {
        let batch = self.outbox.read(self.partition, self.next, 7).await.unwrap();
        for event in batch.events {
            if event.position.n != self.next {
                return Err(format!("{} comes where {} should", event.position.n, self.next));
            }
            self.next += 1;
            self.seen.push((event.subject, event.version));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_dense_and_in_the_order_of_commits() {
    const ROUNDS: i64 = 8;
    let world = World::new();
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    // Each writes to two partitions, and neighbours meet in one.
    let subjects: Vec<_> = (0..PARTITIONS).map(|p| [subject_in(p, 0), subject_in((p + 1) % PARTITIONS, 1)]).collect();
    let writers: Vec<_> = subjects
        .iter()
        .cloned()
        .map(|subjects| {
            let (db, outbox) = (db.clone(), outbox.clone());
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let events = subjects.iter().flat_map(|subject| [1, 2].map(|at| happened(subject, 2 * round + at)));
                    append(&db, &outbox, events.collect()).await;
                }
            })
        })
        .collect();
    let mut followers: Vec<_> = (0..PARTITIONS).map(|partition| Follower::new(&outbox, partition)).collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        for follower in &mut followers {
            follower.read().await.unwrap();
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut seen = Vec::new();
    for mut follower in followers {
        while follower.seen.len() < 4 * usize::try_from(ROUNDS).unwrap() {
            follower.read().await.unwrap();
        }
        seen.extend(follower.seen);
    }
    let expected: Vec<_> = subjects.iter().flatten().map(|subject| (subject.as_str(), 2 * ROUNDS)).collect();
    all_seen(&seen, &expected).unwrap();
}

/// SQL that prepares a planted way to append, and that appends.
pub(crate) type Planted = [&'static str; 2];

/// What was appended and not committed yet holds back the next; a planted way to append is put to the same test.
pub(crate) async fn slow_and_fast(planted: Option<Planted>) -> Result<(), String> {
    let world = World::new();
    let db = open(&world).await;
    if let Some([prepare, _]) = planted {
        let prepared = db.write((), move |connection, ()| {
            Box::pin(async move {
                sqlx::query(prepare).execute(connection).await?;
                Ok::<_, Error>(())
            })
        });
        prepared.await.unwrap();
    }
    let outbox = Outbox::new(db.clone(), "shop");
    let (slow, fast) = (subject_in(1, 0), subject_in(1, 1));
    let appended = Arc::new(Notify::new());
    let writing = {
        let (db, input) = (db.clone(), (outbox.clone(), slow.clone(), appended.clone()));
        tokio::spawn(async move {
            db.write(input, move |connection, (outbox, subject, appended)| {
                Box::pin(async move {
                    put(connection, outbox, subject, planted).await?;
                    appended.notify_one();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok::<_, Error>(())
                })
            })
            .await
        })
    };
    appended.notified().await;
    let mut follower = Follower::new(&outbox, 1);
    let second = db.write((outbox.clone(), fast.clone()), move |connection, (outbox, subject)| {
        Box::pin(async move { put(connection, outbox, subject, planted).await })
    });
    second.await.unwrap();
    // Whatever is seen now is passed by.
    follower.read().await?;
    writing.await.unwrap().unwrap();
    follower.read().await?;
    all_seen(&follower.seen, &[(&slow, 1), (&fast, 1)])
}

async fn put(
    connection: &mut Connection,
    outbox: &Outbox,
    subject: &str,
    planted: Option<Planted>,
) -> Result<(), Error> {
    let Some([_, sql]) = planted else {
        return outbox.append(connection, OffsetDateTime::UNIX_EPOCH, &[happened(subject, 1)]).await;
    };
    sqlx::query(sql).bind(subject).execute(connection).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_first_is_committed_first() {
    slow_and_fast(None).await.unwrap();
}

#[tokio::test]
async fn what_is_undone_leaves_no_gap() {
    let world = World::new();
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    let undone = db.write(outbox.clone(), |connection, outbox| {
        Box::pin(async move {
            outbox.append(connection, OffsetDateTime::UNIX_EPOCH, &[happened("things/one", 1)]).await?;
            Err::<(), _>(Error::Panicked)
        })
    });
    undone.await.unwrap_err();
    append(&db, &outbox, vec![happened("things/one", 1)]).await;
    let partition = partition_of("things/one", PARTITIONS);
    let batch = outbox.read(partition, 1, 10).await.unwrap();
    assert_eq!((batch.seen, batch.events.len(), batch.events[0].position.n), (Some(1), 1, 1));
}

#[tokio::test]
async fn a_commit_wakes_who_follows_and_an_append_alone_does_not() {
    let world = World::new();
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    let mut beats = outbox.beats(partition_of("things/one", PARTITIONS));
    let undone = db.write(outbox.clone(), |connection, outbox| {
        Box::pin(async move {
            outbox.append(connection, OffsetDateTime::UNIX_EPOCH, &[happened("things/one", 1)]).await?;
            Err::<(), _>(Error::Panicked)
        })
    });
    undone.await.unwrap_err();
    let woken = tokio::time::timeout(Duration::from_millis(50), beats.any(Duration::from_secs(60))).await;
    assert!(woken.is_err(), "nothing was committed");
    append(&db, &outbox, vec![happened("things/one", 1)]).await;
    tokio::time::timeout(Duration::from_secs(10), beats.any(Duration::from_secs(60))).await.unwrap();
}

#[tokio::test]
async fn it_answers_consumers_that_miss_events() {
    let world = World::new();
    let db = open(&world).await;
    let outbox = Outbox::new(db.clone(), "shop");
    for version in 1..=5 {
        append(&db, &outbox, vec![happened("things/one", version), happened("things/two", version)]).await;
    }
    let versions = async |subject: &str, after: i64, limit: usize| {
        let events = outbox.read_stream(subject, after, limit).await.unwrap();
        assert!(events.iter().all(|event| event.subject == subject && event.source == "shop"));
        events.iter().map(|event| event.version).collect::<Vec<_>>()
    };
    assert_eq!(versions("things/one", 0, 10).await, [1, 2, 3, 4, 5]);
    assert_eq!(versions("things/one", 2, 2).await, [3, 4]);
    assert_eq!(versions("things/one", 5, 10).await, Vec::<i64>::new());
    assert_eq!(versions("things/none", 0, 10).await, Vec::<i64>::new());
    let rows = sqlx::query("SELECT count(*) FROM outbox").fetch_one(db.reader()).await.unwrap();
    assert_eq!(rows.get::<i64, _>(0), 10);
}
