//! A source of truth in memory: versions, a log with places, and loads that may be slow or fail.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_cache::{Cache, CacheOptions, LoadError, Loaded, Position, Tiers, TiersOptions, Value, Wanted};

/// What is cached here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Article(pub(crate) String);

impl Value for Article {
    const KIND: &'static str = "articles";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok().map(Self)
    }

    fn weight(&self) -> usize {
        self.0.len()
    }
}

/// Why a load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Away,
    Overloaded,
    Wrong,
}

impl LoadError for Failure {
    fn is_unavailable(&self) -> bool {
        *self != Self::Wrong
    }

    fn overloaded() -> Self {
        Self::Overloaded
    }
}

pub(crate) type Articles = Cache<Article, Failure>;
type Load = Pin<Box<dyn Future<Output = Result<Loaded<Article>, Failure>> + Send>>;

/// The tags that all reads and writes here have.
pub(crate) const TAGS: &[&str] = &["red"];

#[derive(Default)]
pub(crate) struct Source {
    rows: Mutex<HashMap<String, (String, u64)>>,
    log: AtomicU64,
    loads: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    delay: Mutex<Duration>,
    failure: Mutex<Option<Failure>>,
}

impl Source {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Commits a text and returns its version.
    pub(crate) fn commit(&self, key: &str, text: &str) -> u64 {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.entry(key.to_owned()).or_default();
        *row = (text.to_owned(), row.1 + 1);
        row.1
    }

    /// Deletes a key: there is none from now on.
    pub(crate) fn remove(&self, key: &str) {
        self.rows.lock().unwrap().remove(key);
    }

    /// The next place of the log.
    pub(crate) fn position(&self) -> Position {
        Position { history: 1, at: self.log.fetch_add(1, Ordering::SeqCst) + 1 }
    }

    /// What a writer's caller hands back.
    pub(crate) fn token(&self) -> Wanted {
        Wanted::AtLeast(self.position())
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }

    /// Loads take so long: they see what was committed when they began.
    pub(crate) fn slow(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub(crate) fn fail(&self, failure: Option<Failure>) {
        *self.failure.lock().unwrap() = failure;
    }

    async fn load(&self, key: &str) -> Result<Loaded<Article>, Failure> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let position = Some(self.position());
        let row = self.rows.lock().unwrap().get(key).cloned();
        let (delay, failure) = (*self.delay.lock().unwrap(), *self.failure.lock().unwrap());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        match (failure, row) {
            (Some(failure), _) => Err(failure),
            (None, Some((text, version))) => Ok(Loaded { value: Some(Article(text)), version, position, keep: true }),
            (None, None) => Ok(Loaded { value: None, version: 0, position, keep: true }),
        }
    }

    /// The load of a key.
    pub(crate) fn loader(self: &Arc<Self>, key: &str) -> impl Fn() -> Load + Send + Sync + 'static + use<> {
        let (source, key) = (Arc::clone(self), key.to_owned());
        move || -> Load {
            let (source, key) = (Arc::clone(&source), key.clone());
            Box::pin(async move { source.load(&key).await })
        }
    }
}

/// A cache in the process alone.
pub(crate) fn in_process(options: CacheOptions) -> Articles {
    Tiers::in_process(TiersOptions::default()).cache(options)
}

/// A read of what is wanted.
pub(crate) async fn read_at(
    cache: &Articles,
    source: &Arc<Source>,
    key: &str,
    wanted: Wanted,
) -> Result<Option<String>, Failure> {
    let article = cache.read(key, TAGS, wanted, source.loader(key)).await?;
    Ok(article.map(|article| article.0.clone()))
}

/// A read of what is recent.
pub(crate) async fn read(cache: &Articles, source: &Arc<Source>, key: &str) -> Result<Option<String>, Failure> {
    read_at(cache, source, key, Wanted::Recent).await
}

/// The text of a key, which must be there.
pub(crate) async fn text(cache: &Articles, source: &Arc<Source>, key: &str) -> String {
    read(cache, source, key).await.unwrap().unwrap()
}

/// A read in a task of its own, that has begun.
pub(crate) async fn begin_read(
    cache: &Articles,
    source: &Arc<Source>,
    key: &'static str,
) -> tokio::task::JoinHandle<Result<Option<String>, Failure>> {
    let (cache, source) = (cache.clone(), Arc::clone(source));
    let read = tokio::spawn(async move { read(&cache, &source, key).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    read
}
