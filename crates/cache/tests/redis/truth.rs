//! The source of truth: articles with versions, a log with positions, and counts of what was loaded.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use meshwork_cache::{LoadError, Loaded, Position, Value};

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
    /// The end of the log.
    at: u64,
    articles: BTreeMap<String, Row>,
}

#[derive(Default)]
struct Row {
    version: u64,
    text: Option<String>,
    /// When a version was committed and its invalidation had returned.
    settled: Vec<(Instant, u64)>,
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
        let mut rows = self.rows();
        rows.at += 1;
        let row = rows.articles.entry(key.to_owned()).or_default();
        row.version += 1;
        row.text = text.map(str::to_owned);
        row.version
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

    /// The committed versions of all articles.
    pub(crate) fn versions(&self) -> Vec<(String, u64)> {
        self.rows().articles.iter().map(|(key, row)| (key.clone(), row.version)).collect()
    }

    /// The invalidation of a version has returned: from now on its age counts.
    pub(crate) fn settle(&self, key: &str, version: u64) {
        let now = Instant::now();
        self.rows().articles.entry(key.to_owned()).or_default().settled.push((now, version));
    }

    /// The highest version that had settled for so long.
    pub(crate) fn settled_for(&self, key: &str, age: Duration) -> u64 {
        let now = Instant::now();
        let rows = self.rows();
        let settled = rows.articles.get(key).map_or(&[][..], |row| row.settled.as_slice());
        settled.iter().filter(|(at, _)| now - *at >= age).map(|(_, version)| *version).max().unwrap_or(0)
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
