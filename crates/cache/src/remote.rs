//! The seam to the remote tier: what it must do, and what it tells.

use std::sync::Weak;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// What lies at a key: the version as 20 decimal digits, which a script compares as text, then the bytes of an envelope.
pub type Stored = Bytes;

/// The remote tier did not answer, or refused. What was asked may have been done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// The right to fill a key, for 3 s: an invalidation takes it away (CA-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease(pub String);

/// The answer to [`Remote::acquire`].
#[derive(Clone, Debug)]
pub struct Acquired {
    /// The lease; `None` while somebody else has it.
    pub lease: Option<Lease>,
    /// What lies at the key at that moment.
    pub stored: Option<Stored>,
}

/// What is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The version, by which writes are ordered.
    pub version: u64,
    /// The bytes that follow the version.
    pub envelope: Bytes,
    /// After which time the remote tier forgets it.
    pub ttl: Duration,
}

/// How far what a partition of a source has committed was surely invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which partition.
    pub partition: u16,
    /// The number of the last event that was.
    pub n: i64,
    /// Of that event's content: a source whose history was changed has another event, or none, of that number.
    pub fingerprint: u64,
}

/// How the remote tier is linked to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It isn't used: it doesn't answer, or something that must have been written was not.
    Down,
    /// It answers, and is brought up to what has been committed; it isn't read from yet.
    CatchingUp,
    /// It is read from and written to.
    Up,
}

/// A remote tier, such as Redis. All methods answer within a bound of their own.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// Begins to look after the link; called once. The listener is held weakly.
    fn attach(&self, listener: Weak<dyn Listener>);

    /// How the link is now.
    fn state(&self) -> LinkState;

    /// Whether changes by others are told, so that the local tier may hold entries for longer than 1 s (CA-7). Only ever true
    /// while the link is up.
    fn is_tracking(&self) -> bool;

    /// The last reason why the link was not up, for people; `None` if there was none.
    fn problem(&self) -> Option<String>;

    /// Something that must have been written was not: no reads until [`Listener::recover`] went well once more.
    fn distrust(&self, problem: &str);

    /// What lies at a key.
    async fn get(&self, kind: &str, key: &str) -> Result<Option<Stored>, Unreachable>;

    /// Asks for the lease of a key (CA-4), and what lies there.
    async fn acquire(&self, kind: &str, key: &str) -> Result<Acquired, Unreachable>;

    /// Stores what was loaded under a lease, and ends the lease. `false`: refused, since the lease was lost or a higher version is
    /// there (CA-2).
    async fn fill(&self, kind: &str, key: &str, lease: &Lease, item: Item) -> Result<bool, Unreachable>;

    /// Gives a lease back, if it still is this one's: the load has failed, and others need not wait for it.
    async fn release(&self, kind: &str, key: &str, lease: &Lease) -> Result<(), Unreachable>;

    /// Stores what was committed over something that isn't of a higher version, and ends the lease. `false`: refused. Where
    /// nothing is, a tombstone of its version is written instead: nobody remembers there what a slow writer must not replace,
    /// and the first load brings the value in.
    async fn put(&self, kind: &str, key: &str, item: Item) -> Result<bool, Unreachable>;

    /// Replaces what is older than `version` by a tombstone for 60 s, and ends the lease (CA-2). Without a version: whatever lies
    /// there. `false`: what lies there is current.
    async fn tombstone(&self, kind: &str, key: &str, version: Option<u64>) -> Result<bool, Unreachable>;

    /// The versions of tags, in their order (CA-6).
    async fn tags(&self, tags: &[String]) -> Result<Vec<u64>, Unreachable>;

    /// Gives a tag a new version, unless the same `cause` has done so within 60 s. Returns the version, which is no lower than the
    /// server's time in µs: one that was lost with the server's data doesn't come again.
    async fn bump(&self, tag: &str, cause: Option<&str>) -> Result<u64, Unreachable>;

    /// How far what a source has committed was surely invalidated, by partition. A mark without a fingerprint, of an earlier
    /// release, counts as none.
    async fn marks(&self, source: &str) -> Result<Vec<Mark>, Unreachable>;

    /// Raises a mark; it never goes back.
    async fn advance(&self, source: &str, mark: Mark) -> Result<(), Unreachable>;

    /// Deletes all marks of a source, whose history is another one now.
    async fn reset_marks(&self, source: &str) -> Result<(), Unreachable>;
}

/// Is told by a [`Remote`] what happens there.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// Somebody else has written a key.
    fn changed_key(&self, kind: &str, key: &str);

    /// Somebody else has given a tag a new version.
    fn changed_tag(&self, tag: &str);

    /// Changes may have been missed: the local tier must be dropped.
    fn lost(&self, problem: &str);

    /// Brings the remote tier up to what has been committed.
    ///
    /// # Errors
    /// A sentence; it must be tried again later, and nothing be read until then.
    async fn recover(&self) -> Result<(), String>;

    /// The link is up: [`recover`](Self::recover) went well, and the remote tier is read from. Called right after.
    fn recovered(&self) {}

    /// What lies in the remote tier may be older than what was known of it, such as after a failover within a cluster, or where
    /// other data was put under a live server: the next [`recover`](Self::recover) must drop it all.
    fn forget(&self) {}
}
