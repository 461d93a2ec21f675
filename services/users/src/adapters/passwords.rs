//! Hashing of passwords: argon2id, few at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, Params};
use async_trait::async_trait;
use meshwork_chassis::config::Secret;

use super::turns::{TurnLimits, Turns};
use crate::domain::{PasswordHash, normalize_password};
use crate::ports::{HashError, Lane, PasswordHasher};

/// A slow hash function, called from threads that may block.
pub trait HashFunction: Send + Sync + 'static {
    /// The hash of a password with a new salt, as a PHC string.
    ///
    /// # Errors
    /// What went wrong; never the password.
    fn hash(&self, password: &str) -> Result<String, String>;

    /// Whether the password is the one of a hash.
    ///
    /// # Errors
    /// What is wrong with the hash; never the password.
    fn verify(&self, password: &str, phc: &str) -> Result<bool, String>;
}

/// argon2id, one lane. The default parameters are those that OWASP advises: 19 MiB, two passes.
#[derive(Clone, Debug, Default)]
pub struct Argon2id(Argon2<'static>);

impl Argon2id {
    /// Makes new hashes with so much memory and so many passes. Each hash that there is says by which it was made, and is
    /// verified by these.
    ///
    /// # Errors
    /// What argon2 has against them.
    pub fn new(memory_kib: u32, passes: u32) -> Result<Self, String> {
        let params = Params::new(memory_kib, passes, 1, None).map_err(|error| error.to_string())?;
        Ok(Self(Argon2::from(params)))
    }
}

impl HashFunction for Argon2id {
    fn hash(&self, password: &str) -> Result<String, String> {
        let hash: Phc = self.0.hash_password(password.as_bytes()).map_err(|error| error.to_string())?;
        Ok(hash.to_string())
    }

    fn verify(&self, password: &str, phc: &str) -> Result<bool, String> {
        let hash = Phc::new(phc).map_err(|error| format!("a stored hash is damaged: {error}"))?;
        match self.0.verify_password(password.as_bytes(), &hash) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// How many passwords are hashed at once, and who waits.
#[derive(Clone, Copy, Debug)]
pub struct HashLimits {
    /// How many are hashed at once. Those of services have one more place, for themselves.
    pub at_once: usize,
    /// How many may wait for callers at one address.
    pub waiting_per_address: usize,
    /// How many may wait altogether.
    pub waiting: usize,
    /// How long one waits for its turn.
    pub patience: Duration,
}

/// Calls a hash function few times at once, so that sign-ins can take neither all cores nor all memory; the lanes in turn, so
/// that one address can't have all of it.
pub struct BoundedHasher<F> {
    function: Arc<F>,
    turns: Turns,
    patience: Duration,
}

impl<F: HashFunction> BoundedHasher<F> {
    /// Bounds a hash function.
    pub fn new(function: F, limits: HashLimits) -> Self {
        let HashLimits { at_once, waiting_per_address, waiting, patience } = limits;
        let turns = Turns::new(TurnLimits { places: at_once, waiting_per_lane: waiting_per_address, waiting });
        Self { function: Arc::new(function), turns, patience }
    }

    /// Does `work` when it is its turn.
    async fn run<T, W>(&self, lane: &Lane, work: W) -> Result<T, HashError>
    where
        T: Send + 'static,
        W: FnOnce(&F) -> Result<T, String> + Send + 'static,
    {
        let turn = self.turns.next(lane, self.patience).await.ok_or(HashError::Busy)?;
        let function = self.function.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&function);
            // The turn ends with the work: a caller who has gone doesn't stop the thread.
            drop(turn);
            result
        });
        match done.await {
            Ok(result) => result.map_err(HashError::Failed),
            Err(error) => Err(HashError::Failed(error.to_string())),
        }
    }
}

#[async_trait]
impl<F: HashFunction> PasswordHasher for BoundedHasher<F> {
    async fn hash(&self, password: &Secret, lane: &Lane) -> Result<PasswordHash, HashError> {
        let password = password.clone();
        let hashed = self.run(lane, move |function| function.hash(&normalize_password(password.expose())));
        hashed.await.map(PasswordHash::new)
    }

    async fn verify(&self, password: &Secret, hash: Option<&PasswordHash>, lane: &Lane) -> Result<bool, HashError> {
        let (password, hash) = (password.clone(), hash.cloned());
        self.run(lane, move |function| {
            let typed = password.expose();
            let password = normalize_password(typed);
            let is_right = |password: &str| match &hash {
                Some(hash) => function.verify(password, hash.as_str()),
                // To verify is to hash and compare, so that this takes as long.
                None => function.hash(password).map(|_| false),
            };
            // Earlier releases have hashed what was typed. Whether there is an account makes no difference to how often is hashed.
            Ok(is_right(&password)? || (password != typed && is_right(typed)?))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// The longest that anything here may take.
    const BOUND: Duration = Duration::from_secs(10);

    fn limits(patience: Duration) -> HashLimits {
        HashLimits { at_once: 2, waiting_per_address: 16, waiting: 512, patience }
    }

    fn lane() -> Lane {
        Lane::Address("192.0.2.1".into())
    }

    #[test]
    fn argon2id_knows_its_passwords() {
        let argon2id = Argon2id::default();
        let hash = argon2id.hash("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, argon2id.hash("correct horse").unwrap(), "the salt is new each time");
        assert_eq!(argon2id.verify("correct horse", &hash), Ok(true));
        assert_eq!(argon2id.verify("correct horsf", &hash), Ok(false));
        assert!(argon2id.verify("correct horse", "garbage").is_err());
    }

    #[test]
    fn a_hash_made_by_other_parameters_is_verified_by_these() {
        let (before, today) = (Argon2id::new(64, 1).unwrap(), Argon2id::new(128, 2).unwrap());
        let hash = before.hash("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert_eq!(today.verify("correct horse", &hash), Ok(true));
        assert_eq!(today.verify("correct horsf", &hash), Ok(false));
        assert!(Argon2id::new(1, 1).is_err() && Argon2id::new(64, 0).is_err());
    }

    #[tokio::test]
    async fn d6_a_password_is_known_however_it_is_typed_and_as_earlier_releases_have_hashed_it() {
        let hasher = BoundedHasher::new(Argon2id::default(), limits(BOUND));
        let (composed, typed) = (Secret::new("jörg and I"), Secret::new("jo\u{308}rg\u{a0}and I"));
        let hash = hasher.hash(&typed, &lane()).await.unwrap();
        for password in [&composed, &typed] {
            assert!(hasher.verify(password, Some(&hash), &lane()).await.unwrap());
            assert!(!hasher.verify(password, None, &lane()).await.unwrap());
        }
        let old = PasswordHash::new(Argon2id::default().hash(typed.expose()).unwrap());
        assert!(hasher.verify(&typed, Some(&old), &lane()).await.unwrap());
        assert!(!hasher.verify(&composed, Some(&old), &lane()).await.unwrap());
    }

    /// Counts its callers and keeps each until it is let go.
    struct Counting {
        inside: AtomicUsize,
        most: AtomicUsize,
        calls: AtomicUsize,
        entered: Sender<()>,
        leave: Mutex<Receiver<()>>,
    }

    impl Counting {
        fn new() -> (Self, Receiver<()>, Sender<()>) {
            let ((entered, entries), (let_go, leave)) = (channel(), channel());
            let counters = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            let (inside, most, calls) = counters;
            (Self { inside, most, calls, entered, leave: Mutex::new(leave) }, entries, let_go)
        }
    }

    impl HashFunction for Counting {
        fn hash(&self, _: &str) -> Result<String, String> {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(inside, Ordering::SeqCst);
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.entered.send(()).unwrap();
            self.leave.lock().unwrap().recv_timeout(BOUND).unwrap();
            self.inside.fetch_sub(1, Ordering::SeqCst);
            Ok("$x".to_owned())
        }

        fn verify(&self, password: &str, _: &str) -> Result<bool, String> {
            self.hash(password).map(|_| true)
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn two_are_hashed_at_once_and_the_others_wait() {
        let (function, entries, let_go) = Counting::new();
        let hasher = Arc::new(BoundedHasher::new(function, limits(Duration::from_secs(60))));
        let callers: Vec<_> = (0..10)
            .map(|n| {
                let hasher = hasher.clone();
                tokio::spawn(async move {
                    let password = Secret::new("password");
                    match n % 3 {
                        0 => hasher.hash(&password, &lane()).await.map(|_| ()),
                        1 => hasher.verify(&password, None, &lane()).await.map(|_| ()),
                        _ => hasher.verify(&password, Some(&PasswordHash::new("$x")), &lane()).await.map(|_| ()),
                    }
                })
            })
            .collect();
        tokio::task::spawn_blocking(move || {
            entries.recv_timeout(BOUND).unwrap();
            for _ in 1..10 {
                // Two are inside before one is let go.
                entries.recv_timeout(BOUND).unwrap();
                let_go.send(()).unwrap();
            }
            let_go.send(()).unwrap();
        })
        .await
        .unwrap();
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
        assert_eq!(hasher.function.most.load(Ordering::SeqCst), 2);
        assert_eq!(hasher.function.calls.load(Ordering::SeqCst), 10);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_waits_too_long_is_told_and_who_has_gone_keeps_their_turn() {
        let (function, entries, let_go) = Counting::new();
        let hasher = Arc::new(BoundedHasher::new(function, limits(Duration::from_millis(50))));
        let password = Secret::new("password");
        for _ in 0..2 {
            let (hasher, password) = (hasher.clone(), password.clone());
            let gone = tokio::spawn(async move { hasher.hash(&password, &lane()).await });
            entries.recv_timeout(BOUND).unwrap();
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
        }
        assert!(matches!(hasher.hash(&password, &lane()).await, Err(HashError::Busy)));
        assert_eq!(hasher.function.calls.load(Ordering::SeqCst), 2);
        for _ in 0..3 {
            let_go.send(()).unwrap();
        }
        let patient = BoundedHasher { patience: Duration::from_secs(60), ..Arc::into_inner(hasher).unwrap() };
        assert_eq!(patient.hash(&password, &lane()).await.unwrap(), PasswordHash::new("$x"));
    }
}
