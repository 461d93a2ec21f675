//! Remote tiers with the usual mistakes, which the suite must find.

use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use meshwork_cache::{Acquired, Item, Lease, LinkState, Listener, Mark, RedisRemote, Remote, Stored, Unreachable};
use meshwork_testkit::Redis;
use meshwork_testkit::redis::Connection;

use crate::server::value_key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An invalidation is a DEL, a write-through is a SET.
    DelOnly,
    /// A fill compares versions, but needs no lease.
    NoLease,
    /// A write-through compares versions, and stores its value also where nothing lies.
    PutsOnNothing,
}

/// Stores what has no lower version than what is there, or where nothing is.
const COMPARE_AND_SET: &str = "if redis.call('GETRANGE', KEYS[1], 0, 19) > string.sub(ARGV[1], 1, 20) then return 0 end \
                               redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1";

/// A remote tier with one fault.
pub(crate) struct Mutant {
    inner: Arc<RedisRemote>,
    raw: Mutex<Connection>,
    prefix: String,
    fault: Fault,
}

impl Mutant {
    pub(crate) fn new(inner: Arc<RedisRemote>, redis: &Redis, prefix: String, fault: Fault) -> Self {
        Self { inner, raw: Mutex::new(redis.connection()), prefix, fault }
    }

    /// Stores an item by its version alone, whoever asks.
    fn compare_and_set(&self, key: &str, item: &Item) -> bool {
        let (stored, ttl) = (text(item), item.ttl.as_millis().to_string());
        let value_key = value_key(&self.prefix, key);
        let parts =
            [b"EVAL".as_slice(), COMPARE_AND_SET.as_bytes(), b"1", value_key.as_bytes(), &stored, ttl.as_bytes()];
        self.raw.lock().unwrap().command(&parts) == "1"
    }
}

/// What lies at a key: the version, and the envelope.
fn text(item: &Item) -> Vec<u8> {
    [format!("{:020}", item.version).as_bytes(), &item.envelope[..]].concat()
}

#[async_trait]
impl Remote for Mutant {
    fn attach(&self, listener: Weak<dyn Listener>) {
        self.inner.attach(listener);
    }

    fn state(&self) -> LinkState {
        self.inner.state()
    }

    fn is_tracking(&self) -> bool {
        self.inner.is_tracking()
    }

    fn problem(&self) -> Option<String> {
        self.inner.problem()
    }

    fn distrust(&self, problem: &str) {
        self.inner.distrust(problem);
    }

    async fn get(&self, kind: &str, key: &str) -> Result<Option<Stored>, Unreachable> {
        self.inner.get(kind, key).await
    }

    async fn acquire(&self, kind: &str, key: &str) -> Result<Acquired, Unreachable> {
        if self.fault == Fault::NoLease {
            let stored = self.inner.get(kind, key).await?;
            return Ok(Acquired { lease: Some(Lease("everybody's".to_owned())), stored });
        }
        self.inner.acquire(kind, key).await
    }

    async fn fill(&self, kind: &str, key: &str, lease: &Lease, item: Item) -> Result<bool, Unreachable> {
        if self.fault == Fault::NoLease {
            return Ok(self.compare_and_set(key, &item));
        }
        self.inner.fill(kind, key, lease, item).await
    }

    async fn put(&self, kind: &str, key: &str, item: Item) -> Result<bool, Unreachable> {
        match self.fault {
            Fault::DelOnly => {
                let (stored, ttl) = (text(&item), item.ttl.as_millis().to_string());
                let value_key = value_key(&self.prefix, key);
                let command = [b"SET".as_slice(), value_key.as_bytes(), &stored, b"PX", ttl.as_bytes()];
                self.raw.lock().unwrap().command(&command);
                Ok(true)
            }
            Fault::PutsOnNothing => Ok(self.compare_and_set(key, &item)),
            Fault::NoLease => self.inner.put(kind, key, item).await,
        }
    }

    async fn release(&self, kind: &str, key: &str, lease: &Lease) -> Result<(), Unreachable> {
        self.inner.release(kind, key, lease).await
    }

    async fn tombstone(&self, kind: &str, key: &str, version: Option<u64>) -> Result<bool, Unreachable> {
        if self.fault == Fault::DelOnly {
            self.raw.lock().unwrap().command(&["DEL", &value_key(&self.prefix, key)]);
            return Ok(true);
        }
        self.inner.tombstone(kind, key, version).await
    }

    async fn tags(&self, tags: &[String]) -> Result<Vec<u64>, Unreachable> {
        self.inner.tags(tags).await
    }

    async fn bump(&self, tag: &str, cause: Option<&str>) -> Result<u64, Unreachable> {
        self.inner.bump(tag, cause).await
    }

    async fn marks(&self, source: &str) -> Result<Vec<Mark>, Unreachable> {
        self.inner.marks(source).await
    }

    async fn advance(&self, source: &str, mark: Mark) -> Result<(), Unreachable> {
        self.inner.advance(source, mark).await
    }

    async fn reset_marks(&self, source: &str) -> Result<(), Unreachable> {
        self.inner.reset_marks(source).await
    }
}
