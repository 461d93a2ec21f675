//! Tokens that were verified, and tokens that are being verified at this moment.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use tokio::sync::watch;

use super::TokenError;
use super::key::Key;
use crate::server::auth::Principal;

/// So many locks the cache has, that callers seldom wait for each other.
const SHARDS: usize = 16;

/// The last characters of a token, which belong to its signature: for tokens that were verified they differ, and to hash
/// them costs less than to hash all. What is found by them is compared as a whole.
type Tail = [u8; 32];

/// What came of the verification of a token.
pub(super) type Verdict = Result<Principal, TokenError>;

/// A token that was verified.
struct Entry {
    token: Box<str>,
    principal: Principal,
    /// In seconds since 1970.
    until: u64,
    key: Arc<Key>,
}

impl Entry {
    fn holds(&self, token: &[u8], now: u64) -> bool {
        now < self.until && !self.key.is_withdrawn() && self.token.as_bytes() == token
    }
}

/// A token that is being verified, and where the verdict comes.
type Verifying = (Box<str>, watch::Receiver<Option<Verdict>>);

/// Two generations: tokens that are used move into the young one; when that is full, the old one is dropped and the young
/// one grows old. So the tokens that are used stay, at the cost of no list.
#[derive(Default)]
struct Shard {
    young: HashMap<Tail, Entry, RandomState>,
    old: HashMap<Tail, Entry, RandomState>,
    verifying: HashMap<Tail, Verifying, RandomState>,
}

impl Shard {
    fn insert(&mut self, tail: Tail, entry: Entry, most: usize) {
        if self.young.len() >= most && !self.young.contains_key(&tail) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tail, entry);
    }
}

/// A bounded map from tokens to principals.
pub(super) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    /// The size of a generation of a shard.
    generation: usize,
    hasher: RandomState,
}

/// Whose turn it is to verify a token.
pub(super) enum Turn<'a> {
    /// The asker's.
    Own(Verification<'a>),
    /// Somebody else does it already; what comes of it comes here.
    Other(watch::Receiver<Option<Verdict>>),
}

impl Cache {
    /// A cache of at most `capacity` tokens; 0 keeps none.
    pub(super) fn new(capacity: usize) -> Self {
        // A small one has fewer shards, so that it holds what it should.
        let shards = SHARDS.min(capacity / 2).max(1);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            generation: capacity / 2 / shards,
            hasher: RandomState::default(),
        }
    }

    /// The principal of a token that was verified and still holds at `now`.
    pub(super) fn get(&self, token: &[u8], now: u64) -> Option<Principal> {
        let tail = tail(token)?;
        let mut shard = self.shard(tail);
        if let Some(entry) = shard.young.get(&tail) {
            return entry.holds(token, now).then(|| entry.principal.clone());
        }
        let entry = shard.old.get(&tail).filter(|entry| entry.holds(token, now))?;
        let principal = entry.principal.clone();
        if let Some(entry) = shard.old.remove(&tail) {
            shard.insert(tail, entry, self.generation);
        }
        Some(principal)
    }

    /// Begins to verify a token, unless that is done already; `None` for what is too short to be a token.
    pub(super) fn begin(&self, token: &str) -> Option<Turn<'_>> {
        let tail = tail(token.as_bytes())?;
        let mut shard = self.shard(tail);
        if let Some((other, verdict)) = shard.verifying.get(&tail) {
            if **other == *token {
                return Some(Turn::Other(verdict.clone()));
            }
            // Another token with the same end: one of both is forged, and it does not matter who waits for whom.
            return Some(Turn::Own(Verification { cache: self, tail, verdict: None }));
        }
        let (sender, receiver) = watch::channel(None);
        shard.verifying.insert(tail, (token.into(), receiver));
        Some(Turn::Own(Verification { cache: self, tail, verdict: Some(sender) }))
    }

    /// How many tokens are kept.
    pub(super) fn len(&self) -> usize {
        let locked = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(locked).sum()
    }

    fn shard(&self, tail: Tail) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(tail) as usize % self.shards.len();
        // Each change behind the lock is one step.
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A verification under way. Dropped without a verdict, those who wait verify for themselves.
pub(super) struct Verification<'a> {
    cache: &'a Cache,
    tail: Tail,
    verdict: Option<watch::Sender<Option<Verdict>>>,
}

impl Verification<'_> {
    /// Tells the verdict to those who wait. A good token is kept until `until`, in seconds since 1970.
    pub(super) fn end(self, token: &str, verdict: Result<(Principal, u64), TokenError>, key: Arc<Key>) -> Verdict {
        let verdict = verdict.map(|(principal, until)| {
            if self.cache.generation > 0 {
                let entry = Entry { token: token.into(), principal: principal.clone(), until, key };
                self.cache.shard(self.tail).insert(self.tail, entry, self.cache.generation);
            }
            principal
        });
        if let Some(sender) = &self.verdict {
            sender.send_replace(Some(verdict.clone()));
        }
        verdict
    }
}

impl Drop for Verification<'_> {
    fn drop(&mut self) {
        if self.verdict.is_some() {
            self.cache.shard(self.tail).verifying.remove(&self.tail);
        }
    }
}

fn tail(token: &[u8]) -> Option<Tail> {
    token.last_chunk().copied()
}
