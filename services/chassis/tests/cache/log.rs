//! An outbox in memory, whose history can be changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_events::{Context, Envelope, Position, Source, SourceBatch};
use meshwork_eventstore::{Beats, Pulse};
use time::OffsetDateTime;

use crate::world::{THINGS, Truth};

/// An outbox of one partition, which no process but the follower's reads, and the accounts that it tells of.
pub(crate) struct Log {
    rows: Mutex<BTreeMap<i64, Envelope>>,
    pub(crate) truth: Truth,
    pulse: Pulse,
    /// It can't be read.
    fails: AtomicBool,
    /// It doesn't answer for a while, and fails then.
    hangs: AtomicBool,
    looks: AtomicUsize,
    reads: AtomicUsize,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            rows: Mutex::default(),
            truth: Truth::default(),
            pulse: Pulse::new(1),
            fails: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            looks: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
        }
    }

    /// Commits the next version of an account, and tells no cache of it.
    pub(crate) fn commit(&self, id: &str) {
        let version = self.truth.next(id);
        let mut rows = self.rows.lock().unwrap();
        let n = rows.last_key_value().map_or(0, |(n, _)| *n) + 1;
        rows.insert(n, event(n, id, i64::try_from(version).unwrap()));
    }

    /// Takes what lies behind `n` away, as an older copy of the database has nothing of it.
    pub(crate) fn put_back(&self, n: i64) {
        self.rows.lock().unwrap().retain(|at, _| *at <= n);
    }

    /// Takes one event away.
    pub(crate) fn remove(&self, n: i64) {
        self.rows.lock().unwrap().remove(&n);
    }

    /// Puts an event of somebody else in place of one, as a database has it that has lost a commit and had another one since.
    pub(crate) fn replace(&self, n: i64) {
        self.rows.lock().unwrap().insert(n, event(n, "somebody", 1));
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    /// How often its end was asked for, and events were.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.looks.load(Ordering::SeqCst), self.reads.load(Ordering::SeqCst))
    }

    async fn answers(&self) -> Result<(), String> {
        if self.hangs.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Err("it hangs".to_owned());
        }
        if self.fails.load(Ordering::SeqCst) { Err("it fails".to_owned()) } else { Ok(()) }
    }
}

fn event(n: i64, id: &str, version: i64) -> Envelope {
    let subject = format!("users/{id}");
    Envelope {
        id: Envelope::id_of(&subject, version),
        source: THINGS.to_owned(),
        event_type: "thing_changed".to_owned(),
        schema_version: 1,
        subject,
        version,
        position: Position { partition: 0, n, index: 0 },
        time: OffsetDateTime::now_utc(),
        context: Context::default(),
        data: Bytes::new(),
    }
}

#[async_trait]
impl Source for Log {
    fn name(&self) -> &str {
        THINGS
    }

    fn partitions(&self) -> Range<u16> {
        0..1
    }

    async fn read(&self, _: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.answers().await?;
        let rows = self.rows.lock().unwrap();
        let events: Vec<_> = rows.range(n..).take(limit).map(|(_, event)| event.clone()).collect();
        let seen = events.last().map(|event| event.position.n);
        Ok(SourceBatch { events, damaged: Vec::new(), seen })
    }

    async fn head(&self, _: u16) -> Result<Option<i64>, String> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.answers().await?;
        Ok(Some(self.rows.lock().unwrap().last_key_value().map_or(0, |(n, _)| *n)))
    }

    fn beats(&self, partition: u16) -> Beats {
        self.pulse.beats(partition)
    }
}
