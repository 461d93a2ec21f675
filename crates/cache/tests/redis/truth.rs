//! The source of truth: articles with versions, a log with positions, and counts of what was loaded.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use meshwork_cache::{LoadError, Loaded, Mark, Position, Value};

/// The history of every position in these tests.
const HISTORY: u128 = 7;

/// What is cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Article {
    pub(crate) version: u64,
    pub(crate) text: String,
}

impl Value for Article {
    const KIND: &'static str = "articles";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        [self.version.to_be_bytes().as_slice(), self.text.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, text) = bytes.split_first_chunk::<8>()?;
        Some(Self { version: u64::from_be_bytes(*version), text: String::from_utf8(text.to_vec()).ok()? })
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }
}

/// Why a load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Unavailable,
    Overloaded,
}

impl LoadError for Failure {
    fn is_unavailable(&self) -> bool {
        true
    }

    fn overloaded() -> Self {
        Self::Overloaded
    }
}

pub(crate) type Load = Pin<Box<dyn Future<Output = Result<Loaded<Article>, Failure>> + Send>>;

/// The database.
#[derive(Default)]
pub(crate) struct Truth {
    rows: Mutex<Rows>,
    loads: AtomicU64,
    running: AtomicU64,
    most_running: AtomicU64,
    delay_ms: AtomicU64,
    is_down: AtomicBool,
}

#[derive(Default)]
struct Rows {
    /// The place in the log for positions, which others move on too.
    at: u64,
    articles: BTreeMap<String, Row>,
    /// What was committed, in its order; the first is number 1.
    log: Vec<Event>,
}

#[derive(Default)]
struct Row {
    version: u64,
    text: Option<String>,
}

/// A version that was committed.
struct Event {
    key: String,
    version: u64,
    committed: Instant,
    /// From when on everybody must know of it who is told by Redis alone; `None` while Redis doesn't know it.
    reached: Option<Instant>,
}

/// What a commit gave: the version of the article, and the number in the log.
#[derive(Clone, Copy)]
pub(crate) struct Commit {
    pub(crate) version: u64,
    pub(crate) n: i64,
}

/// A number in the log.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

/// How many commits there are up to a number.
fn place(n: i64) -> usize {
    usize::try_from(n).unwrap()
}

/// Counts a load among those that run, also when it is cancelled.
struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Truth {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    /// Commits a new version of an article, `None` for its deletion; the version.
    pub(crate) fn commit(&self, key: &str, text: Option<&str>) -> u64 {
        self.append(key, text).version
    }

    /// As [`Truth::commit`], with the number in the log.
    pub(crate) fn append(&self, key: &str, text: Option<&str>) -> Commit {
        let mut rows = self.rows();
        rows.at += 1;
        let row = rows.articles.entry(key.to_owned()).or_default();
        row.version += 1;
        row.text = text.map(str::to_owned);
        let version = row.version;
        rows.log.push(Event { key: key.to_owned(), version, committed: Instant::now(), reached: None });
        Commit { version, n: number(rows.log.len()) }
    }

    /// Others write too: the log goes on.
    pub(crate) fn advance(&self) {
        self.rows().at += 1;
    }

    /// What the committer of all that was written so far gets.
    pub(crate) fn token(&self) -> Position {
        Position { history: HISTORY, at: self.rows().at }
    }

    /// The committed version of an article (0: none), and a token of who committed it.
    pub(crate) fn committed(&self, key: &str) -> (u64, Position) {
        let rows = self.rows();
        let version = rows.articles.get(key).map_or(0, |row| row.version);
        (version, Position { history: HISTORY, at: rows.at })
    }

    /// The number of the last commit; 0 without one.
    pub(crate) fn head(&self) -> i64 {
        number(self.rows().log.len())
    }

    /// The articles of the commits from behind one up to another, each with the last version.
    pub(crate) fn changes(&self, behind: i64, up_to: i64) -> Vec<(String, u64)> {
        let rows = self.rows();
        let events = rows.log.iter().take(place(up_to)).skip(place(behind));
        let latest: BTreeMap<String, u64> = events.map(|event| (event.key.clone(), event.version)).collect();
        latest.into_iter().collect()
    }

    /// The mark of a commit; `None` when there is none of that number.
    pub(crate) fn mark(&self, n: i64) -> Option<Mark> {
        let rows = self.rows();
        let event = rows.log.get(place(n).checked_sub(1)?)?;
        let mut hasher = DefaultHasher::new();
        (&event.key, event.version).hash(&mut hasher);
        Some(Mark { partition: 0, n, fingerprint: hasher.finish() })
    }

    /// Redis knows of a commit, whose age counts from then on; `None`: it has known since the writer went on, and the age
    /// counts from the commit itself.
    pub(crate) fn reached(&self, n: i64, since: Option<Instant>) {
        let mut rows = self.rows();
        let event = &mut rows.log[place(n) - 1];
        event.reached = Some(since.unwrap_or(event.committed));
    }

    /// Up to where Redis knows all commits.
    pub(crate) fn reached_up_to(&self) -> i64 {
        number(self.rows().log.iter().take_while(|event| event.reached.is_some()).count())
    }

    /// The highest version that was committed so long ago, by the age that `since` gives.
    fn aged(&self, key: &str, age: Duration, since: impl Fn(&Event) -> Option<Instant>) -> u64 {
        let now = Instant::now();
        let rows = self.rows();
        let old = rows
            .log
            .iter()
            .filter(|event| event.key == key)
            .filter(|&event| since(event).is_some_and(|since| now.saturating_duration_since(since) >= age));
        old.map(|event| event.version).max().unwrap_or(0)
    }

    /// The highest version that was committed so long ago.
    pub(crate) fn committed_for(&self, key: &str, age: Duration) -> u64 {
        self.aged(key, age, |event| Some(event.committed))
    }

    /// The highest version that Redis has known for so long, or since its commit.
    pub(crate) fn reached_for(&self, key: &str, age: Duration) -> u64 {
        self.aged(key, age, |event| event.reached)
    }

    /// How long a load takes from now on: it answers what was true at its begin.
    pub(crate) fn slow(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn fail(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// The most loads that ever ran at the same time.
    pub(crate) fn most_running(&self) -> u64 {
        self.most_running.load(Ordering::SeqCst)
    }

    async fn load(&self, key: &str) -> Result<Loaded<Article>, Failure> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.most_running.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _running = Running(&self.running);
        let loaded = self.snapshot(key);
        tokio::time::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst))).await;
        if self.is_down.load(Ordering::SeqCst) { Err(Failure::Unavailable) } else { Ok(loaded) }
    }

    fn snapshot(&self, key: &str) -> Loaded<Article> {
        let rows = self.rows();
        let position = Some(Position { history: HISTORY, at: rows.at });
        let found = rows.articles.get(key).and_then(|row| Some((row.version, row.text.clone()?)));
        let (version, value) = match found {
            Some((version, text)) => (version, Some(Article { version, text })),
            None => (0, None),
        };
        Loaded { value, version, position, keep: true }
    }

    /// What loads an article.
    pub(crate) fn loader(self: &Arc<Self>, key: &str) -> impl Fn() -> Load + Send + Sync + 'static + use<> {
        let (truth, key) = (Arc::clone(self), key.to_owned());
        move || -> Load {
            let (truth, key) = (Arc::clone(&truth), key.clone());
            Box::pin(async move { truth.load(&key).await })
        }
    }
}
