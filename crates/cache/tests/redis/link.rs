//! What the link to Redis tells, when it gives up, and what scripts decide about leases, tags and marks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use meshwork_cache::{LinkState, Listener, Mark, RedisRemote, Remote as _};
use meshwork_testkit::Redis;
use meshwork_testkit::redis::RedisCluster;

use crate::fills::remote;
use crate::server::{PATIENCE, eventually, lease_key, prefix, shared, tag_key};
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

#[tokio::test]
async fn ca_7_older_data_under_a_link_that_is_up_is_noticed_and_forgotten() {
    let (redis, prefix) = (Redis::private(&[]), "older-data");
    let epoch = format!("{prefix}:epoch");
    let beats = |text: &str| -> u64 { text.split_once(':').unwrap().1.parse().unwrap() };
    let remote = RedisRemote::connect(patient(redis.url(), prefix)).unwrap();
    let counts = counted(&remote);
    eventually("the link is up", PATIENCE, async || remote.state() == LinkState::Up).await;
    let mut connection = redis.connection();
    let older = connection.command(&["GET", &epoch]);
    eventually("it beats", PATIENCE, async || beats(&connection.command(&["GET", &epoch])) > beats(&older) + 1).await;
    let (lost, recovered) = (counts.lost.load(Ordering::SeqCst), counts.recovered.load(Ordering::SeqCst));
    // As it lies in a copy that was made then.
    connection.command(&["SET", &epoch, &older]);
    eventually("it is dropped", PATIENCE, async || counts.lost.load(Ordering::SeqCst) > lost).await;
    eventually("it is up again", PATIENCE, async || counts.recovered.load(Ordering::SeqCst) > recovered).await;
    assert_eq!(counts.forgets.load(Ordering::SeqCst), 1);
    assert!(remote.problem().unwrap().contains("older data"), "{:?}", remote.problem());
}

#[tokio::test]
async fn ca_8_strays_in_the_bookkeeping_do_not_keep_redis_from_anybody() {
    let (redis, prefix) = (shared(), prefix("strays"));
    let marks = format!("{prefix}:m:users");
    let mut connection = redis.connection();
    connection.command(&["RPUSH", &format!("{prefix}:epoch"), "x"]);
    connection.command(&["SET", &marks, "x"]);
    connection.command(&["RPUSH", &tag_key(&prefix, "t"), "x"]);
    connection.command(&["RPUSH", &format!("{prefix}:s:{{t}}:t/a@1"), "x"]);
    connection.command(&["SET", &lease_key(&prefix, "a"), "x"]);
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    assert!(remote.marks("users").await.unwrap().is_empty());
    let mark = Mark { partition: 3, n: 7, fingerprint: 1 };
    remote.advance("users", mark).await.unwrap();
    assert_eq!(remote.marks("users").await.unwrap(), [mark]);
    for stray in ["x", "99999999999999999999:0000000000000001", "007:0000000000000001", "9:1"] {
        connection.command(&["HSET", &marks, "3", stray]);
        assert!(remote.marks("users").await.unwrap().is_empty(), "{stray}");
        remote.advance("users", mark).await.unwrap();
        assert_eq!(remote.marks("users").await.unwrap(), [mark], "{stray}");
    }
    let bumped = remote.bump("t", Some("t/a@1")).await.unwrap();
    assert_eq!(remote.bump("t", Some("t/a@1")).await.unwrap(), bumped);
    assert_eq!(remote.tags(&["t".to_owned()]).await.unwrap(), [bumped]);
    assert!(remote.acquire(KIND, "a").await.unwrap().lease.is_some());
    assert!(remote.acquire(KIND, "a").await.unwrap().lease.is_none());
}

#[tokio::test]
async fn tags_and_marks_are_used_now_and_then_so_that_values_are_evicted_first() {
    let redis = Redis::private(&[]);
    let (remote, _heard) = remote(patient(redis.url(), "touched")).await;
    remote.bump("t", None).await.unwrap();
    remote.advance("users", Mark { partition: 0, n: 1, fingerprint: 1 }).await.unwrap();
    let names = [tag_key("touched", "t"), "touched:m:users".to_owned()];
    let mut connection = redis.connection();
    let mut idle =
        || names.each_ref().map(|name| -> u64 { connection.command(&["OBJECT", "IDLETIME", name]).parse().unwrap() });
    eventually("they are idle", PATIENCE, async || idle().iter().all(|seconds| *seconds >= 2)).await;
    eventually("they are used", PATIENCE, async || idle().iter().all(|seconds| *seconds < 2)).await;
}

#[tokio::test]
async fn messages_say_what_is_wrong_with_the_server_or_the_url() {
    let redis = Redis::private(&[]);
    for (url, says) in [
        ("redis://127.0.0.1:1".to_owned(), "nothing listens at 127.0.0.1:1"),
        (format!("{}/99", redis.url()), "there is no database 99"),
    ] {
        let remote = RedisRemote::connect(hasty(&url, "messages")).unwrap();
        let _counts = counted(&remote);
        let is_said = || remote.problem().is_some_and(|problem| problem.contains(says));
        eventually(says, PATIENCE, async || is_said()).await;
        // What isn't answered meanwhile is no better reason.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(is_said(), "{:?}", remote.problem());
    }
}
