//! A cache is told of what was committed, though nobody has told it (CA-3); and what staff is told of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::cache_service_server::CacheService as _;
use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::admin::v1::invalidate_cache_request::What;
use meshwork_cache::{Cache, CacheOptions, LinkState, LoadError, Loaded, Tiers, TiersOptions, Value, Wanted};
use meshwork_chassis::CancellationToken;
use meshwork_chassis::cache::{CacheGrpc, Follower, Invalidated};
use meshwork_chassis::config::{CacheConfig, RedisConfig, Secret};
use meshwork_events::Envelope;
use meshwork_events::outbox::NewEvent;
use meshwork_events::outbox::sqlite::{COMPONENTS, Outbox};
use meshwork_sql::{Error, Sqlite};
use meshwork_testkit::Redis;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const DOMAIN: &str = "tests.meshwork.dev";
const TAGS: &[&str] = &["shelves"];

/// An entry is good for longer than any test takes.
fn long() -> CacheOptions {
    CacheOptions { ttl: Duration::from_secs(3_600), local_ttl: Duration::from_secs(60), ..CacheOptions::default() }
}

/// The version of an account, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing(u64);

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
struct Failed;

impl LoadError for Failed {
    fn is_unavailable(&self) -> bool {
        true
    }

    fn overloaded() -> Self {
        Failed
    }
}

/// A database with an outbox, in which `users/anna` has a version.
struct Database {
    folder: TempDir,
    db: Sqlite,
    outbox: Outbox,
    version: Arc<AtomicU64>,
}

impl Database {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Sqlite::open(&folder.path().join("things.db"), &COMPONENTS).await.unwrap();
        Self { folder, outbox: Outbox::new(db.clone(), "things"), db, version: Arc::new(AtomicU64::new(1)) }
    }

    /// Commits the next version, and tells no cache of it.
    async fn commit(&self) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let event = NewEvent {
            event_type: "thing_changed",
            schema_version: 1,
            subject: "users/anna".to_owned(),
            version: i64::try_from(version).unwrap(),
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
}

/// An instance of a service.
struct Instance {
    tiers: Tiers,
    cache: Cache<Thing, Failed>,
    version: Arc<AtomicU64>,
    stop: CancellationToken,
    follows: JoinHandle<()>,
}

impl Instance {
    /// One that follows the outbox under this name.
    async fn start(database: &Database, tiers: Tiers, name: &str) -> Self {
        let cache = tiers.cache(long());
        // Through another connection, as another process has it.
        let db = Sqlite::open(&database.folder.path().join("things.db"), &COMPONENTS).await.unwrap();
        let source = Arc::new(Outbox::new(db, "things"));
        let follower = Follower::new(tiers.clone(), name.to_owned(), source, outdated_by);
        let stop = CancellationToken::new();
        let follows = tokio::spawn(follower.run(stop.clone()));
        Self { tiers, cache, version: database.version.clone(), stop, follows }
    }

    async fn read(&self) -> u64 {
        let version = self.version.clone();
        let load = move || {
            let version = version.load(Ordering::SeqCst);
            async move { Ok(Loaded { value: Some(Thing(version)), version, position: None, keep: true }) }
        };
        self.cache.read("anna", TAGS, Wanted::Recent, load).await.unwrap().unwrap().0
    }

    fn invalidations(&self) -> u64 {
        self.tiers.stats().kinds[0].invalidations
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.follows).await.expect("it stops").unwrap();
    }
}

fn outdated_by(event: &Envelope) -> Option<Invalidated> {
    let key = event.subject.strip_prefix("users/")?.to_owned();
    Some(Invalidated { kind: Thing::KIND, key, version: u64::try_from(event.version).ok()?, tags: TAGS })
}

fn in_process() -> Tiers {
    Tiers::in_process(TiersOptions::default())
}

async fn redis() -> (Redis, RedisConfig) {
    let redis = tokio::task::spawn_blocking(|| Redis::private(&[])).await.unwrap();
    let config = RedisConfig { url: Secret::new(redis.url()), ..RedisConfig::default() };
    (redis, config)
}

async fn on_redis(config: &RedisConfig) -> Tiers {
    let tiers = meshwork_chassis::cache::open(config, &CacheConfig::default(), "things").unwrap().unwrap();
    eventually("the link to Redis", async || tiers.state() == Some(LinkState::Up)).await;
    tiers
}

async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    within(Duration::from_secs(20), what, condition).await;
}

async fn within(bound: Duration, what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(bound, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Waits until it is noted that so many commits were followed.
async fn notes(instance: &Instance, name: &str, commits: i64) {
    eventually("the marks", async || {
        let marks = instance.tiers.marks(name).await.unwrap_or_default().unwrap_or_default();
        marks.iter().map(|(_, n)| n).sum::<i64>() == commits && !marks.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_what_is_announced_is_dropped_and_what_was_announced_before_is_not() {
    let database = Database::new().await;
    database.commit().await;
    let instance = Instance::start(&database, in_process(), "things").await;
    // Nothing is cached from before the process.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(instance.invalidations(), 0);
    for commits in 1..=3 {
        database.commit().await;
        within(Duration::from_secs(5), "the invalidation", async || instance.invalidations() >= commits).await;
    }
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_a_commit_that_no_cache_was_told_of_is_seen_within_a_second() {
    let database = Database::new().await;
    let (_redis, config) = redis().await;
    let (one, other) = (on_redis(&config).await, on_redis(&config).await);
    let one = Instance::start(&database, one, "things").await;
    let other = Instance::start(&database, other, "things").await;
    notes(&one, "things", 0).await;
    for version in 2..=5 {
        assert_eq!((one.read().await, other.read().await), (version - 1, version - 1));
        database.commit().await;
        let both = async || one.read().await == version && other.read().await == version;
        within(Duration::from_secs(1), "the new version", both).await;
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_what_was_committed_while_nobody_followed_is_dropped_by_the_next_process() {
    let database = Database::new().await;
    let (_redis, config) = redis().await;
    let before = Instance::start(&database, on_redis(&config).await, "things").await;
    database.commit().await;
    notes(&before, "things", 1).await;
    assert_eq!(before.read().await, 2);
    before.stop().await;
    // It ends behind the commit: Redis has the old version, for an hour.
    database.commit().await;
    let after = Instance::start(&database, on_redis(&config).await, "things").await;
    within(Duration::from_secs(5), "the new version", async || after.read().await == 3).await;
    notes(&after, "things", 2).await;
    after.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_3_where_nothing_is_noted_everything_is_dropped() {
    let database = Database::new().await;
    let (_redis, config) = redis().await;
    let tiers = on_redis(&config).await;
    tiers.cache::<Thing, Failed>(long()).put("anna", TAGS, Thing(1), 1).await;
    database.commit().await;
    let after = Instance::start(&database, on_redis(&config).await, "things").await;
    within(Duration::from_secs(5), "the new version", async || after.read().await == 2).await;
    after.stop().await;
}

fn asked(what: What) -> Request<pb::InvalidateCacheRequest> {
    Request::new(pb::InvalidateCacheRequest { what: Some(what) })
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let found = status.get_details_bad_request().unwrap().field_violations;
    found.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn staff_is_told_what_is_cached_and_drops_it_by_key_tag_and_kind() {
    let tiers = in_process();
    let cache = tiers.cache::<Thing, Failed>(long());
    let grpc = CacheGrpc::new(Some(tiers), "users", DOMAIN).tags(TAGS);
    let read = async || {
        let load = || async { Ok(Loaded { value: Some(Thing(1)), version: 1, position: None, keep: true }) };
        cache.read("anna", TAGS, Wanted::Recent, load).await.unwrap().unwrap();
    };
    let stats = async || grpc.get_cache_stats(Request::new(pb::GetCacheStatsRequest {})).await.unwrap().into_inner();
    for (loads, what) in [
        (1, What::Key("users/anna".to_owned())),
        (2, What::Tag("shelves".to_owned())),
        (3, What::Kind("users".to_owned())),
    ] {
        read().await;
        read().await;
        let told = stats().await;
        assert_eq!((told.service.as_str(), told.enabled, told.link()), ("users", true, Link::None));
        assert_eq!((told.kinds[0].kind.as_str(), told.kinds[0].loads), ("users", loads), "{what:?}");
        assert!(!told.kinds[0].misses.is_empty(), "the reasons are told");
        grpc.invalidate_cache(asked(what)).await.unwrap();
    }
    read().await;
    assert_eq!(stats().await.kinds[0].loads, 4);
}

#[tokio::test]
async fn what_a_service_does_not_cache_is_refused_by_its_field() {
    let tiers = in_process();
    let _cache = tiers.cache::<Thing, Failed>(long());
    let grpc = CacheGrpc::new(Some(tiers.clone()), "users", DOMAIN).tags(TAGS);
    for (what, field) in [
        (What::Key(String::new()), "key"),
        (What::Key("anna".to_owned()), "key"),
        (What::Key("users/".to_owned()), "key"),
        (What::Key("users/anna/x".to_owned()), "key"),
        (What::Key("products/lamp".to_owned()), "key"),
        (What::Tag("kind:users".to_owned()), "tag"),
        (What::Tag(String::new()), "tag"),
        (What::Kind("products".to_owned()), "kind"),
    ] {
        let refused = grpc.invalidate_cache(asked(what.clone())).await.unwrap_err();
        assert_eq!(fields(&refused), [field], "{what:?}");
    }
    let refused = grpc.invalidate_cache(Request::new(pb::InvalidateCacheRequest { what: None })).await.unwrap_err();
    assert_eq!(fields(&refused), ["what"]);
    let without_tags = CacheGrpc::new(Some(tiers), "users", DOMAIN);
    let refused = without_tags.invalidate_cache(asked(What::Tag("shelves".to_owned()))).await.unwrap_err();
    assert_eq!(fields(&refused), ["tag"]);
}

#[tokio::test]
async fn a_disabled_cache_says_so() {
    let grpc = CacheGrpc::new(None, "users", DOMAIN);
    let told = grpc.get_cache_stats(Request::new(pb::GetCacheStatsRequest {})).await.unwrap().into_inner();
    assert_eq!((told.enabled, told.link(), told.kinds), (false, Link::None, vec![]));
    let refused = grpc.invalidate_cache(asked(What::Kind("users".to_owned()))).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "CACHE_DISABLED");
}
