//! CA-4: one load for all who miss, in a process and over processes.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_cache::{Cache, CacheOptions, Loaded, Wanted};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::server::{PATIENCE, eventually, exists, lease_key, prefix, shared, value_key};
use crate::truth::{Article, Failure, Truth};
use crate::world::{Process, is_up, patient, steady, tiers};

/// What tells a child of the test its Redis and prefix.
const URL: &str = "MESHWORK_CACHE_STAMPEDE_URL";
const PREFIX: &str = "MESHWORK_CACHE_STAMPEDE_PREFIX";
const TEST: &str = "stampede::ca_4_a_thousand_misses_of_two_real_processes_load_once";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_4_a_thousand_misses_over_two_processes_load_once() {
    let (redis, prefix, truth) = (shared(), prefix("stampede"), Truth::new());
    truth.commit("hot", Some("text"));
    truth.slow(Duration::from_millis(40));
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let process = Arc::new(Process::connected(patient(redis.url(), &prefix), steady(), &truth).await);
        for _ in 0..500 {
            let process = Arc::clone(&process);
            readers.spawn(async move { process.read("hot").await });
        }
    }
    let versions = tokio::time::timeout(PATIENCE, readers.join_all()).await.unwrap();
    assert!(versions.iter().all(|version| *version == 1));
    assert_eq!((versions.len(), truth.loads()), (1_000, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_4_a_thousand_misses_of_two_real_processes_load_once() {
    if let (Ok(url), Ok(prefix)) = (std::env::var(URL), std::env::var(PREFIX)) {
        return five_hundred_readers(&url, &prefix).await;
    }
    let (redis, prefix) = (shared(), prefix("processes"));
    let mut children = JoinSet::new();
    for _ in 0..2 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", TEST]).env(URL, redis.url()).env(PREFIX, &prefix);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        children.spawn(async move { child.wait().await.unwrap() });
    }
    let ends = tokio::time::timeout(PATIENCE, children.join_all()).await.expect("both processes end");
    assert!(ends.iter().all(std::process::ExitStatus::success), "{ends:?}");
    let mut connection = redis.connection();
    assert_eq!(connection.command(&["GET", &format!("{prefix}-loads")]), "1");
    assert_eq!(connection.command(&["GET", &format!("{prefix}-reads")]), "1000");
}

/// One of the two processes: it counts in Redis, where the other one does.
async fn five_hundred_readers(url: &str, prefix: &str) {
    let redis = tiers(patient(url, prefix));
    is_up(&redis).await;
    let cache: Cache<Article, Failure> = redis.cache(steady());
    let host = url.trim_start_matches("redis://").split('/').next().unwrap();
    let counts = Arc::new(Counts { host: host.to_owned(), prefix: prefix.to_owned() });
    counts.add("ready", 1);
    eventually("the other process is ready", PATIENCE, async || counts.add("ready", 0) == 2).await;
    let mut readers = JoinSet::new();
    for _ in 0..500 {
        let (cache, counts) = (cache.clone(), Arc::clone(&counts));
        readers.spawn(async move {
            let load = move || {
                let counts = Arc::clone(&counts);
                async move {
                    counts.add("loads", 1);
                    tokio::time::sleep(Duration::from_millis(40)).await;
                    let value = Some(Article { version: 1, text: "text".to_owned() });
                    Ok(Loaded { value, version: 1, position: None, keep: true })
                }
            };
            cache.read("hot", &[], Wanted::Recent, load).await.unwrap().is_some()
        });
    }
    let answers = tokio::time::timeout(PATIENCE, readers.join_all()).await.unwrap();
    assert!(answers.iter().all(|is_found| *is_found));
    counts.add("reads", answers.len());
}

/// Counters in Redis.
struct Counts {
    host: String,
    prefix: String,
}

impl Counts {
    /// What a counter has then.
    fn add(&self, name: &str, n: usize) -> usize {
        use std::io::{BufRead as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("INCRBY {}-{name} {n}\r\n", self.prefix).as_bytes()).unwrap();
        let mut line = String::new();
        std::io::BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_start_matches(':').trim_end().parse().unwrap()
    }
}

#[tokio::test]
async fn ca_4_who_waits_for_another_process_loads_after_200_ms_and_does_not_fill() {
    let (redis, prefix, truth) = (shared(), prefix("impatient"), Truth::new());
    let leader = Arc::new(Process::connected(patient(redis.url(), &prefix), steady(), &truth).await);
    let follower = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("slow", Some("text"));
    truth.slow(Duration::from_secs(1));
    let leading = Arc::clone(&leader);
    let lead = tokio::spawn(async move { leading.read("slow").await });
    eventually("the leader loads", PATIENCE, async || truth.loads() == 1).await;
    truth.slow(Duration::ZERO);
    let begin = Instant::now();
    assert_eq!(follower.read("slow").await, 1);
    let took = begin.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_millis(900)).contains(&took), "{took:?}");
    assert_eq!(truth.loads(), 2);
    assert!(!exists(&mut redis.connection(), &value_key(&prefix, "slow")), "only who has the lease fills");
    assert_eq!(tokio::time::timeout(PATIENCE, lead).await.unwrap().unwrap(), 1);
    eventually("the leader has filled", PATIENCE, async || {
        exists(&mut redis.connection(), &value_key(&prefix, "slow"))
    })
    .await;
    assert_eq!(truth.loads(), 2);
}

#[tokio::test]
async fn ca_4_who_waits_for_another_process_is_answered_what_is_stale_but_not_what_was_invalidated() {
    let (redis, prefix, truth) = (shared(), prefix("waitstale"), Truth::new());
    let options =
        CacheOptions { ttl: Duration::from_secs(1), local_ttl: Duration::from_secs(1), ..CacheOptions::default() };
    let leader = Arc::new(Process::connected(patient(redis.url(), &prefix), options.clone(), &truth).await);
    let follower = Process::connected(patient(redis.url(), &prefix), options, &truth).await;
    for key in ["expired", "changed"] {
        truth.commit(key, Some("text"));
        assert_eq!(leader.read(key).await, 1);
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(leader.change("changed", Some("new")).await, 2);
    truth.slow(Duration::from_secs(1));
    let mut leads = JoinSet::new();
    for key in ["expired", "changed"] {
        let leader = Arc::clone(&leader);
        leads.spawn(async move { leader.read(key).await });
    }
    eventually("the leader loads both", PATIENCE, async || truth.loads() == 4).await;
    truth.slow(Duration::ZERO);
    assert_eq!(follower.read("expired").await, 1);
    assert_eq!((truth.loads(), follower.stats().stale), (4, 1), "what is stale was answered, nothing loaded");
    assert_eq!(follower.read("changed").await, 2);
    assert_eq!(truth.loads(), 5);
    tokio::time::timeout(PATIENCE, leads.join_all()).await.unwrap();
}

#[tokio::test]
async fn ca_4_a_filler_that_died_is_waited_for_no_longer_than_its_lease() {
    let (redis, prefix, truth) = (shared(), prefix("dead"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("a", Some("text"));
    redis.connection().command(&["SET", &lease_key(&prefix, "a"), "of the dead", "PX", "500"]);
    assert_eq!(process.read("a").await, 1);
    eventually("somebody fills", Duration::from_secs(5), async || {
        let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
        other.read("a").await;
        exists(&mut redis.connection(), &value_key(&prefix, "a"))
    })
    .await;
}
