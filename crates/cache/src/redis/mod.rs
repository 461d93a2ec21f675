//! The remote tier in Redis, or in a server that speaks its protocol: values, leases, tags and marks, each changed by a
//! script, on one connection that is looked after (CA-2, CA-6, CA-7).

mod commands;
mod connection;
mod epoch;
mod events;
mod failures;
mod health;
mod keys;
mod link;
mod options;
mod pace;
mod place;
mod scripts;
mod tracking;
mod used;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;
use futures_util::future::try_join_all;
use tokio_util::task::AbortOnDropHandle;

pub use self::options::{InvalidRedis, RedisOptions};

use self::commands::Commands;
use self::connection::Subscriptions;
use self::failures::Failure;
use self::health::Health;
use self::link::Link;
use self::scripts::Script;
use crate::remote::{Acquired, Item, Lease, LinkState, Listener, Mark, Remote, Stored, Unreachable};

/// A filler may take so long (CA-2).
const LEASE: Duration = Duration::from_secs(3);
/// A tombstone outlives every filler that may hold an older version (CA-2).
const TOMBSTONE: Duration = Duration::from_secs(60);
/// The same cause bumps a tag once in this time.
const CAUSE: Duration = Duration::from_secs(60);
/// A tag that nobody bumps for so long begins anew, which invalidates what carries it once more. Nothing is stored longer.
const TAG: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The remote tier in Redis. Its connection and its task end with it.
pub struct RedisRemote {
    commands: Arc<Commands>,
    health: Arc<Health>,
    subscriptions: Mutex<Option<Subscriptions>>,
    link: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl RedisRemote {
    /// Connects in the background; a Redis that isn't there yet is waited for, and meanwhile the cache works without. It
    /// wants a runtime.
    ///
    /// # Errors
    /// When the URL is none of a Redis.
    pub fn connect(options: RedisOptions) -> Result<Arc<Self>, InvalidRedis> {
        let (commands, subscriptions) = Commands::connect(&options)?;
        Ok(Arc::new(Self {
            commands,
            health: Arc::new(Health::new()),
            subscriptions: Mutex::new(Some(subscriptions)),
            link: Mutex::default(),
        }))
    }

    /// Whether commands may be sent, and whether they may take longer, since nobody's answer waits for them.
    fn may_send(&self) -> Result<bool, Unreachable> {
        match self.health.state() {
            LinkState::Up => Ok(false),
            LinkState::CatchingUp => Ok(true),
            LinkState::Down => {
                let problem = self.health.problem().unwrap_or_else(|| "there was no sign of life from it".to_owned());
                Err(Unreachable(format!("Redis was not asked: {problem}")))
            }
        }
    }

    /// Takes note of how something went that is not repeated.
    fn noted<T>(&self, result: Result<T, Failure>) -> Result<T, Unreachable> {
        match result {
            Ok(answer) => {
                self.health.read_succeeded();
                Ok(answer)
            }
            Err(failure) => {
                self.health.read_failed(&failure);
                Err(Unreachable(failure.sentence))
            }
        }
    }

    /// Runs a script whose write must not be lost: who asked distrusts the link when it is.
    async fn write(&self, script: &Script, names: Vec<String>, arguments: Vec<Value>) -> Result<Value, Unreachable> {
        self.may_send()?;
        // What must be written may take a while: it costs the link when it isn't.
        self.commands.run(script, names, arguments, true).await.map_err(|failure| self.unwritten(failure))
    }

    fn unwritten(&self, failure: Failure) -> Unreachable {
        self.health.refused(&failure);
        Unreachable(failure.sentence)
    }

    /// As [`RedisRemote::write`], for one that says whether it has written.
    async fn decide(&self, script: &Script, names: Vec<String>, arguments: Vec<Value>) -> Result<bool, Unreachable> {
        self.write(script, names, arguments).await.map(|answer| answer.as_i64() == Some(1))
    }

    fn value_and_lease(&self, kind: &str, key: &str) -> Vec<String> {
        vec![self.commands.keys.value(kind, key), self.commands.keys.lease(kind, key)]
    }
}

#[async_trait]
impl Remote for RedisRemote {
    fn attach(&self, listener: Weak<dyn Listener>) {
        let subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (true, Some(subscriptions)) = (self.health.tell(listener), subscriptions) else {
            tracing::error!(
                "cache: a RedisRemote serves one cache, and this one has one; connect another for the second"
            );
            return;
        };
        let link = Link::new(Arc::clone(&self.commands), Arc::clone(&self.health), subscriptions);
        let link = AbortOnDropHandle::new(tokio::spawn(link.run()));
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    }

    fn state(&self) -> LinkState {
        self.health.state()
    }

    fn is_tracking(&self) -> bool {
        !self.commands.is_clustered && self.health.state() == LinkState::Up
    }

    fn problem(&self) -> Option<String> {
        self.health.problem()
    }

    fn distrust(&self, problem: &str) {
        self.health.distrust(problem);
    }

    async fn get(&self, kind: &str, key: &str) -> Result<Option<Stored>, Unreachable> {
        let patiently = self.may_send()?;
        let name = self.commands.keys.value(kind, key);
        self.noted(self.commands.get(name, patiently).await)
    }

    async fn acquire(&self, kind: &str, key: &str) -> Result<Acquired, Unreachable> {
        let patiently = self.may_send()?;
        let token = format!("{:032x}", fastrand::u128(..));
        let arguments = vec![Value::from(token.as_str()), milliseconds(LEASE)];
        let names = self.value_and_lease(kind, key);
        let answer = self.commands.run(&scripts::ACQUIRE, names, arguments, patiently).await;
        if answer.is_err() {
            // It may have been given all the same. A late answer comes before that of this.
            let (commands, names) = (Arc::clone(&self.commands), vec![self.commands.keys.lease(kind, key)]);
            let arguments = vec![Value::from(token.as_str())];
            tokio::spawn(async move { commands.run(&scripts::RELEASE, names, arguments, true).await.ok() });
        }
        self.noted(answer.and_then(|answer| acquired(answer, token)))
    }

    async fn fill(&self, kind: &str, key: &str, lease: &Lease, item: Item) -> Result<bool, Unreachable> {
        // Readers wait for it, and it may fail.
        let patiently = self.may_send()?;
        let arguments = vec![Value::from(&lease.0), text(&item), milliseconds(item.ttl)];
        let filled = self.commands.run(&scripts::FILL, self.value_and_lease(kind, key), arguments, patiently).await;
        filled.map(|answer| answer.as_i64() == Some(1)).map_err(|failure| self.unwritten(failure))
    }

    /// A lease that isn't given back ends by itself soon.
    async fn release(&self, kind: &str, key: &str, lease: &Lease) -> Result<(), Unreachable> {
        let patiently = self.may_send()?;
        let (names, arguments) = (vec![self.commands.keys.lease(kind, key)], vec![Value::from(&lease.0)]);
        self.noted(self.commands.run(&scripts::RELEASE, names, arguments, patiently).await).map(drop)
    }

    async fn put(&self, kind: &str, key: &str, item: Item) -> Result<bool, Unreachable> {
        let arguments = vec![text(&item), milliseconds(item.ttl), milliseconds(TOMBSTONE)];
        self.decide(&scripts::PUT, self.value_and_lease(kind, key), arguments).await
    }

    async fn tombstone(&self, kind: &str, key: &str, version: Option<u64>) -> Result<bool, Unreachable> {
        let version = version.map(digits).unwrap_or_default();
        let arguments = vec![Value::from(version), milliseconds(TOMBSTONE)];
        self.decide(&scripts::TOMBSTONE, self.value_and_lease(kind, key), arguments).await
    }

    async fn tags(&self, tags: &[String]) -> Result<Vec<u64>, Unreachable> {
        if tags.is_empty() {
            return Ok(Vec::new());
        }
        let patiently = self.may_send()?;
        let names: Vec<String> = tags.iter().map(|tag| self.commands.keys.tag(tag)).collect();
        self.commands.used.note(&names);
        // Tags of a cluster are in different slots, which no script sees at once.
        let each = if self.commands.is_clustered { 1 } else { names.len() };
        let runs: Vec<_> = names
            .chunks(each)
            .map(|names| self.commands.run(&scripts::TAGS, names.to_vec(), vec![milliseconds(TAG)], patiently))
            .collect();
        let answer = try_join_all(runs).await.and_then(|answers| versions(answers, tags.len()));
        self.noted(answer)
    }

    async fn bump(&self, tag: &str, cause: Option<&str>) -> Result<u64, Unreachable> {
        let keys = &self.commands.keys;
        let mut names = vec![keys.tag(tag)];
        self.commands.used.note(&names);
        names.extend(cause.map(|cause| keys.cause(tag, cause)));
        let answer = self.write(&scripts::BUMP, names, vec![milliseconds(TAG), milliseconds(CAUSE)]).await?;
        answer.as_u64().ok_or_else(|| Unreachable(Failure::unexpected("the bump of a tag").sentence))
    }

    async fn marks(&self, source: &str) -> Result<Vec<Mark>, Unreachable> {
        let patiently = self.may_send()?;
        let name = self.commands.keys.marks(source);
        self.commands.used.note(std::slice::from_ref(&name));
        let fields = self.noted(self.commands.fields(name, patiently).await)?;
        let mut marks: Vec<Mark> = fields.iter().filter_map(|(partition, text)| mark(partition, text)).collect();
        marks.sort_unstable_by_key(|mark| mark.partition);
        Ok(marks)
    }

    /// A negative position is before everything, as no mark is.
    async fn advance(&self, source: &str, mark: Mark) -> Result<(), Unreachable> {
        if mark.n < 0 {
            return Ok(());
        }
        let words = [mark.partition.to_string(), mark.n.to_string(), format!("{:016x}", mark.fingerprint)];
        let arguments = Vec::from(words.map(Value::from));
        let names = vec![self.commands.keys.marks(source)];
        self.commands.used.note(&names);
        self.write(&scripts::ADVANCE, names, arguments).await.map(drop)
    }

    async fn reset_marks(&self, source: &str) -> Result<(), Unreachable> {
        let patiently = self.may_send()?;
        let name = self.commands.keys.marks(source);
        self.commands.delete(name, patiently).await.map_err(|failure| self.unwritten(failure))
    }
}

impl fmt::Debug for RedisRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRemote").field("state", &self.health.state()).finish_non_exhaustive()
    }
}

/// A version that compares as text (CA-2): Lua's numbers are exact up to 2^53 only.
fn digits(version: u64) -> String {
    format!("{version:020}")
}

/// What is stored: the version, and then the envelope.
fn text(item: &Item) -> Value {
    let mut text = Vec::with_capacity(20 + item.envelope.len());
    text.extend_from_slice(digits(item.version).as_bytes());
    text.extend_from_slice(&item.envelope);
    Value::Bytes(text.into())
}

fn milliseconds(life: Duration) -> Value {
    let life = life.min(TAG).as_millis();
    Value::Integer(i64::try_from(life).unwrap_or(i64::MAX).max(1))
}

fn acquired(answer: Value, token: String) -> Result<Acquired, Failure> {
    let mut parts = answer.into_array().into_iter();
    let is_given = match parts.next().and_then(|given| given.as_i64()) {
        Some(given) => given == 1,
        None => return Err(Failure::unexpected("the request of a lease")),
    };
    let stored = parts.next().filter(|stored| !stored.is_null()).and_then(Value::into_bytes);
    Ok(Acquired { lease: is_given.then_some(Lease(token)), stored })
}

/// The versions of so many tags.
fn versions(answers: Vec<Value>, count: usize) -> Result<Vec<u64>, Failure> {
    let versions: Option<Vec<u64>> =
        answers.into_iter().flat_map(Value::into_array).map(|version| version.as_u64()).collect();
    versions.filter(|versions| versions.len() == count).ok_or_else(|| Failure::unexpected("the versions of tags"))
}

/// The mark in a field of a hash, `N:FINGERPRINT` with 16 hex digits, as the script takes it for one too. Anything else is
/// none, such as one of an earlier form, which has no fingerprint.
fn mark(partition: &[u8], text: &[u8]) -> Option<Mark> {
    let (n, fingerprint) = std::str::from_utf8(text).ok()?.split_once(':')?;
    let is_position = n.bytes().all(|byte| byte.is_ascii_digit()) && (n == "0" || !n.starts_with('0'));
    let is_fingerprint = fingerprint.len() == 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_position || !is_fingerprint {
        return None;
    }
    let partition = std::str::from_utf8(partition).ok()?.parse().ok()?;
    Some(Mark { partition, n: n.parse().ok()?, fingerprint: u64::from_str_radix(fingerprint, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_3_a_mark_without_a_fingerprint_is_none() {
        let fingerprint = 0x00ab_cdef_0123_4567;
        assert_eq!(mark(b"3", b"17:00abcdef01234567"), Some(Mark { partition: 3, n: 17, fingerprint }));
        let last = Mark { partition: u16::MAX, n: i64::MAX, fingerprint: u64::MAX };
        assert_eq!(mark(b"65535", format!("{}:{:016x}", i64::MAX, u64::MAX).as_bytes()), Some(last));
        for n in ["", "x", "-1", "+1", "007", "9223372036854775808"] {
            assert_eq!(mark(b"3", format!("{n}:00abcdef01234567").as_bytes()), None, "{n}");
        }
        for text in ["17", "17:", "17:abc", "17:+0abcdef01234567", "\u{fc}"] {
            assert_eq!(mark(b"3", text.as_bytes()), None, "{text}");
        }
        assert_eq!(mark(b"3", &[0xff, b':']), None);
        for partition in [b"65536".as_slice(), b"x", b"", &[0xff]] {
            assert_eq!(mark(partition, b"17:00abcdef01234567"), None);
        }
    }

    #[test]
    fn ca_2_versions_compare_as_text() {
        let versions = [0, 1, 9, 10, 99, 1 << 53, (1 << 53) + 1, u64::MAX - 1, u64::MAX];
        assert!(versions.map(digits).is_sorted());
        assert!(versions.map(digits).iter().all(|text| text.len() == 20));
    }

    #[test]
    fn what_is_stored_begins_with_its_version() {
        let item = Item { version: 7, envelope: "envelope".into(), ttl: Duration::from_secs(1) };
        assert_eq!(text(&item), Value::Bytes("00000000000000000007envelope".into()));
    }

    #[test]
    fn every_life_is_one_that_redis_takes() {
        assert_eq!(milliseconds(Duration::ZERO), Value::Integer(1));
        assert_eq!(milliseconds(LEASE), Value::Integer(3000));
        assert_eq!(milliseconds(Duration::MAX), milliseconds(TAG));
    }

    #[test]
    fn answers_of_scripts_are_checked() {
        let stored = Value::Bytes("00000000000000000007T".into());
        let given = acquired(Value::Array(vec![Value::Integer(1), stored.clone()]), "token".to_owned()).unwrap();
        assert_eq!(given.lease, Some(Lease("token".to_owned())));
        assert_eq!(given.stored, stored.into_bytes());
        let refused = acquired(Value::Array(vec![Value::Integer(0), Value::Null]), "token".to_owned()).unwrap();
        assert!(refused.lease.is_none() && refused.stored.is_none());
        assert!(acquired(Value::Null, "token".to_owned()).is_err());
        let two = vec![Value::Array(vec![Value::Integer(1)]), Value::Integer(2)];
        assert_eq!(versions(two.clone(), 2), Ok(vec![1, 2]));
        assert!(versions(two, 3).is_err());
        assert!(versions(vec![Value::Array(vec![Value::Null])], 1).is_err());
    }
}
