//! The commit log on a database that a test holds, counts and breaks: what waits in a partition while an insert is under way,
//! and what a reader asks for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_eventstore::testing::{MemoryServer, command};
use meshwork_eventstore::{
    AppendError, Commit, CommitLog, CommitLogOptions, CommitServer, EventStore, Expected, InsertError, InsertFailure,
    ReadError, StoreError,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A database whose inserts wait until the test lets them go, one by one.
#[derive(Clone)]
struct Held {
    server: Arc<MemoryServer>,
    gate: Arc<Semaphore>,
    /// The streams of each insert that has come.
    inserts: Arc<Mutex<Vec<Vec<String>>>>,
    /// Whether inserts are refused before they are looked at.
    broken: Arc<AtomicBool>,
    /// Whether reads of those who follow a partition fail, and how many there were.
    blind: Arc<AtomicBool>,
    follows: Arc<AtomicU64>,
    /// How many reads there were by command, version, position or stream.
    looks: Arc<AtomicU64>,
}

impl Held {
    fn new() -> Self {
        Self {
            server: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            inserts: Arc::default(),
            broken: Arc::default(),
            blind: Arc::default(),
            follows: Arc::default(),
            looks: Arc::default(),
        }
    }

    /// A process on the database.
    fn log(&self) -> Arc<CommitLog<Held>> {
        let options =
            CommitLogOptions { partitions: 1, append_timeout: Duration::from_secs(5), ..CommitLogOptions::default() };
        Arc::new(CommitLog::new(self.clone(), options))
    }

    fn let_go(&self, inserts: usize) {
        self.gate.add_permits(inserts);
    }

    /// Waits until so many inserts have come.
    async fn inserts(&self, count: usize) -> Vec<Vec<String>> {
        loop {
            let inserts = self.inserts.lock().unwrap().clone();
            if inserts.len() >= count {
                return inserts;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn positions(&self) -> Vec<(i64, String)> {
        let all = self.server.range(0, 0, 1_000).await.unwrap();
        all.into_iter().map(|commit| (commit.position.n, commit.stream)).collect()
    }
}

#[async_trait]
impl CommitServer for Held {
    async fn insert(&self, commits: &[Commit]) -> Result<(), InsertFailure> {
        self.inserts.lock().unwrap().push(commits.iter().map(|commit| commit.stream.clone()).collect());
        self.gate.acquire().await.unwrap().forget();
        if self.broken.load(Ordering::Relaxed) {
            return Err(InsertFailure { made: 0, error: InsertError::NotSent("no connection".to_owned()) });
        }
        self.server.insert(commits).await
    }

    async fn by_command(&self, partition: u16, stream: &str, command_id: &str) -> Result<Option<Commit>, ReadError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.server.by_command(partition, stream, command_id).await
    }

    async fn by_version(&self, partition: u16, stream: &str, first: i64) -> Result<Option<Commit>, ReadError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.server.by_version(partition, stream, first).await
    }

    async fn by_position(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.server.by_position(partition, n).await
    }

    async fn load(&self, partition: u16, stream: &str, after: i64) -> Result<Vec<Commit>, ReadError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.server.load(partition, stream, after).await
    }

    async fn follow(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        self.follows.fetch_add(1, Ordering::Relaxed);
        if self.blind.load(Ordering::Relaxed) {
            return Err(ReadError("no connection".to_owned()));
        }
        self.server.follow(partition, n).await
    }

    async fn range(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, ReadError> {
        self.server.range(partition, after, limit).await
    }

    async fn last(&self, partition: u16) -> Result<i64, ReadError> {
        self.server.last(partition).await
    }

    async fn ping(&self) -> Result<(), ReadError> {
        Ok(())
    }
}

/// Sends a command that makes the first commit of a stream.
fn send(appends: &mut JoinSet<Result<i64, AppendError>>, log: &Arc<CommitLog<Held>>, stream: &str, id: &str) {
    let (log, command) = (log.clone(), command(stream, Expected::NoStream, id, 1));
    appends.spawn(async move { log.append(command).await.map(|appended| appended.commit.position.n) });
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_an_insert_is_under_way_goes_together_but_for_the_same_stream() {
    let held = Held::new();
    let log = held.log();
    let mut appends = JoinSet::new();
    send(&mut appends, &log, "first", "a");
    held.inserts(1).await;
    for stream in ["one", "two", "three"] {
        send(&mut appends, &log, stream, "a");
    }
    // It would collide with the other one: it is told that it was overtaken.
    send(&mut appends, &log, "one", "b");
    tokio::time::sleep(Duration::from_millis(10)).await;
    held.let_go(2);
    let results = appends.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut made: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    made.sort_unstable();
    assert_eq!(made, [1, 2, 3, 4]);
    assert!(matches!(refused.as_slice(), [Err(AppendError::VersionConflict { actual: 1, .. })]), "{refused:?}");
    assert_eq!(held.inserts(2).await, [vec!["first"], vec!["one", "two", "three"]]);
}

#[tokio::test(start_paused = true)]
async fn commits_behind_one_that_is_refused_are_made_all_the_same() {
    let held = Held::new();
    let (log, other) = (held.log(), held.log());
    let mut appends = JoinSet::new();
    // Both processes go for the first position, and one of them has more behind it.
    send(&mut appends, &other, "theirs", "a");
    held.inserts(1).await;
    send(&mut appends, &log, "first", "a");
    held.inserts(2).await;
    for stream in ["one", "two", "three"] {
        send(&mut appends, &log, stream, "a");
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    held.let_go(100);
    let mut made: Vec<_> = appends.join_all().await.into_iter().map(Result::unwrap).collect();
    made.sort_unstable();
    assert_eq!(made, [1, 2, 3, 4, 5]);
    let (ns, mut streams): (Vec<_>, Vec<_>) = held.positions().await.into_iter().unzip();
    assert_eq!(ns, [1, 2, 3, 4, 5]);
    streams.sort();
    assert_eq!(streams, ["first", "one", "theirs", "three", "two"]);
    // Those behind the refused one went at once, without another word with their callers.
    assert_eq!(
        held.inserts(4).await[..4],
        [vec!["theirs"], vec!["first"], vec!["one", "two", "three"], vec!["two", "three"]]
    );
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_in_the_queue_has_sent_nothing() {
    let held = Held::new();
    let log = held.log();
    let mut appends = JoinSet::new();
    send(&mut appends, &log, "first", "a");
    held.inserts(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.append(command("late", Expected::NoStream, "a", 1)).await }
    });
    // The first one, whose insert is under way, may have been made; the other one certainly wasn't.
    let first = appends.join_next().await.unwrap().unwrap();
    assert!(matches!(first, Err(AppendError::Store(StoreError::OutcomeUnknown(_)))), "{first:?}");
    let late = waiting.await.unwrap();
    assert!(matches!(late, Err(AppendError::Store(StoreError::Unavailable(_)))), "{late:?}");
    held.let_go(100);
    log.append(command("next", Expected::NoStream, "a", 1)).await.unwrap();
    assert_eq!(held.positions().await, [(1, "first".to_owned()), (2, "next".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_before_it_was_sent_is_tried_again_within_its_time() {
    let held = Held::new();
    held.broken.store(true, Ordering::Relaxed);
    held.let_go(1_000_000);
    let log = held.log();
    let refused = log.append(command("s", Expected::NoStream, "a", 1)).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    assert!(held.inserts(2).await.len() > 10);
    held.broken.store(false, Ordering::Relaxed);
    log.append(command("s", Expected::NoStream, "a", 1)).await.unwrap();
    assert_eq!(held.positions().await, [(1, "s".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_at_the_end_leaves_the_looking_to_the_follower_unless_that_fails() {
    let held = Held::new();
    held.let_go(1_000_000);
    let log = held.log();
    log.append(command("s", Expected::NoStream, "a", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = held.follows.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert_eq!(log.read_partition(0, 1, 10).await.unwrap(), []);
    }
    assert_eq!(held.follows.load(Ordering::Relaxed), before);
    // The follower of a quiet partition looks once a second.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!((9..=11).contains(&(held.follows.load(Ordering::Relaxed) - before)));
    // What it doesn't see for a while nobody takes for the end.
    held.blind.store(true, Ordering::Relaxed);
    assert_eq!(log.read_partition(0, 1, 10).await.unwrap(), []);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let blind = log.read_partition(0, 1, 10).await;
    assert!(matches!(blind, Err(StoreError::Unavailable(_))), "{blind:?}");
}

#[tokio::test(start_paused = true)]
async fn who_reads_the_last_commit_again_and_again_asks_the_database_once_for_it() {
    let held = Held::new();
    held.let_go(1_000_000);
    held.log().append(command("s", Expected::NoStream, "a", 1)).await.unwrap();
    // Another process, which has made nothing itself.
    let log = held.log();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(log.read_partition(0, 0, 10).await.unwrap().len(), 1);
    let before = held.follows.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert_eq!(log.read_partition(0, 0, 10).await.unwrap().len(), 1);
    }
    assert_eq!(held.follows.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn commits_of_another_process_are_met_within_a_second_and_at_once_while_they_come() {
    let held = Held::new();
    held.let_go(1_000_000);
    let (log, other) = (held.log(), held.log());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut beats = log.beats(0);
    for (at, within) in
        [(1, Duration::from_millis(1_001)), (2, Duration::from_millis(50)), (3, Duration::from_millis(50))]
    {
        other.append(command(&at.to_string(), Expected::NoStream, "a", 1)).await.unwrap();
        let appended = tokio::time::Instant::now();
        while log.read_partition(0, at - 1, 10).await.unwrap().is_empty() {
            beats.any(Duration::from_secs(5)).await;
        }
        assert!(appended.elapsed() <= within, "{:?} for commit {at}", appended.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_to_a_stream_that_is_known_reads_nothing() {
    let held = Held::new();
    held.let_go(1_000_000);
    let (log, other) = (held.log(), held.log());
    log.append(command("s", Expected::NoStream, "a", 1)).await.unwrap();
    log.append(command("s", Expected::Exact(1), "b", 1)).await.unwrap();
    log.append(command("s", Expected::Any, "c", 1)).await.unwrap();
    assert_eq!(held.looks.load(Ordering::Relaxed), 0);
    // Another process doesn't know it, and what it adds is not known here.
    let theirs = other.append(command("s", Expected::Any, "d", 1)).await.unwrap();
    assert_eq!(theirs.commit.version(), 4);
    let ours = log.append(command("s", Expected::Any, "e", 1)).await.unwrap();
    assert_eq!(ours.commit.version(), 5);
    assert!(log.append(command("s", Expected::Any, "c", 1)).await.unwrap().replayed);
}
