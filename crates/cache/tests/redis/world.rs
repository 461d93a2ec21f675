//! "Processes": each has tiers and a connection of its own, over one source of truth.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_cache::{
    Cache, CacheOptions, KindStats, LinkState, RedisOptions, RedisRemote, Replay, Tiers, TiersOptions, Value as _,
    Wanted,
};

use crate::server::{PATIENCE, eventually};
use crate::truth::{Article, Failure, Truth};

/// How often a follower of the log invalidates again what was committed.
const FOLLOW: Duration = Duration::from_millis(250);

pub(crate) struct Process {
    pub(crate) tiers: Tiers,
    pub(crate) cache: Cache<Article, Failure>,
    pub(crate) truth: Arc<Truth>,
}

/// Options whose commands no busy machine is late for: for tests of what Redis decides.
pub(crate) fn patient(url: &str, prefix: &str) -> RedisOptions {
    let mut options = hasty(url, prefix);
    options.timeout = Duration::from_secs(5);
    options
}

/// Options with the timeout of production, for tests of faults.
pub(crate) fn hasty(url: &str, prefix: &str) -> RedisOptions {
    let mut options = RedisOptions::new(url);
    prefix.clone_into(&mut options.prefix);
    options
}

/// As the defaults, but nothing changes by itself while a test runs.
pub(crate) fn steady() -> CacheOptions {
    CacheOptions { ttl: Duration::from_secs(600), local_ttl: Duration::from_secs(60), ..CacheOptions::default() }
}

/// Tiers with a connection of their own.
pub(crate) fn tiers(redis: RedisOptions) -> Tiers {
    Tiers::with_remote(TiersOptions::default(), RedisRemote::connect(redis).unwrap())
}

pub(crate) async fn is_up(tiers: &Tiers) {
    eventually("the link is up", PATIENCE, async || tiers.state() == Some(LinkState::Up)).await;
}

impl Process {
    /// A process whose link may be down.
    pub(crate) fn start(redis: RedisOptions, options: CacheOptions, truth: &Arc<Truth>) -> Self {
        let tiers = tiers(redis);
        let cache = tiers.cache(options);
        Self { tiers, cache, truth: Arc::clone(truth) }
    }

    /// A process whose link is up.
    pub(crate) async fn connected(redis: RedisOptions, options: CacheOptions, truth: &Arc<Truth>) -> Self {
        let process = Self::start(redis, options, truth);
        process.comes_up().await;
        process
    }

    pub(crate) async fn comes_up(&self) {
        is_up(&self.tiers).await;
    }

    pub(crate) async fn goes_down(&self) {
        let tiers = &self.tiers;
        eventually("the link is down", PATIENCE, async || tiers.state() == Some(LinkState::Down)).await;
    }

    /// The version that a read answers; 0 when there is no such article.
    pub(crate) async fn try_read(&self, key: &str, wanted: Wanted) -> Result<u64, Failure> {
        let answer = self.cache.read(key, &[], wanted, self.truth.loader(key)).await?;
        Ok(answer.map_or(0, |article| article.version))
    }

    pub(crate) async fn read(&self, key: &str) -> u64 {
        self.try_read(key, Wanted::Recent).await.unwrap()
    }

    /// As [`Process::read`], of an article with a tag.
    pub(crate) async fn read_tagged(&self, key: &str, tag: &'static str) -> u64 {
        let answer = self.cache.read(key, &[tag], Wanted::Recent, self.truth.loader(key)).await.unwrap();
        answer.map_or(0, |article| article.version)
    }

    /// Commits, then writes through.
    pub(crate) async fn write(&self, key: &str, text: &str) -> u64 {
        let version = self.truth.commit(key, Some(text));
        self.cache.put(key, &[], Article { version, text: text.to_owned() }, version).await;
        self.truth.settle(key, version);
        version
    }

    /// Commits, then invalidates.
    pub(crate) async fn change(&self, key: &str, text: Option<&str>) -> u64 {
        let version = self.truth.commit(key, text);
        self.cache.invalidate(key, Some(version)).await;
        self.truth.settle(key, version);
        version
    }

    /// Reads until the process answers from its own memory. (What it fills itself it may be told of, too: NOLOOP is none
    /// for scripts.)
    pub(crate) async fn comes_to_hold(&self, key: &str) {
        eventually("it is held in the process", PATIENCE, async || {
            let hits = self.stats().local_hits;
            self.read(key).await;
            self.stats().local_hits > hits
        })
        .await;
    }

    pub(crate) fn stats(&self) -> KindStats {
        let kinds = self.tiers.stats().kinds;
        kinds.into_iter().find(|kind| kind.kind == Article::KIND).unwrap()
    }

    /// Follows the log as a service does (CA-3): invalidates again what was committed, often and before the remote tier
    /// is read again after an outage.
    pub(crate) fn follow(&self) {
        let follower = Arc::new(Follower { tiers: self.tiers.clone(), truth: Arc::clone(&self.truth) });
        self.tiers.on_reconnect(Arc::clone(&follower) as Arc<dyn Replay>);
        // It ends with the test's runtime.
        tokio::spawn(async move {
            loop {
                follower.replay().await.ok();
                tokio::time::sleep(FOLLOW).await;
            }
        });
    }
}

struct Follower {
    tiers: Tiers,
    truth: Arc<Truth>,
}

#[async_trait]
impl Replay for Follower {
    async fn replay(&self) -> Result<(), String> {
        for (key, version) in self.truth.versions() {
            self.tiers.invalidate(Article::KIND, &key, Some(version)).await;
        }
        Ok(())
    }
}
