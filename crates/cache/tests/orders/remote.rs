//! A remote tier in memory for one key, with the rules of the real one, whose calls wait at gates.
//!
//! A gate stands before each write of who has committed, and after each call whose answer is kept in the process, while it
//! is on its way there: that after `get` is the one before `acquire`, and that after a load the one before `fill`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_cache::{Acquired, Item, Lease, LinkState, Listener, Mark, Remote, Stored, Unreachable};

use crate::gates::Gates;

/// How many processes are told of changes; a further one only looks.
pub(crate) const PROCESSES: usize = 2;
/// The actors that bring news to the processes.
const NEWS: usize = 100;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A fill needs no lease.
    FillsWithoutLease,
    /// A write-through stores its value also where nothing lies.
    PutsOnNothing,
    /// A write-through tells nobody.
    PutsInSilence,
}

/// What the calls are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before and between orders: nothing waits.
    Open,
    /// An order is run.
    Orders,
    /// It is looked what a process holds: the remote tier is away.
    Local,
    /// It is looked what the remote tier holds, in which nothing is changed by that.
    Remote,
}

/// What the processes share.
pub(crate) struct Server {
    gates: Arc<Gates>,
    fault: Option<Fault>,
    /// Whether news wait at a gate on their way.
    is_late: bool,
    data: Mutex<Data>,
    phase: Mutex<Phase>,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    /// How much each process has not been told yet.
    untold: Mutex<[usize; PROCESSES]>,
}

#[derive(Default)]
struct Data {
    value: Option<(u64, Bytes)>,
    lease: Option<String>,
    tags: HashMap<String, u64>,
    causes: HashSet<String>,
    /// Each number is given once, as the time in µs is.
    clock: u64,
}

impl Data {
    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn stored(&self) -> Option<Stored> {
        let (version, envelope) = self.value.as_ref()?;
        Some([format!("{version:020}").as_bytes(), envelope].concat().into())
    }

    fn is_later(&self, version: u64) -> bool {
        self.value.as_ref().is_some_and(|(there, _)| *there > version)
    }

    fn has_value(&self) -> bool {
        self.value.as_ref().is_some_and(|(_, envelope)| !matches!(envelope.first(), Some(b'T' | b'A')))
    }

    /// Stores an item, or what lives too short to be seen.
    fn set(&mut self, item: Item) {
        self.lease = None;
        self.value = (item.ttl > Duration::from_millis(1)).then_some((item.version, item.envelope));
    }

    fn bury(&mut self, version: u64) {
        self.lease = None;
        self.value = Some((version, Bytes::from_static(b"T")));
    }
}

impl Server {
    pub(crate) fn new(gates: Arc<Gates>, is_late: bool, fault: Option<Fault>) -> Arc<Self> {
        Arc::new(Self {
            gates,
            fault,
            is_late,
            data: Mutex::default(),
            phase: Mutex::new(Phase::Open),
            listeners: Mutex::default(),
            untold: Mutex::default(),
        })
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap() = phase;
    }

    /// Loses all that it has; nobody is told.
    pub(crate) fn wipe(&self) {
        let mut data = self.data();
        *data = Data { clock: data.clock, ..Data::default() };
    }

    /// Whether a process will be told of something.
    pub(crate) fn has_news_for(&self, process: usize) -> bool {
        self.untold.lock().unwrap()[process] > 0
    }

    async fn gate(&self, what: &'static str) {
        if self.phase() == Phase::Orders {
            self.gates.pass(what).await;
        }
    }

    /// Tells the other processes, at once or when their gates let it pass.
    fn tell(self: &Arc<Self>, from: usize, news: &News) {
        let listeners = self.listeners.lock().unwrap().clone();
        for (process, listener) in listeners.into_iter().enumerate().filter(|(process, _)| *process != from) {
            if !self.is_late || self.phase() != Phase::Orders {
                news.tell(&listener);
                continue;
            }
            self.untold.lock().unwrap()[process] += 1;
            let (server, news) = (Arc::clone(self), news.clone());
            tokio::spawn(async move {
                server.gates.pass_as(NEWS + process, "news").await;
                news.tell(&listener);
                server.untold.lock().unwrap()[process] -= 1;
            });
        }
    }
}

/// What processes are told.
#[derive(Clone)]
enum News {
    Key { kind: String, key: String },
    Tag(String),
}

impl News {
    fn key(kind: &str, key: &str) -> Self {
        Self::Key { kind: kind.to_owned(), key: key.to_owned() }
    }

    fn tell(&self, listener: &Weak<dyn Listener>) {
        let Some(listener) = listener.upgrade() else { return };
        match self {
            Self::Key { kind, key } => listener.changed_key(kind, key),
            Self::Tag(tag) => listener.changed_tag(tag),
        }
    }
}

/// The server as one process sees it.
pub(crate) struct Link {
    server: Arc<Server>,
    process: usize,
    listener: OnceLock<Weak<dyn Listener>>,
}

impl Link {
    /// The links of the processes are made in their order, and before that of who only looks.
    pub(crate) fn new(server: &Arc<Server>, process: usize) -> Arc<Self> {
        Arc::new(Self { server: Arc::clone(server), process, listener: OnceLock::new() })
    }

    fn listener(&self) -> Arc<dyn Listener> {
        self.listener.get().unwrap().upgrade().unwrap()
    }

    /// What the process holds is dropped, and what it has heard.
    pub(crate) fn lose(&self) {
        self.listener().lost("the test has lost it");
    }

    /// As [`Link::lose`], and what was missed is made up for.
    pub(crate) async fn notice(&self) {
        self.lose();
        let listener = self.listener();
        listener.recover().await.unwrap();
        listener.recovered();
    }

    fn tell_key(&self, kind: &str, key: &str) {
        self.server.tell(self.process, &News::key(kind, key));
    }
}

#[async_trait]
impl Remote for Link {
    fn attach(&self, listener: Weak<dyn Listener>) {
        if self.process < PROCESSES {
            self.server.listeners.lock().unwrap().push(listener.clone());
        }
        self.listener.set(listener).ok();
    }

    fn state(&self) -> LinkState {
        if self.server.phase() == Phase::Local { LinkState::Down } else { LinkState::Up }
    }

    fn is_tracking(&self) -> bool {
        self.state() == LinkState::Up
    }

    fn problem(&self) -> Option<String> {
        None
    }

    fn distrust(&self, problem: &str) {
        panic!("nothing fails here: {problem}");
    }

    async fn get(&self, _kind: &str, _key: &str) -> Result<Option<Stored>, Unreachable> {
        let stored = self.server.data().stored();
        self.server.gate("get has answered").await;
        Ok(stored)
    }

    async fn acquire(&self, _kind: &str, _key: &str) -> Result<Acquired, Unreachable> {
        if self.server.phase() == Phase::Remote {
            return Err(Unreachable("it is looked at only".to_owned()));
        }
        let mut data = self.server.data();
        let stored = data.stored();
        if data.lease.is_some() {
            return Ok(Acquired { lease: None, stored });
        }
        let token = data.now().to_string();
        data.lease = Some(token.clone());
        Ok(Acquired { lease: Some(Lease(token)), stored })
    }

    async fn fill(&self, kind: &str, key: &str, lease: &Lease, item: Item) -> Result<bool, Unreachable> {
        let is_stored = {
            let mut data = self.server.data();
            let is_his = data.lease.as_ref() == Some(&lease.0);
            if is_his {
                data.lease = None;
            }
            let may_fill = is_his || self.server.fault == Some(Fault::FillsWithoutLease);
            let is_stored = may_fill && !data.is_later(item.version);
            if is_stored {
                data.set(item);
            }
            is_stored
        };
        if is_stored {
            self.tell_key(kind, key);
        }
        self.server.gate("fill has answered").await;
        Ok(is_stored)
    }

    async fn release(&self, _kind: &str, _key: &str, lease: &Lease) -> Result<(), Unreachable> {
        let mut data = self.server.data();
        if data.lease.as_ref() == Some(&lease.0) {
            data.lease = None;
        }
        Ok(())
    }

    async fn put(&self, kind: &str, key: &str, item: Item) -> Result<bool, Unreachable> {
        self.server.gate("put").await;
        let (is_written, is_stored) = {
            let mut data = self.server.data();
            if data.is_later(item.version) {
                (false, false)
            } else if !data.has_value() && self.server.fault != Some(Fault::PutsOnNothing) {
                data.bury(item.version);
                (true, false)
            } else {
                data.set(item);
                (true, true)
            }
        };
        if is_written && self.server.fault != Some(Fault::PutsInSilence) {
            self.tell_key(kind, key);
        }
        self.server.gate("put has answered").await;
        Ok(is_stored)
    }

    async fn tombstone(&self, kind: &str, key: &str, version: Option<u64>) -> Result<bool, Unreachable> {
        self.server.gate("tombstone").await;
        let is_written = {
            let mut data = self.server.data();
            let there = data.value.as_ref().map(|(there, envelope)| (*there, envelope.as_ref() == b"T"));
            let is_current = match (there, version) {
                (Some((there, is_tombstone)), Some(version)) => there > version || (there == version && !is_tombstone),
                _ => false,
            };
            if !is_current {
                data.bury(version.or(there.map(|(there, _)| there)).unwrap_or(0));
            }
            !is_current
        };
        if is_written {
            self.tell_key(kind, key);
        }
        Ok(is_written)
    }

    async fn tags(&self, tags: &[String]) -> Result<Vec<u64>, Unreachable> {
        let mut data = self.server.data();
        if self.server.phase() == Phase::Remote {
            // One that is missing would get a number that no entry has.
            return Ok(tags.iter().map(|tag| data.tags.get(tag).copied().unwrap_or(0)).collect());
        }
        let mut versions = Vec::new();
        for tag in tags {
            let now = data.now();
            versions.push(*data.tags.entry(tag.clone()).or_insert(now));
        }
        Ok(versions)
    }

    async fn bump(&self, tag: &str, cause: Option<&str>) -> Result<u64, Unreachable> {
        self.server.gate("bump").await;
        let (version, is_new) = {
            let mut data = self.server.data();
            let is_new = cause.is_none_or(|cause| data.causes.insert(format!("{tag} {cause}")));
            let now = data.now();
            let version = data.tags.entry(tag.to_owned()).or_insert(now);
            if is_new {
                *version = now;
            }
            (*version, is_new)
        };
        if is_new {
            self.server.tell(self.process, &News::Tag(tag.to_owned()));
        }
        Ok(version)
    }

    async fn marks(&self, _source: &str) -> Result<Vec<Mark>, Unreachable> {
        Ok(Vec::new())
    }

    async fn advance(&self, _source: &str, _mark: Mark) -> Result<(), Unreachable> {
        Ok(())
    }

    async fn reset_marks(&self, _source: &str) -> Result<(), Unreachable> {
        Ok(())
    }
}
