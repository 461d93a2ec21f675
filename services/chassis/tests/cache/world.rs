//! Instances of a service with a cache, and the database that they have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_cache::{Cache, CacheOptions, LinkState, LoadError, Loaded, Tiers, TiersOptions, Value, Wanted};
use meshwork_chassis::CancellationToken;
use meshwork_chassis::cache::{Follower, Invalidated};
use meshwork_chassis::config::{CacheConfig, RedisConfig, Secret};
use meshwork_events::outbox::NewEvent;
use meshwork_events::outbox::sqlite::{COMPONENTS, Outbox};
use meshwork_events::{Envelope, Source};
use meshwork_sql::{Error, Sqlite};
use meshwork_testkit::Redis;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

pub(crate) const TAGS: &[&str] = &["shelves"];
/// What the source is called, and the place in it.
pub(crate) const THINGS: &str = "things";
/// The identity of the database.
pub(crate) const IDENTITY: &str = "0123456789ab";

/// An entry is good for longer than any test takes.
pub(crate) fn long() -> CacheOptions {
    CacheOptions { ttl: Duration::from_secs(3_600), local_ttl: Duration::from_secs(60), ..CacheOptions::default() }
}

/// An account: a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing(pub(crate) u64);

impl Value for Thing {
    const KIND: &'static str = "users";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(bytes.try_into().ok()?)))
    }

    fn weight(&self) -> usize {
        8
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Failed;

impl LoadError for Failed {
    fn is_unavailable(&self) -> bool {
        true
    }

    fn overloaded() -> Self {
        Failed
    }
}

/// The accounts as the database has them: their versions and their numbers. Who isn't here has the first of both.
#[derive(Clone, Default)]
pub(crate) struct Truth(Arc<Mutex<BTreeMap<String, (u64, u64)>>>);

impl Truth {
    pub(crate) fn of(&self, id: &str) -> (u64, u64) {
        self.0.lock().unwrap().get(id).copied().unwrap_or((1, 1))
    }

    pub(crate) fn set(&self, id: &str, version: u64, number: u64) {
        self.0.lock().unwrap().insert(id.to_owned(), (version, number));
    }

    /// The next version, which has its number; returns it.
    pub(crate) fn next(&self, id: &str) -> u64 {
        let version = self.of(id).0 + 1;
        self.set(id, version, version);
        version
    }
}

/// A database with an outbox.
pub(crate) struct Database {
    folder: TempDir,
    db: Sqlite,
    outbox: Outbox,
    pub(crate) truth: Truth,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Sqlite::open(&file(&folder), &COMPONENTS).await.unwrap();
        Self { folder, outbox: Outbox::new(db.clone(), THINGS), db, truth: Truth::default() }
    }

    /// Commits the next version of `users/anna`, and tells no cache of it.
    pub(crate) async fn commit(&self) {
        let event = NewEvent {
            event_type: "thing_changed",
            schema_version: 1,
            subject: "users/anna".to_owned(),
            version: i64::try_from(self.truth.next("anna")).unwrap(),
            data: Vec::new(),
        };
        let input = (self.outbox.clone(), event);
        let written = self.db.write::<_, (), Error, _>(input, |connection, (outbox, event)| {
            Box::pin(
                async move { outbox.append(connection, OffsetDateTime::now_utc(), std::slice::from_ref(event)).await },
            )
        });
        written.await.unwrap();
    }

    /// Its outbox through another connection, as another process has it.
    pub(crate) async fn source(&self) -> Arc<dyn Source> {
        Arc::new(Outbox::new(Sqlite::open(&file(&self.folder), &COMPONENTS).await.unwrap(), THINGS))
    }
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("things.db")
}

/// An instance of a service.
pub(crate) struct Instance {
    pub(crate) tiers: Tiers,
    cache: Cache<Thing, Failed>,
    truth: Truth,
    stop: CancellationToken,
    follows: JoinHandle<()>,
}

impl Instance {
    /// One that follows the outbox of a database.
    pub(crate) async fn start(database: &Database, tiers: Tiers) -> Self {
        Self::over(database.source().await, &database.truth, tiers)
    }

    /// One that follows a source.
    pub(crate) fn over(source: Arc<dyn Source>, truth: &Truth, tiers: Tiers) -> Self {
        let cache = tiers.cache(long());
        let follower = Follower::new(tiers.clone(), THINGS.to_owned(), source, outdated_by);
        let stop = CancellationToken::new();
        let follows = tokio::spawn(follower.run(stop.clone()));
        Self { tiers, cache, truth: truth.clone(), stop, follows }
    }

    /// The number of an account.
    pub(crate) async fn read(&self, id: &str) -> u64 {
        let (truth, of) = (self.truth.clone(), id.to_owned());
        let load = move || {
            let (version, number) = truth.of(&of);
            async move { Ok(Loaded { value: Some(Thing(number)), version, position: None, keep: true }) }
        };
        self.cache.read(id, tags_of(id), Wanted::Recent, load).await.unwrap().unwrap().0
    }

    pub(crate) fn invalidations(&self) -> u64 {
        self.tiers.stats().kinds[0].invalidations
    }

    /// Waits until an account is read with this number.
    pub(crate) async fn shows(&self, id: &str, number: u64) {
        let what = format!("{number} of {id}");
        within(Duration::from_secs(5), &what, async || self.read(id).await == number).await;
    }

    /// Waits until it is noted that so many commits were followed.
    pub(crate) async fn notes(&self, commits: i64) {
        eventually("the marks", async || {
            let marks = self.tiers.marks(THINGS).await.unwrap_or_default().unwrap_or_default();
            marks.iter().map(|mark| mark.n).sum::<i64>() == commits && !marks.is_empty()
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.follows).await.expect("it stops").unwrap();
    }
}

/// Of the accounts, anna's is on shelves.
fn tags_of(id: &str) -> &'static [&'static str] {
    if id == "anna" { TAGS } else { &[] }
}

pub(crate) fn outdated_by(event: &Envelope) -> Option<Invalidated> {
    let key = event.subject.strip_prefix("users/")?.to_owned();
    let tags = tags_of(&key);
    Some(Invalidated { kind: Thing::KIND, key, version: u64::try_from(event.version).ok(), tags })
}

pub(crate) fn in_process() -> Tiers {
    Tiers::in_process(TiersOptions::default())
}

pub(crate) async fn redis() -> (Redis, RedisConfig) {
    let redis = tokio::task::spawn_blocking(|| Redis::private(&[])).await.unwrap();
    let config = RedisConfig { url: Secret::new(redis.url()), ..RedisConfig::default() };
    (redis, config)
}

/// The tiers of a database of this identity, once they are linked.
pub(crate) async fn tiers_of(config: &RedisConfig, identity: &str) -> Tiers {
    let tiers = meshwork_chassis::cache::open(config, &CacheConfig::default(), THINGS, identity).unwrap().unwrap();
    is_up(&tiers).await;
    tiers
}

pub(crate) async fn on_redis(config: &RedisConfig) -> Tiers {
    tiers_of(config, IDENTITY).await
}

pub(crate) async fn is_up(tiers: &Tiers) {
    eventually("the link to Redis", async || tiers.state() == Some(LinkState::Up)).await;
}

pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    within(Duration::from_secs(20), what, condition).await;
}

pub(crate) async fn within(bound: Duration, what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(bound, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}
