//! CA-2: never a blind SET or DEL; who filled slowly, or lost the lease, is refused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_cache::{Item, Lease, LinkState, Listener, Mark, RedisOptions, RedisRemote, Remote as _, Wanted};
use meshwork_testkit::Redis;

use crate::server::{Monitor, PATIENCE, eventually, exists, lease_key, prefix, pttl, shared, tag_key, value_key};
use crate::truth::{Article, Truth};
use crate::world::{Process, patient, steady};

const KIND: &str = "articles";

/// Hears what the link tells.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) keys: Mutex<Vec<(String, String)>>,
    pub(crate) tags: Mutex<Vec<String>>,
}

#[async_trait]
impl Listener for Heard {
    fn changed_key(&self, kind: &str, key: &str) {
        self.keys.lock().unwrap().push((kind.to_owned(), key.to_owned()));
    }

    fn changed_tag(&self, tag: &str) {
        self.tags.lock().unwrap().push(tag.to_owned());
    }

    fn lost(&self, _problem: &str) {}

    async fn recover(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The remote tier alone, with its link up.
pub(crate) async fn remote(options: RedisOptions) -> (Arc<RedisRemote>, Arc<Heard>) {
    let (remote, heard) = (RedisRemote::connect(options).unwrap(), Arc::new(Heard::default()));
    let listener: Arc<dyn Listener> = Arc::clone(&heard) as Arc<dyn Listener>;
    remote.attach(Arc::downgrade(&listener));
    eventually("the link is up", PATIENCE, async || remote.state() == LinkState::Up).await;
    (remote, heard)
}

fn item(version: u64, text: &str) -> Item {
    Item { version, envelope: Bytes::copy_from_slice(text.as_bytes()), ttl: Duration::from_secs(60) }
}

/// What is stored: version and envelope.
async fn stored(remote: &RedisRemote, key: &str) -> Option<(u64, String)> {
    let stored = remote.get(KIND, key).await.unwrap()?;
    let text = String::from_utf8(stored.to_vec()).unwrap();
    let (version, envelope) = text.split_at(20);
    Some((version.parse().unwrap(), envelope.to_owned()))
}

async fn lease(remote: &RedisRemote, key: &str) -> Lease {
    remote.acquire(KIND, key).await.unwrap().lease.expect("nobody else has the lease")
}

/// Stores what nobody has written through yet, as who has loaded it does.
async fn fill(remote: &RedisRemote, key: &str, item: Item) {
    let lease = lease(remote, key).await;
    assert!(remote.fill(KIND, key, &lease, item).await.unwrap());
}

#[tokio::test]
async fn ca_2_a_slow_filler_is_refused_after_a_put() {
    let (redis, prefix) = (shared(), prefix("afterput"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    fill(&remote, "there", item(1, "first")).await;
    for (key, is_there, left) in [("there", true, "second"), ("absent", false, "T")] {
        let lease = lease(&remote, key).await;
        assert_eq!(remote.put(KIND, key, item(2, "second")).await, Ok(is_there), "{key}");
        assert!(!remote.fill(KIND, key, &lease, item(1, "first")).await.unwrap());
        // Not even with what would be later: the lease is gone.
        assert!(!remote.fill(KIND, key, &lease, item(3, "third")).await.unwrap());
        assert_eq!(stored(&remote, key).await, Some((2, left.to_owned())));
    }
}

#[tokio::test]
async fn ca_2_a_put_where_nothing_lies_leaves_a_tombstone() {
    let (redis, prefix) = (shared(), prefix("putnothing"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let mut connection = redis.connection();
    fill(&remote, "evicted", item(1, "first")).await;
    assert!(remote.put(KIND, "evicted", item(4, "fourth")).await.unwrap());
    connection.command(&["DEL", &value_key(&prefix, "evicted")]);
    // What slower writers have under way is older, and nothing in Redis says so any more.
    assert!(!remote.put(KIND, "evicted", item(3, "third")).await.unwrap());
    assert!(!remote.put(KIND, "evicted", item(2, "second")).await.unwrap());
    connection.command(&["SET", &value_key(&prefix, "foreign"), "what somebody else wrote"]);
    assert!(!remote.put(KIND, "foreign", item(3, "third")).await.unwrap());
    for key in ["evicted", "foreign"] {
        assert_eq!(stored(&remote, key).await, Some((3, "T".to_owned())), "{key}");
        let left = pttl(&mut connection, &value_key(&prefix, key));
        assert!((30_000..=60_000).contains(&left), "{key}: {left} ms");
        // By a load it comes back.
        fill(&remote, key, item(4, "fourth")).await;
        assert_eq!(stored(&remote, key).await, Some((4, "fourth".to_owned())), "{key}");
    }
}

#[tokio::test]
async fn ca_2_a_slow_filler_is_refused_after_a_tombstone() {
    let (redis, prefix) = (shared(), prefix("aftertomb"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let mut connection = redis.connection();
    for (key, version, left) in [("versioned", Some(2), 2), ("unversioned", None, 0)] {
        let slow = lease(&remote, key).await;
        assert!(remote.tombstone(KIND, key, version).await.unwrap(), "{key}");
        assert!(!exists(&mut connection, &lease_key(&prefix, key)), "{key}");
        assert!(!remote.fill(KIND, key, &slow, item(1, "first")).await.unwrap(), "{key}");
        assert_eq!(stored(&remote, key).await, Some((left, "T".to_owned())));
        let left = pttl(&mut connection, &value_key(&prefix, key));
        assert!((30_000..=60_000).contains(&left), "a tombstone outlives every fill: {left} ms");
    }
    // With a new lease, but from a source that is behind.
    let late = lease(&remote, "versioned").await;
    assert!(!remote.fill(KIND, "versioned", &late, item(1, "first")).await.unwrap());
    let next = remote.acquire(KIND, "versioned").await.unwrap();
    assert_eq!(next.stored.as_deref(), Some(&b"00000000000000000002T"[..]));
    let lease = next.lease.unwrap_or(late);
    assert!(remote.fill(KIND, "versioned", &lease, item(2, "second")).await.unwrap());
    assert_eq!(stored(&remote, "versioned").await, Some((2, "second".to_owned())));
}

#[tokio::test]
async fn ca_2_a_slow_filler_is_refused_after_a_flush() {
    let (redis, prefix) = (Redis::private(&[]), prefix("afterflush"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let slow = lease(&remote, "a").await;
    assert!(remote.tombstone(KIND, "a", Some(2)).await.unwrap());
    let slower = lease(&remote, "a").await;
    redis.connection().command(&["FLUSHALL"]);
    // The tombstone is lost, and the leases with it.
    assert!(!remote.fill(KIND, "a", &slow, item(1, "first")).await.unwrap());
    assert!(!remote.fill(KIND, "a", &slower, item(1, "first")).await.unwrap());
    assert_eq!(stored(&remote, "a").await, None);
}

#[tokio::test]
async fn ca_2_only_one_filler_has_the_lease_for_three_seconds() {
    let (redis, prefix) = (shared(), prefix("lease"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let first = lease(&remote, "a").await;
    let left = pttl(&mut redis.connection(), &lease_key(&prefix, "a"));
    assert!((1..=3_000).contains(&left), "{left} ms");
    assert_eq!(remote.acquire(KIND, "a").await.unwrap().lease, None);
    assert!(!remote.fill(KIND, "a", &Lease("somebody else's".to_owned()), item(1, "theirs")).await.unwrap());
    assert!(remote.fill(KIND, "a", &first, item(1, "first")).await.unwrap());
    assert!(!exists(&mut redis.connection(), &lease_key(&prefix, "a")));
    // A lease is good for one fill.
    assert!(!remote.fill(KIND, "a", &first, item(1, "first")).await.unwrap());
    let second = remote.acquire(KIND, "a").await.unwrap();
    assert_ne!(second.lease, Some(first));
    assert_eq!(second.stored.as_deref(), Some(&b"00000000000000000001first"[..]));
}

#[tokio::test]
async fn ca_2_a_put_replaces_nothing_that_is_later() {
    let (redis, prefix) = (shared(), prefix("put"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    // Lua's numbers end at 2^53.
    for (key, low) in [("small", 9), ("big", (1 << 53) + 1), ("biggest", u64::MAX - 1)] {
        fill(&remote, key, item(low, "low")).await;
        assert!(remote.put(KIND, key, item(low + 1, "high")).await.unwrap());
        assert!(!remote.put(KIND, key, item(low, "low")).await.unwrap());
        assert_eq!(stored(&remote, key).await, Some((low + 1, "high".to_owned())));
        assert!(!remote.tombstone(KIND, key, Some(low)).await.unwrap());
        assert_eq!(stored(&remote, key).await, Some((low + 1, "high".to_owned())));
    }
    // Over a tombstone it leaves one too: what was there before, nobody remembers.
    assert!(remote.tombstone(KIND, "deleted", Some(5)).await.unwrap());
    for (version, left) in [(4, 5), (5, 5), (6, 6)] {
        assert!(!remote.put(KIND, "deleted", item(version, "text")).await.unwrap());
        assert_eq!(stored(&remote, "deleted").await, Some((left, "T".to_owned())));
    }
}

#[tokio::test]
async fn ca_2_a_tombstone_of_what_is_current_changes_nothing() {
    let (redis, prefix) = (shared(), prefix("current"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    fill(&remote, "a", item(2, "second")).await;
    let refresher = lease(&remote, "a").await;
    assert!(!remote.tombstone(KIND, "a", Some(2)).await.unwrap());
    assert!(!remote.tombstone(KIND, "a", Some(1)).await.unwrap());
    assert_eq!(stored(&remote, "a").await, Some((2, "second".to_owned())));
    // Nothing was written, so the one who refreshes goes on.
    assert!(remote.fill(KIND, "a", &refresher, item(2, "again")).await.unwrap());
    // Without a version nobody knows what is current.
    assert!(remote.tombstone(KIND, "a", None).await.unwrap());
    assert_eq!(stored(&remote, "a").await, Some((2, "T".to_owned())));
}

#[tokio::test]
async fn ca_2_a_write_through_that_is_late_is_kept_nowhere() {
    let (redis, prefix, truth) = (shared(), prefix("late"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    for (key, invalidates) in [("own", &process), ("others", &other)] {
        let late = truth.commit(key, Some("late"));
        let last = truth.commit(key, Some("last"));
        invalidates.cache.invalidate(key, Some(last)).await;
        process.cache.put(key, &[], Article { version: late, text: "late".to_owned() }, late).await;
        assert_eq!((process.read(key).await, other.read(key).await), (last, last), "{key}");
    }
}

#[tokio::test]
async fn ca_3_who_has_a_token_sees_the_write_that_nobody_invalidated_and_hits_later() {
    let (redis, prefix, truth) = (shared(), prefix("token"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("a", Some("old"));
    assert_eq!((process.read("a").await, other.read("a").await), (1, 1));
    truth.commit("a", Some("new"));
    let wanted = Wanted::AtLeast(truth.token());
    assert_eq!(process.try_read("a", wanted).await, Ok(2));
    // A position that is not above the token's is no proof: the commit may be logged and not visible yet.
    truth.advance();
    let loads = truth.loads();
    assert_eq!((other.try_read("a", wanted).await, truth.loads()), (Ok(2), loads + 1));
    assert_eq!((process.try_read("a", wanted).await, other.try_read("a", wanted).await), (Ok(2), Ok(2)));
    assert_eq!(truth.loads(), loads + 1, "what was loaded after the token is good for all who have it");
}

#[tokio::test]
async fn ca_2_nothing_is_set_or_deleted_but_by_scripts_that_compare() {
    const BLIND: [&str; 12] =
        ["SET", "SETEX", "PSETEX", "SETNX", "MSET", "GETSET", "GETDEL", "DEL", "UNLINK", "RENAME", "HSET", "INCR"];
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("blind"), Truth::new());
    let monitor = Monitor::start(&redis);
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    truth.commit("a", Some("first"));
    process.read_tagged("a", "all").await;
    process.read("absent").await;
    process.write("a", "second").await;
    process.change("a", Some("third")).await;
    process.cache.invalidate("a", None).await;
    process.tiers.invalidate_tag("all", Some("a@3")).await;
    process.tiers.invalidate_kind(KIND).await;
    process.tiers.advance("articles", Mark { partition: 0, n: 3, fingerprint: 33 }).await.unwrap();
    assert_eq!(process.read("a").await, 3);
    let commands = monitor.end(&redis);
    let scripted = commands.iter().filter(|(_, is_scripted)| *is_scripted).count();
    assert!(scripted > 10, "{commands:?}");
    let blind: Vec<_> = commands.iter().filter(|(name, by)| !by && BLIND.contains(&name.as_str())).collect();
    assert!(blind.is_empty(), "{blind:?}");
    assert!(exists(&mut redis.connection(), &tag_key(&prefix, "all")));
}
