//! What was exchanged a moment ago, and what was refused. Credentials are known by their digests: their texts are kept nowhere.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use meshwork::server::auth::Principal;
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How long what was exchanged is used without asking again.
///
/// What is revoked ends within 5 minutes everywhere: here after these 60 s at most, and where its last token went meanwhile, to a
/// service or a stream that goes on, with that token. This was made before the revocation, lives 290 s (`users.access_token_ttl`),
/// and clocks may differ by 5 s.
const AGE: Duration = Duration::from_secs(60);
/// How long a refusal is repeated without asking again.
const REFUSED: Duration = Duration::from_secs(5);

/// The most credentials that are known at once.
const MOST: u64 = 10_000;
/// The places of refusals: each network has those of one bucket, which it may share with a few others.
const BUCKETS: usize = 1024;
const BUCKET: usize = 16;

/// The SHA-256 of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(credential: &str) -> Self {
        Self(Sha256::digest(credential).into())
    }
}

#[derive(Clone)]
struct Exchanged {
    principal: Principal,
    until: Instant,
}

/// A bounded memory of what became of credentials.
pub(super) struct ExchangeCache {
    exchanged: Cache<Fingerprint, Exchanged>,
    refused: Box<[Mutex<VecDeque<Refused>>]>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Refused {
    credential: Fingerprint,
    network: Option<IpAddr>,
    until: Instant,
}

impl Default for ExchangeCache {
    fn default() -> Self {
        Self {
            // It has a clock of its own, so that each entry says again how long it holds.
            exchanged: Cache::builder().max_capacity(MOST).time_to_live(AGE).build(),
            refused: (0..BUCKETS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl ExchangeCache {
    /// Who the credential speaks for, if that was found out a moment ago.
    pub(super) fn principal(&self, credential: Fingerprint) -> Option<Principal> {
        let exchanged = self.exchanged.get(&credential)?;
        (Instant::now() < exchanged.until).then_some(exchanged.principal)
    }

    /// Whether the credential was refused a moment ago, when it came from `network`.
    pub(super) fn is_refused(&self, credential: Fingerprint, network: Option<IpAddr>) -> bool {
        let now = Instant::now();
        let is_it = |refused: &Refused| refused.credential == credential && refused.network == network;
        self.bucket(network).iter().any(|refused| is_it(refused) && now < refused.until)
    }

    /// The credential speaks for `principal`, until `expiry` at most.
    pub(super) fn accept(&self, credential: Fingerprint, principal: Principal, expiry: SystemTime) {
        let life = expiry.duration_since(SystemTime::now()).unwrap_or_default().min(AGE);
        self.exchanged.insert(credential, Exchanged { principal, until: Instant::now() + life });
    }

    /// The credential was refused.
    pub(super) fn refuse(&self, credential: Fingerprint, network: Option<IpAddr>) {
        let mut bucket = self.bucket(network);
        if bucket.len() >= BUCKET {
            bucket.pop_front();
        }
        bucket.push_back(Refused { credential, network, until: Instant::now() + REFUSED });
    }

    fn bucket(&self, network: Option<IpAddr>) -> MutexGuard<'_, VecDeque<Refused>> {
        let at = self.hasher.hash_one(network) as usize % self.refused.len();
        // Each change behind the lock is one step.
        self.refused[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn anna() -> Principal {
        Principal::new("users/anna", ["customer"])
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_exchanged_is_known_for_a_minute_and_never_beyond_its_expiry() {
        let (cache, [long, short, over]) = (ExchangeCache::default(), ["a", "b", "c"].map(Fingerprint::of));
        cache.accept(long, anna(), SystemTime::now() + HOUR);
        cache.accept(short, anna(), SystemTime::now() + Duration::from_secs(10));
        cache.accept(over, anna(), SystemTime::now() - HOUR);
        assert_eq!(cache.principal(over), None);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(cache.principal(short), Some(anna()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.principal(short), None);
        tokio::time::advance(Duration::from_millis(49_999)).await;
        assert_eq!(cache.principal(long), Some(anna()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.principal(long), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_known_for_a_few_seconds_where_it_was_given() {
        let (cache, key) = (ExchangeCache::default(), Fingerprint::of("a"));
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|address| Some(address.parse().unwrap()));
        cache.refuse(key, here);
        assert!(cache.is_refused(key, here) && !cache.is_refused(key, there) && !cache.is_refused(key, None));
        tokio::time::advance(REFUSED).await;
        assert!(!cache.is_refused(key, here));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_has_a_few_refusals_however_many_it_gets() {
        let (cache, here) = (ExchangeCache::default(), Some("192.0.2.1".parse().unwrap()));
        let keys: Vec<_> = (0..1000).map(|at: u32| Fingerprint::of(&at.to_string())).collect();
        for key in &keys {
            cache.refuse(*key, here);
        }
        let (old, new) = keys.split_at(keys.len() - BUCKET);
        assert!(new.iter().all(|key| cache.is_refused(*key, here)));
        assert!(!old.iter().any(|key| cache.is_refused(*key, here)));
    }
}
