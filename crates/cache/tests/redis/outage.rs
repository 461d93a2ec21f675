//! CA-8: without Redis, and with one that fails, every call is answered, and the source gets no more than its share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_cache::{CacheOptions, LinkState};
use meshwork_testkit::{FaultProxy, Redis};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::server::{PATIENCE, eventually, prefix, value_key};
use crate::traffic::Traffic;
use crate::truth::Truth;
use crate::world::{Healing, Process, hasty, is_full, patient, steady};

/// The bound of the loads of a process under load.
pub(crate) const MAX_LOADS: usize = 4;

/// As in production, but with few loads.
pub(crate) fn bounded() -> CacheOptions {
    CacheOptions { max_loads: MAX_LOADS, ..CacheOptions::default() }
}

/// Two processes and what they do while a Redis fails.
pub(crate) struct Outage {
    processes: Vec<Arc<Process>>,
    traffic: Traffic,
    /// How many outages each has had before.
    before: Vec<u64>,
}

impl Outage {
    /// Traffic for which all is well.
    pub(crate) async fn begin(url: &str, test: &str, healing: Healing) -> Self {
        let (prefix, truth) = (prefix(test), Truth::new());
        truth.slow(Duration::from_millis(1));
        let mut processes = Vec::new();
        for _ in 0..2 {
            let process = Arc::new(Process::connected(hasty(url, &prefix), bounded(), &truth).await);
            process.heal(healing).await;
            processes.push(process);
        }
        let keys: Vec<String> = (0..6).map(|n| format!("k{n}")).collect();
        let traffic = Traffic::start(&processes, &keys, healing);
        sleep(Duration::from_millis(500)).await;
        let before = processes.iter().map(|process| process.tiers.stats().outages).collect();
        Self { processes, traffic, before }
    }

    /// All links are down.
    pub(crate) async fn goes_down(&self) {
        for process in &self.processes {
            process.goes_down().await;
        }
    }

    /// All links are up.
    pub(crate) async fn comes_up(&self) {
        for process in &self.processes {
            process.comes_up().await;
        }
    }

    /// All links are up again, for a while; then nothing has gone wrong.
    pub(crate) async fn ends_well(self) {
        self.comes_up().await;
        sleep(Duration::from_millis(1_500)).await;
        let calls = self.traffic.end(u64::try_from(self.processes.len() * MAX_LOADS).unwrap()).await;
        assert!(calls > 200, "{calls} calls");
        for (process, before) in self.processes.iter().zip(self.before) {
            assert!(process.tiers.stats().outages > before, "{:?}", process.tiers.state());
            let stats = process.stats();
            assert!(stats.local_hits + stats.remote_hits > 0, "the cache was used");
        }
    }
}

#[tokio::test]
async fn ca_8_without_redis_all_reads_succeed_and_few_loads_run_at_a_time() {
    let truth = Truth::new();
    let process = Arc::new(Process::start(hasty("redis://127.0.0.1:1", "none"), bounded(), &truth));
    truth.slow(Duration::from_millis(10));
    let mut readers = JoinSet::new();
    for n in 0..100 {
        let process = Arc::clone(&process);
        readers.spawn(async move {
            let key = format!("k{n}");
            let version = process.write(&key, "text").await;
            process.cache.invalidate(&key, None).await;
            (version, process.read(&key).await)
        });
    }
    let versions = tokio::time::timeout(PATIENCE, readers.join_all()).await.unwrap();
    assert!(versions.iter().all(|(written, read)| (*written, *read) == (1, 1)));
    assert!(truth.most_running() <= u64::try_from(MAX_LOADS).unwrap(), "{} loads", truth.most_running());
    assert_eq!(process.tiers.state(), Some(LinkState::Down));
    assert!(process.tiers.check().is_err());
    // What a process holds alone is at most a second old.
    truth.commit("k0", Some("new"));
    eventually("at most a second old", Duration::from_millis(1_250), async || process.read("k0").await == 2).await;
}

#[tokio::test]
async fn ca_8_a_stalled_redis_costs_its_timeout_a_few_times_and_then_nothing() {
    let (redis, truth) = (Redis::private(&[]), Truth::new());
    let process = Process::connected(hasty(redis.url(), "stalled"), steady(), &truth).await;
    let mut waits = Vec::new();
    redis.freeze();
    for n in 0..30 {
        let key = format!("k{n}");
        truth.commit(&key, Some("text"));
        let begin = Instant::now();
        assert_eq!(process.read(&key).await, 1);
        waits.push(begin.elapsed());
    }
    redis.thaw();
    waits.sort_unstable();
    // Twenty milliseconds each, until it isn't asked any more; a busy machine adds to some of them.
    assert!(waits[15] < Duration::from_millis(10), "{waits:?}");
    assert!(waits[26] < Duration::from_millis(60), "{waits:?}");
    assert!(waits[29] < Duration::from_millis(500), "{waits:?}");
}

async fn killed_and_started_again(healing: Healing) {
    let redis = Redis::private(&[]);
    let outage = Outage::begin(redis.url(), "killed", healing).await;
    redis.kill();
    outage.goes_down().await;
    sleep(Duration::from_millis(700)).await;
    redis.start_again();
    outage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_redis_killed_and_started_again_under_load() {
    if is_full() {
        killed_and_started_again(Healing::Following).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_redis_killed_and_started_again_under_load_and_nobody_follows() {
    killed_and_started_again(Healing::Marks).await;
}

async fn frozen_and_flushed(healing: Healing) {
    let redis = Redis::private(&[]);
    let outage = Outage::begin(redis.url(), "frozen", healing).await;
    redis.freeze();
    sleep(Duration::from_millis(900)).await;
    redis.thaw();
    outage.comes_up().await;
    redis.flush();
    sleep(Duration::from_millis(300)).await;
    redis.flush();
    redis.connection().command(&["CLIENT", "KILL", "TYPE", "normal"]);
    redis.connection().command(&["SCRIPT", "FLUSH"]);
    outage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_redis_frozen_and_flushed_under_load() {
    if is_full() {
        frozen_and_flushed(Healing::Following).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_redis_frozen_and_flushed_under_load_and_nobody_follows() {
    frozen_and_flushed(Healing::Marks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_a_write_that_did_not_reach_redis_is_made_up_for_before_redis_is_read_again() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("queued"), Truth::new());
    let proxy = FaultProxy::start(redis.url().trim_start_matches("redis://").parse().unwrap()).await;
    let writer = Process::connected(hasty(&proxy.url("redis"), &prefix), steady(), &truth).await;
    let reader = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    for key in ["put", "invalidated", "untouched"] {
        assert_eq!(writer.write(key, "first").await, 1);
        assert_eq!(reader.read(key).await, 1);
    }
    proxy.half_open();
    assert_eq!(writer.write("put", "second").await, 2);
    assert_eq!(writer.change("invalidated", Some("second")).await, 2);
    assert_eq!((writer.read("put").await, writer.read("invalidated").await), (2, 2));
    eventually("Redis is not to be trusted", PATIENCE, async || {
        writer.tiers.state() != Some(LinkState::Up) && writer.tiers.stats().queued == 2
    })
    .await;
    assert_eq!((writer.read("put").await, writer.read("invalidated").await), (2, 2));
    proxy.heal().await;
    // As soon as it reads from Redis again, and with it everybody.
    writer.comes_up().await;
    assert_eq!(writer.tiers.stats().queued, 0);
    assert_eq!((writer.read("put").await, writer.read("invalidated").await), (2, 2));
    for key in ["put", "invalidated"] {
        let stored = redis.connection().command(&["GET", &value_key(&prefix, key)]);
        assert!(stored.starts_with("00000000000000000002"), "{key}: {stored}");
        eventually("the other process sees it", PATIENCE, async || reader.read(key).await == 2).await;
    }
    assert_eq!(writer.read("untouched").await, 1);
}
