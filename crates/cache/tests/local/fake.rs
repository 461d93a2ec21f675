//! A remote tier in memory, whose link tests can cut. It keeps the rules of the real one (CA-2), which has tests of its own.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_cache::{
    Acquired, CacheOptions, Item, Lease, LinkState, Listener, Mark, Remote, Stored, Tiers, TiersOptions, Unreachable,
};
use tokio::time::Instant;

use crate::source::Articles;

const LEASE: Duration = Duration::from_secs(3);

/// What the processes share.
#[derive(Default)]
pub(crate) struct Server {
    data: Mutex<Data>,
    listeners: Mutex<Vec<(usize, Weak<dyn Listener>)>>,
    names: AtomicUsize,
}

#[derive(Clone, Default)]
pub(crate) struct Data {
    values: HashMap<String, (u64, Bytes)>,
    leases: HashMap<String, (String, Instant)>,
    tags: HashMap<String, u64>,
    causes: HashSet<String>,
    marks: HashMap<(String, u16), Mark>,
}

impl Server {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Puts bytes where a value of that version would lie.
    pub(crate) fn plant(&self, key: &str, version: u64, envelope: &'static [u8]) {
        self.data.lock().unwrap().values.insert(place("articles", key), (version, Bytes::from_static(envelope)));
    }

    /// Gives the lease of a key to somebody who does nothing with it.
    pub(crate) fn lease(&self, key: &str) {
        let lease = ("nobody".to_owned(), Instant::now() + LEASE);
        self.data.lock().unwrap().leases.insert(place("articles", key), lease);
    }

    /// Whether somebody has the lease of a key.
    pub(crate) fn is_leased(&self, key: &str) -> bool {
        let data = self.data.lock().unwrap();
        data.leases.get(&place("articles", key)).is_some_and(|(_, until)| Instant::now() < *until)
    }

    /// The version of a tag.
    pub(crate) fn tag(&self, tag: &str) -> Option<u64> {
        self.data.lock().unwrap().tags.get(tag).copied()
    }

    /// All that is stored now, as a snapshot on disk.
    pub(crate) fn snapshot(&self) -> Data {
        self.data.lock().unwrap().clone()
    }

    /// Starts again with an older snapshot.
    pub(crate) fn restore(&self, snapshot: &Data) {
        *self.data.lock().unwrap() = snapshot.clone();
    }

    /// The version of what lies at a key, and whether it is a tombstone.
    pub(crate) fn stored(&self, key: &str) -> Option<(u64, bool)> {
        let data = self.data.lock().unwrap();
        data.values.get(&place("articles", key)).map(|(version, envelope)| (*version, is_tombstone(envelope)))
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// The remote tier as one process sees it.
pub(crate) struct Fake {
    server: Arc<Server>,
    name: usize,
    state: Mutex<LinkState>,
    is_tracking: AtomicBool,
    fails: AtomicBool,
    tags_fail: AtomicBool,
    /// How long a value is waited for.
    get_delay: Mutex<Duration>,
    /// How long a lease is waited for.
    delay: Mutex<Duration>,
    /// What happens before the next time that a place in the commands is reached.
    hooks: Mutex<HashMap<&'static str, Hook>>,
    problem: Mutex<Option<String>>,
    listener: Mutex<Option<Weak<dyn Listener>>>,
}

impl Fake {
    pub(crate) fn connect(server: &Arc<Server>) -> Arc<Self> {
        Arc::new(Self {
            server: Arc::clone(server),
            name: server.names.fetch_add(1, Ordering::SeqCst),
            state: Mutex::new(LinkState::Down),
            is_tracking: AtomicBool::new(true),
            fails: AtomicBool::new(false),
            tags_fail: AtomicBool::new(false),
            get_delay: Mutex::default(),
            delay: Mutex::default(),
            hooks: Mutex::default(),
            problem: Mutex::default(),
            listener: Mutex::default(),
        })
    }

    /// Whether commands fail from now on.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Whether the versions of tags can't be read from now on.
    pub(crate) fn fail_tags(&self, fails: bool) {
        self.tags_fail.store(fails, Ordering::SeqCst);
    }

    /// How long a value is waited for.
    pub(crate) fn slow_gets(&self, delay: Duration) {
        *self.get_delay.lock().unwrap() = delay;
    }

    /// How long a lease is waited for.
    pub(crate) fn slow(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// Does something right before the next `acquire`, or `the answer to bump`.
    pub(crate) fn before(&self, place: &'static str, hook: impl FnOnce() + Send + 'static) {
        self.hooks.lock().unwrap().insert(place, Box::new(hook));
    }

    fn reached(&self, place: &str) {
        let hook = self.hooks.lock().unwrap().remove(place);
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Whether changes by others are told.
    pub(crate) fn track(&self, is_tracking: bool) {
        self.is_tracking.store(is_tracking, Ordering::SeqCst);
    }

    pub(crate) fn lose(&self) {
        *self.state.lock().unwrap() = LinkState::Down;
        self.listener().lost("the test has cut it");
    }

    pub(crate) async fn come_back(&self) -> Result<(), String> {
        let recovered = self.catch_up().await;
        let state = if recovered.is_ok() { LinkState::Up } else { LinkState::Down };
        *self.state.lock().unwrap() = state;
        if recovered.is_ok() {
            self.listener().recovered();
        }
        recovered
    }

    /// What was missed is made up for; the link isn't up yet.
    pub(crate) async fn catch_up(&self) -> Result<(), String> {
        *self.state.lock().unwrap() = LinkState::CatchingUp;
        self.listener().lost("it is brought up to date");
        self.listener().recover().await
    }

    pub(crate) fn listener(&self) -> Arc<dyn Listener> {
        self.listener.lock().unwrap().as_ref().unwrap().upgrade().unwrap()
    }

    fn data<R>(&self, work: impl FnOnce(&mut Data) -> R) -> Result<R, Unreachable> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Unreachable("the test has cut it".to_owned()));
        }
        Ok(work(&mut self.server.data.lock().unwrap()))
    }

    /// Tells the others.
    fn tell(&self, tell: impl Fn(&dyn Listener)) {
        let listeners = self.server.listeners.lock().unwrap().clone();
        for (name, listener) in listeners {
            if name != self.name
                && let Some(listener) = listener.upgrade()
            {
                tell(&*listener);
            }
        }
    }

    fn write(&self, kind: &str, key: &str, item: Item, lease: Option<&Lease>) -> Result<bool, Unreachable> {
        let place = place(kind, key);
        // Whether anything is written, and whether that is the item.
        let (is_written, is_stored) = self.data(|data| {
            let has_value =
                data.values.get(&place).is_some_and(|(_, envelope)| !matches!(envelope.first(), Some(b'T' | b'A')));
            let is_later = data.values.get(&place).is_some_and(|(version, _)| *version > item.version);
            if lease.is_none() && !has_value && !is_later {
                data.leases.remove(&place);
                data.values.insert(place, (item.version, Bytes::from_static(b"T")));
                return (true, false);
            }
            let has_lease =
                lease.is_none_or(|lease| data.leases.get(&place).is_some_and(|(token, _)| *token == lease.0));
            if !has_lease || is_later {
                return (false, false);
            }
            data.leases.remove(&place);
            if item.ttl > Duration::from_millis(1) {
                data.values.insert(place, (item.version, item.envelope));
            } else {
                data.values.remove(&place);
            }
            (true, true)
        })?;
        if is_written {
            self.tell(|listener| listener.changed_key(kind, key));
        }
        Ok(is_stored)
    }
}

fn place(kind: &str, key: &str) -> String {
    format!("{kind}/{key}")
}

fn is_tombstone(envelope: &Bytes) -> bool {
    envelope.as_ref() == b"T"
}

fn text((version, envelope): &(u64, Bytes)) -> Stored {
    let mut stored = format!("{version:020}").into_bytes();
    stored.extend_from_slice(envelope);
    stored.into()
}

#[async_trait]
impl Remote for Fake {
    fn attach(&self, listener: Weak<dyn Listener>) {
        self.server.listeners.lock().unwrap().push((self.name, listener.clone()));
        *self.listener.lock().unwrap() = Some(listener);
    }

    fn state(&self) -> LinkState {
        *self.state.lock().unwrap()
    }

    fn is_tracking(&self) -> bool {
        self.state() == LinkState::Up && self.is_tracking.load(Ordering::SeqCst)
    }

    fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap().clone()
    }

    fn distrust(&self, problem: &str) {
        *self.problem.lock().unwrap() = Some(problem.to_owned());
        self.lose();
    }

    async fn get(&self, kind: &str, key: &str) -> Result<Option<Stored>, Unreachable> {
        let stored = self.data(|data| data.values.get(&place(kind, key)).map(text));
        let delay = *self.get_delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        stored
    }

    async fn acquire(&self, kind: &str, key: &str) -> Result<Acquired, Unreachable> {
        self.reached("acquire");
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (place, now) = (place(kind, key), Instant::now());
        self.data(|data| {
            let stored = data.values.get(&place).map(text);
            if data.leases.get(&place).is_some_and(|(_, until)| now < *until) {
                return Acquired { lease: None, stored };
            }
            let token = format!("{}-{}", self.name, fastrand::u64(..));
            data.leases.insert(place, (token.clone(), now + LEASE));
            Acquired { lease: Some(Lease(token)), stored }
        })
    }

    async fn fill(&self, kind: &str, key: &str, lease: &Lease, item: Item) -> Result<bool, Unreachable> {
        self.write(kind, key, item, Some(lease))
    }

    async fn release(&self, kind: &str, key: &str, lease: &Lease) -> Result<(), Unreachable> {
        let place = place(kind, key);
        self.data(|data| {
            if data.leases.get(&place).is_some_and(|(token, _)| *token == lease.0) {
                data.leases.remove(&place);
            }
        })
    }

    async fn put(&self, kind: &str, key: &str, item: Item) -> Result<bool, Unreachable> {
        self.write(kind, key, item, None)
    }

    async fn tombstone(&self, kind: &str, key: &str, version: Option<u64>) -> Result<bool, Unreachable> {
        let place = place(kind, key);
        let is_written = self.data(|data| {
            let there = data.values.get(&place).map(|(version, envelope)| (*version, is_tombstone(envelope)));
            let is_current = match (there, version) {
                (Some((there, is_tombstone)), Some(version)) => there > version || (there == version && !is_tombstone),
                _ => false,
            };
            if !is_current {
                let version = version.or(there.map(|(there, _)| there)).unwrap_or(0);
                data.values.insert(place.clone(), (version, Bytes::from_static(b"T")));
                data.leases.remove(&place);
            }
            !is_current
        })?;
        if is_written {
            self.tell(|listener| listener.changed_key(kind, key));
        }
        Ok(is_written)
    }

    async fn tags(&self, tags: &[String]) -> Result<Vec<u64>, Unreachable> {
        if self.tags_fail.load(Ordering::SeqCst) {
            return Err(Unreachable("the test has cut it".to_owned()));
        }
        self.data(|data| tags.iter().map(|tag| *data.tags.entry(tag.clone()).or_insert(1)).collect())
    }

    async fn bump(&self, tag: &str, cause: Option<&str>) -> Result<u64, Unreachable> {
        let (version, is_new) = self.data(|data| {
            let is_new = cause.is_none_or(|cause| data.causes.insert(format!("{tag} {cause}")));
            let version = data.tags.entry(tag.to_owned()).or_insert(1);
            *version += u64::from(is_new);
            (*version, is_new)
        })?;
        self.reached("the answer to bump");
        if is_new {
            self.tell(|listener| listener.changed_tag(tag));
        }
        Ok(version)
    }

    async fn marks(&self, source: &str) -> Result<Vec<Mark>, Unreachable> {
        self.data(|data| data.marks.iter().filter(|((of, _), _)| of == source).map(|(_, mark)| *mark).collect())
    }

    async fn advance(&self, source: &str, mark: Mark) -> Result<(), Unreachable> {
        self.data(|data| {
            let there = data.marks.entry((source.to_owned(), mark.partition)).or_insert(mark);
            if mark.n > there.n {
                *there = mark;
            }
        })
    }

    async fn reset_marks(&self, source: &str) -> Result<(), Unreachable> {
        self.data(|data| data.marks.retain(|(of, _), _| of != source))
    }
}

/// A process of its own on a server: its link is up.
pub(crate) async fn process(server: &Arc<Server>, options: CacheOptions) -> (Articles, Arc<Fake>) {
    let fake = Fake::connect(server);
    let tiers = Tiers::with_remote(TiersOptions::default(), fake.clone());
    let cache = tiers.cache(options);
    fake.come_back().await.unwrap();
    (cache, fake)
}
