//! What the link to Redis tells, when it gives up, and what scripts decide about leases, tags and marks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use meshwork_cache::{LinkState, Listener, Mark, RedisRemote, Remote as _};
use meshwork_testkit::Redis;
use meshwork_testkit::redis::RedisCluster;

use crate::fills::remote;
use crate::server::{PATIENCE, eventually, prefix, shared, tag_key};
use crate::world::{hasty, patient};

const KIND: &str = "articles";

/// Counts what it is told.
#[derive(Default)]
struct Counts {
    lost: AtomicUsize,
    recovered: AtomicUsize,
    forgets: AtomicUsize,
}

#[async_trait]
impl Listener for Counts {
    fn changed_key(&self, _kind: &str, _key: &str) {}

    fn changed_tag(&self, _tag: &str) {}

    fn lost(&self, _problem: &str) {
        self.lost.fetch_add(1, Ordering::SeqCst);
    }

    async fn recover(&self) -> Result<(), String> {
        Ok(())
    }

    fn recovered(&self) {
        self.recovered.fetch_add(1, Ordering::SeqCst);
    }

    fn forget(&self) {
        self.forgets.fetch_add(1, Ordering::SeqCst);
    }
}

/// The remote tier with a listener that counts.
fn counted(remote: &RedisRemote) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let listener: Arc<dyn Listener> = Arc::clone(&counts) as Arc<dyn Listener>;
    remote.attach(Arc::downgrade(&listener));
    counts
}

#[tokio::test]
async fn ca_4_a_lease_is_given_back_by_who_has_it() {
    let (redis, prefix) = (shared(), prefix("release"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let first = remote.acquire(KIND, "a").await.unwrap().lease.unwrap();
    assert!(remote.acquire(KIND, "a").await.unwrap().lease.is_none());
    remote.release(KIND, "a", &first).await.unwrap();
    let second = remote.acquire(KIND, "a").await.unwrap().lease.unwrap();
    // It is somebody else's by now.
    remote.release(KIND, "a", &first).await.unwrap();
    assert!(remote.acquire(KIND, "a").await.unwrap().lease.is_none());
    remote.release(KIND, "a", &second).await.unwrap();
    assert!(remote.acquire(KIND, "a").await.unwrap().lease.is_some());
}

#[tokio::test]
async fn ca_6_a_tag_of_older_data_never_gets_a_version_again_that_it_had() {
    let (redis, prefix) = (shared(), prefix("older"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    // The Redis of the environment may have another clock.
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - PATIENCE;
    let lost = remote.bump("t", Some("t/a@1")).await.unwrap();
    assert!(Duration::from_micros(lost) >= start, "{lost}");
    // As after the start of a server that had saved the tag long ago.
    redis.connection().command(&["SET", &tag_key(&prefix, "t"), &(lost - 1).to_string()]);
    let next = remote.bump("t", None).await.unwrap();
    assert!(next > lost, "{next} after {lost}");
    // A clock that goes back holds up nothing.
    let ahead = lost + 3_600_000_000;
    redis.connection().command(&["SET", &tag_key(&prefix, "t"), &ahead.to_string()]);
    assert_eq!(remote.bump("t", None).await.unwrap(), ahead + 1);
}

#[tokio::test]
async fn ca_3_marks_have_fingerprints_and_never_go_back_unless_they_are_reset() {
    let (redis, prefix) = (shared(), prefix("marks"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let mark = |n, fingerprint| Mark { partition: 3, n, fingerprint };
    for n in [9, 10, 7] {
        remote.advance("users", mark(n, 0xab)).await.unwrap();
    }
    // One of an earlier form, and what is no mark at all.
    redis.connection().command(&["HSET", &format!("{prefix}:m:users"), "4", "500", "x", "y"]);
    assert_eq!(remote.marks("users").await.unwrap(), [mark(10, 0xab)]);
    let fourth = Mark { partition: 4, n: 1, fingerprint: u64::MAX };
    remote.advance("users", fourth).await.unwrap();
    assert_eq!(remote.marks("users").await.unwrap(), [mark(10, 0xab), fourth]);
    remote.reset_marks("users").await.unwrap();
    assert!(remote.marks("users").await.unwrap().is_empty());
    remote.advance("users", mark(1, 0xcd)).await.unwrap();
    assert_eq!(remote.marks("users").await.unwrap(), [mark(1, 0xcd)]);
}

#[tokio::test]
async fn ca_7_it_is_told_that_the_link_is_up_each_time() {
    let redis = Redis::private(&[]);
    let remote = RedisRemote::connect(hasty(redis.url(), "told")).unwrap();
    let counts = counted(&remote);
    for times in 1..=2 {
        eventually("it is told", PATIENCE, async || counts.recovered.load(Ordering::SeqCst) >= times).await;
        assert!(counts.lost.load(Ordering::SeqCst) >= times);
        redis.connection().command(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    assert_eq!(counts.forgets.load(Ordering::SeqCst), 0, "one server forgets in order");
}

#[tokio::test]
async fn ca_7_what_a_cluster_holds_is_forgotten_when_its_slots_have_other_servers() {
    let (cluster, prefix) = (RedisCluster::start(3), prefix("moved"));
    let remote = RedisRemote::connect(patient(&cluster.url(), &prefix)).unwrap();
    let counts = counted(&remote);
    let forgets = || counts.forgets.load(Ordering::SeqCst);
    eventually("the link is up", PATIENCE, async || remote.state() == LinkState::Up).await;
    assert_eq!(forgets(), 0, "nothing was written before the first connection");
    let slot = cluster.slot(&format!("{prefix}:epoch"));
    let from = cluster.owner(slot);
    cluster.move_slot(slot, from, (from + 1) % 3);
    eventually("it is told", PATIENCE, async || forgets() > 0).await;
    eventually("the link is up again", PATIENCE, async || remote.state() == LinkState::Up).await;
}

#[tokio::test]
async fn a_client_that_has_given_up_is_replaced_by_another() {
    let redis = Redis::private(&[]);
    // The client takes it for useless to ask a server again that is no part of a cluster.
    let url = redis.url().replace("redis://", "redis-cluster://");
    let remote = RedisRemote::connect(hasty(&url, "ended")).unwrap();
    let _counts = counted(&remote);
    let given_up = || remote.problem().is_some_and(|problem| problem.contains("given up"));
    eventually("the client gives up", PATIENCE, async || given_up()).await;
    let connections = || -> u64 {
        let stats = redis.connection().command(&["INFO", "stats"]);
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.unwrap().trim().parse().unwrap()
    };
    // Each look is a connection too.
    let (before, mut looks) = (connections(), 0);
    eventually("another client connects", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        looks += 1;
        connections() > before + looks
    })
    .await;
}
