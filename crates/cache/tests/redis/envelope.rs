//! CA-1 and CA-9: what is stored, for how long, and what is no value of ours.

use std::sync::Arc;
use std::time::Duration;

use meshwork_cache::{Cache, CacheOptions, Loaded, Value, Wanted};
use meshwork_testkit::Redis;

use crate::server::{PATIENCE, eventually, exists, prefix, pttl, shared, value_key};
use crate::truth::{Article, Failure, Truth};
use crate::world::{Process, is_up, patient, steady, tiers};

/// Bytes that no deflation makes much smaller.
fn noise(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(17);
    (0..bytes).map(|_| random.alphanumeric()).collect()
}

#[tokio::test]
async fn ca_1_what_a_foreign_client_wrote_is_a_miss_and_is_replaced() {
    let (redis, prefix, truth) = (shared(), prefix("foreign"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let mut connection = redis.connection();
    let mut random = fastrand::Rng::with_seed(1);
    let mut texts: Vec<Vec<u8>> = [
        &b""[..],
        b"x",
        b"hello, world; I am no envelope at all",
        b"00000000000000000000",
        b"00000000000000000000\x00",
        b"00000000000000000000\x01",
        b"00000000000000000000\xff",
        b"00000000000000000000\x01\x28\xb5\x2f\xfd\x00",
        b"00000000000000000000T and more",
    ]
    .map(<[u8]>::to_vec)
    .into();
    texts.push(vec![b'0'; 1 << 20]);
    texts.extend((0..30).map(|length| (0..length * 7).map(|_| random.u8(..)).collect()));
    for (n, text) in texts.into_iter().enumerate() {
        let key = format!("k{n}");
        truth.commit(&key, Some("right"));
        connection.command(&[b"SET".as_slice(), value_key(&prefix, &key).as_bytes(), &text]);
        assert_eq!(process.read(&key).await, 1, "{text:?}");
        let loads = truth.loads();
        assert_eq!(other.read(&key).await, 1, "{text:?}");
        assert_eq!(truth.loads(), loads, "{text:?} was not replaced by the value");
    }
}

#[tokio::test]
async fn ca_1_what_looks_like_a_later_version_but_is_no_value_is_a_miss() {
    let (redis, prefix, truth) = (shared(), prefix("later"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let mut connection = redis.connection();
    for (n, rest) in ["", "T", "?", "garbage", "99999999999999999999"].into_iter().enumerate() {
        let key = format!("k{n}");
        truth.commit(&key, Some("right"));
        connection.command(&["SET", &value_key(&prefix, &key), &format!("99999999999999999999{rest}")]);
        assert_eq!(process.read(&key).await, 1, "{rest:?}");
    }
}

#[tokio::test]
async fn ca_1_a_foreign_key_of_another_type_fails_no_read() {
    let (redis, prefix, truth) = (Redis::private(&[]), prefix("types"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let mut connection = redis.connection();
    for n in 0..5 {
        let key = format!("k{n}");
        truth.commit(&key, Some("right"));
        connection.command(&["LPUSH", &value_key(&prefix, &key), "a", "b"]);
        assert_eq!(process.read(&key).await, 1);
        assert_eq!(process.write(&key, "new").await, 2);
        assert_eq!(process.read(&key).await, 2);
    }
    // Nor does it keep the cache from being used.
    process.comes_up().await;
    assert_eq!(process.tiers.stats().queued, 0);
}

/// The same kind in the next release.
#[derive(Clone)]
struct Revised(String);

impl Value for Revised {
    const KIND: &'static str = Article::KIND;
    const SCHEMA: u16 = Article::SCHEMA + 1;

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

#[tokio::test]
async fn ca_1_a_value_of_another_schema_is_a_miss() {
    let (redis, prefix, truth) = (shared(), prefix("schema"), Truth::new());
    truth.commit("a", Some("of the first release"));
    let first = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    assert_eq!(first.read("a").await, 1);

    let second = tiers(patient(redis.url(), &prefix));
    is_up(&second).await;
    let cache: Cache<Revised, Failure> = second.cache(steady());
    let load = || async {
        let value = Some(Revised("of the second release".to_owned()));
        Ok(Loaded { value, version: 1, position: None, keep: true })
    };
    let read: Arc<Revised> = cache.read("a", &[], Wanted::Recent, load).await.unwrap().unwrap();
    assert_eq!(read.0, "of the second release");
}

#[tokio::test]
async fn ca_1_lifetimes_are_jittered_by_a_tenth() {
    let (redis, prefix, truth) = (shared(), prefix("jitter"), Truth::new());
    let options = CacheOptions { ttl: Duration::from_secs(60), stale: Duration::ZERO, ..CacheOptions::default() };
    let process = Process::connected(patient(redis.url(), &prefix), options, &truth).await;
    let mut connection = redis.connection();
    let mut left = Vec::new();
    for n in 0..200 {
        let key = format!("k{n}");
        truth.commit(&key, Some("text"));
        process.read(&key).await;
        if n % 2 == 1 {
            process.write(&key, "more text").await;
        }
        left.push(pttl(&mut connection, &value_key(&prefix, &key)));
    }
    let (least, most) = (*left.iter().min().unwrap(), *left.iter().max().unwrap());
    // What has passed since is gone from the least.
    assert!((50_000..=56_500).contains(&least), "{least} ms");
    assert!((63_500..=66_100).contains(&most), "{most} ms");
}

#[tokio::test]
async fn ca_9_values_over_1_kib_are_compressed_and_come_back() {
    let (redis, prefix, truth) = (shared(), prefix("zstd"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let mut connection = redis.connection();
    for (key, text, most) in [("small", "abc".repeat(100), 500), ("big", "abc".repeat(20_000), 2_000)] {
        truth.commit(key, Some("what it was before"));
        process.read(key).await;
        process.write(key, &text).await;
        let length: usize = connection.command(&["STRLEN", &value_key(&prefix, key)]).parse().unwrap();
        assert!((1..most).contains(&length), "{key}: {length} bytes");
        let read = other.cache.read(key, &[], Wanted::Recent, truth.loader(key)).await.unwrap().unwrap();
        assert_eq!(read.text, text);
    }
    assert_eq!(truth.loads(), 2, "what was written is found in Redis");
}

#[tokio::test]
async fn ca_9_an_oversized_value_is_answered_and_stored_nowhere() {
    let (redis, prefix, truth) = (shared(), prefix("oversized"), Truth::new());
    let process = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    let text = noise(600 << 10);
    truth.commit("big", Some(&text));
    for _ in 0..2 {
        let read = process.cache.read("big", &[], Wanted::Recent, truth.loader("big")).await.unwrap().unwrap();
        assert_eq!(read.text.len(), text.len());
    }
    // The lease of the load is ended by what lives for a millisecond.
    eventually("nothing is stored", PATIENCE, async || !exists(&mut redis.connection(), &value_key(&prefix, "big")))
        .await;
    assert!(process.stats().oversized > 0);
    // A small one that grows out of the bound isn't answered from what was stored of it before.
    truth.commit("grows", Some("small"));
    assert_eq!(process.read("grows").await, 1);
    assert_eq!(process.write("grows", &text).await, 2);
    let other = Process::connected(patient(redis.url(), &prefix), steady(), &truth).await;
    assert_eq!((process.read("grows").await, other.read("grows").await), (2, 2));
}
