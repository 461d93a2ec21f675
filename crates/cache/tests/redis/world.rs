//! "Processes": each has tiers and a connection of its own, over one source of truth.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use meshwork_cache::{
    Cache, CacheOptions, KindStats, LinkState, RedisOptions, RedisRemote, Replay, Tiers, TiersOptions, Value as _,
    Wanted,
};

use crate::server::{PATIENCE, eventually};
use crate::truth::{Article, Commit, Failure, Truth};

/// How often a follower of the log looks for what was committed.
const FOLLOW: Duration = Duration::from_millis(250);
/// How often it is looked whether Redis knows by now what it could not be told.
const WATCH: Duration = Duration::from_millis(20);
/// Under which the marks of the log are noted.
const SOURCE: &str = "truth";
/// An article that is in a list, and the tag of lists.
const ITEM: &str = "item";
const LISTS: &str = "lists";

/// What makes up for what was written while Redis could not be told, or has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Healing {
    /// As in a service (CA-3): each process follows the log from its end on, and begins at the marks when Redis is back. A
    /// commit is known to all within a second, whoever has lost Redis.
    Following,
    /// Nobody follows: when Redis is back, what was committed behind the marks is invalidated, and nothing else. The commit
    /// of a process that has lost Redis is known to the others when it has Redis again.
    Marks,
}

pub(crate) struct Process {
    pub(crate) tiers: Tiers,
    pub(crate) cache: Cache<Article, Failure>,
    pub(crate) truth: Arc<Truth>,
    /// The commits that Redis could not be told of at once.
    untold: Mutex<Vec<i64>>,
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
        Self { tiers, cache, truth: Arc::clone(truth), untold: Mutex::default() }
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
        let Commit { version, n } = self.truth.append(key, Some(text));
        self.cache.put(key, &[], Article { version, text: text.to_owned() }, version).await;
        self.has_told(n);
        version
    }

    /// Commits, then invalidates.
    pub(crate) async fn change(&self, key: &str, text: Option<&str>) -> u64 {
        let Commit { version, n } = self.truth.append(key, text);
        self.cache.invalidate(key, Some(version)).await;
        self.has_told(n);
        version
    }

    /// Commits another version of what is in a list, then invalidates it and the lists.
    pub(crate) async fn relist(&self, text: &str) {
        let Commit { version, n } = self.truth.append(ITEM, Some(text));
        self.cache.invalidate(ITEM, Some(version)).await;
        self.tiers.invalidate_tag(LISTS, Some(&cause(version))).await;
        self.has_told(n);
    }

    /// The versions that reads answer of what is written through, invalidated and deleted, and of what is in a list.
    pub(crate) async fn sees(&self) -> [u64; 4] {
        let list = self.cache.read("list", &[LISTS], Wanted::Recent, self.truth.loader(ITEM)).await.unwrap();
        let listed = list.map_or(0, |list| list.version);
        [self.read("written").await, self.read("changed").await, self.read("deleted").await, listed]
    }

    /// Waits until the mark of the last commit is noted.
    pub(crate) async fn has_noted_all(&self) {
        let last = self.truth.mark(self.truth.head()).map(|mark| vec![mark]);
        eventually("the mark is noted", PATIENCE, async || self.tiers.marks(SOURCE).await == Ok(last.clone())).await;
    }

    /// A write has returned: Redis knows of it, or will as soon as the link is up.
    fn has_told(&self, n: i64) {
        if self.has_told_all() {
            self.truth.reached(n, None);
        } else {
            self.untold.lock().unwrap().push(n);
        }
    }

    /// Whether Redis was told all that this process has written.
    fn has_told_all(&self) -> bool {
        let stats = self.tiers.stats();
        stats.link == Some(LinkState::Up) && stats.queued == 0
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

    /// Has made up for what Redis is not told, or loses; returns when the link is up with that.
    pub(crate) async fn heal(self: &Arc<Self>, healing: Healing) {
        let log = Arc::new(Log { tiers: self.tiers.clone(), truth: Arc::clone(&self.truth) });
        let mut behind = self.truth.head();
        self.tiers.on_reconnect(Arc::clone(&log) as Arc<dyn Replay>);
        self.comes_up().await;
        let process = Arc::clone(self);
        // It ends with the test's runtime.
        tokio::spawn(async move {
            loop {
                let untold = std::mem::take(&mut *process.untold.lock().unwrap());
                if process.has_told_all() {
                    untold.into_iter().for_each(|n| process.truth.reached(n, Some(Instant::now())));
                } else {
                    process.untold.lock().unwrap().extend(untold);
                }
                match healing {
                    Healing::Following => {
                        let head = process.truth.head();
                        log.invalidate(behind, head).await;
                        behind = head;
                        log.note(head, LinkState::Up).await.ok();
                        tokio::time::sleep(FOLLOW).await;
                    }
                    Healing::Marks => {
                        log.note(process.truth.reached_up_to(), LinkState::Up).await.ok();
                        tokio::time::sleep(WATCH).await;
                    }
                }
            }
        });
    }
}

/// Why lists were invalidated: for the same cause they are once.
fn cause(version: u64) -> String {
    format!("{ITEM}@{version}")
}

/// The log, as it is gone through again.
struct Log {
    tiers: Tiers,
    truth: Arc<Truth>,
}

impl Log {
    /// Invalidates what was committed behind a number, up to another.
    async fn invalidate(&self, behind: i64, up_to: i64) {
        for (key, version) in self.truth.changes(behind, up_to) {
            self.tiers.invalidate(Article::KIND, &key, Some(version)).await;
            if key == ITEM {
                self.tiers.invalidate_tag(LISTS, Some(&cause(version))).await;
            }
        }
    }

    /// Notes that all up to a number is known to Redis, unless something waits still, or the link is not as it should be.
    async fn note(&self, n: i64, link: LinkState) -> Result<(), String> {
        let stats = self.tiers.stats();
        match self.truth.mark(n) {
            Some(mark) if stats.queued == 0 && stats.link == Some(link) => {
                self.tiers.advance(SOURCE, mark).await.map_err(|error| error.to_string())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Replay for Log {
    async fn replay(&self) -> Result<(), String> {
        let marks = self.tiers.marks(SOURCE).await.map_err(|error| error.to_string())?.unwrap_or_default();
        let head = self.truth.head();
        let known = marks.first().filter(|mark| self.truth.mark(mark.n) == Some(**mark));
        self.invalidate(known.map_or(0, |mark| mark.n), head).await;
        self.note(head, LinkState::CatchingUp).await
    }
}

/// Whether the long tests run too. Who follows the log hides what else is wrong: that variant of a test is for the long run.
pub(crate) fn is_full() -> bool {
    std::env::var_os("MESHWORK_TEST_FULL").is_some()
}
