//! The authenticator by JSON Web Tokens.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::watch;
use tonic::Status;

use super::TokenError;
use super::cache::{Cache, Turn, Verdict};
use super::key::Key;
use super::keys::Keys;
use super::rules::{Rules, Verified, seconds};
use super::settings::{Clock, PrincipalOfClaims, Settings};
use crate::server::auth::{Authenticated, Authenticator, Principal};
use crate::server::{Domain, Peer};

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// The pauses between fetches while there are no keys at all: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Knows callers by the JSON Web Tokens of one issuer; a call without an `authorization` header is anonymous. Clones share
/// keys and cache.
///
/// * A token that was verified is remembered until it expires or its key is withdrawn, and answered at once.
/// * A token that names an unknown key begins a fetch of the keys, unless one has ended a moment ago; all who wait share it.
/// * Its principal [expires](Principal::expires_at) when the token does, the skew of clocks included.
/// * Keys outlive an outage of their source. While there have never been any, calls with tokens are UNAVAILABLE.
#[derive(Clone)]
pub struct JwtAuthenticator {
    state: Arc<AuthenticatorState>,
    domain: Domain,
}

struct AuthenticatorState {
    keys: Arc<Keys>,
    rules: Rules,
    cache: Cache,
    principal: PrincipalOfClaims,
    scopes: bool,
    clock: Clock,
    refresh_interval: Duration,
    refresh_floor: Duration,
}

impl fmt::Debug for JwtAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.state;
        f.debug_struct("JwtAuthenticator")
            .field("rules", &state.rules)
            .field("has_keys", &self.has_keys())
            .field("cached", &state.cache.len())
            .finish_non_exhaustive()
    }
}

impl JwtAuthenticator {
    pub(super) fn of(settings: Settings) -> Self {
        let Settings { source, rules, refresh_interval, refresh_floor, fetch_timeout, cache, .. } = settings;
        let state = AuthenticatorState {
            keys: Keys::new(source, rules.clone(), fetch_timeout),
            rules,
            cache: Cache::new(cache),
            principal: settings.principal,
            scopes: settings.scopes,
            clock: settings.clock,
            refresh_interval,
            refresh_floor,
        };
        Self { state: Arc::new(state), domain: settings.domain }
    }

    /// The same authenticator, with the same keys and cache, whose errors carry `domain`.
    ///
    /// ```
    /// use meshwork::server::Domain;
    /// use meshwork::server::auth::jwt::{JwkSet, JwtAuthenticator};
    /// let authenticator = JwtAuthenticator::builder(JwkSet::default(), "issuer", "shop").build();
    /// let of_orders = authenticator.with_domain(Domain::new("orders.example.com"));
    /// ```
    #[must_use]
    pub fn with_domain(&self, domain: Domain) -> Self {
        Self { state: Arc::clone(&self.state), domain }
    }

    /// Whether there are keys.
    pub fn has_keys(&self) -> bool {
        self.state.keys.is_loaded()
    }

    /// Waits until there are keys.
    pub async fn ready(&self) {
        self.state.keys.loaded().await;
    }

    /// How many verified tokens are remembered.
    pub fn cached(&self) -> usize {
        self.state.cache.len()
    }

    /// Fetches the keys until there are some, and now and then from there on. It never ends: spawn it, and drop or abort it
    /// with the server.
    pub async fn keep_fresh(&self) {
        let mut pause = PAUSES.0;
        loop {
            let fetched = self.state.keys.refresh(Duration::ZERO).await;
            let wait = match (fetched, self.has_keys()) {
                (true, _) => self.state.refresh_interval,
                // A withdrawn key must not live on for long after an outage.
                (false, true) => self.state.refresh_interval / 10,
                (false, false) => {
                    let wait = pause;
                    pause = (pause * 2).min(PAUSES.1);
                    wait
                }
            };
            tokio::time::sleep(wait.max(PAUSES.0)).await;
        }
    }

    /// Who the token speaks for.
    ///
    /// # Errors
    /// When it isn't a good token, or there are no keys yet to tell.
    pub async fn verify(&self, token: &str) -> Verdict {
        match AuthenticatorState::look_up(&self.state, token) {
            Lookup::Verdict(verdict) => verdict,
            Lookup::Pending(pending) => AuthenticatorState::wait(Arc::clone(&self.state), token.into(), pending).await,
        }
    }
}

impl Authenticator for JwtAuthenticator {
    fn authenticate(&self, headers: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        let token = match token_of(headers) {
            Ok(Some(token)) => token,
            Ok(None) => return Authenticated::Now(Ok(None)),
            Err(error) => return Authenticated::Now(Err(error.status(&self.domain))),
        };
        match AuthenticatorState::look_up(&self.state, token) {
            Lookup::Verdict(Ok(principal)) => Authenticated::Now(Ok(Some(principal))),
            Lookup::Verdict(Err(error)) => Authenticated::Now(Err(error.status(&self.domain))),
            Lookup::Pending(pending) => {
                let (state, domain) = (Arc::clone(&self.state), self.domain);
                let verdict = AuthenticatorState::wait(state, token.into(), pending);
                Authenticated::Later(
                    verdict.map(move |verdict| verdict.map(Some).map_err(|error| error.status(&domain))).boxed(),
                )
            }
        }
    }

    /// The clock that `exp` is held against.
    fn now(&self) -> SystemTime {
        (self.state.clock)()
    }

    /// A token that isn't remembered costs a look into the cache, and allocates nothing.
    fn recall(&self, headers: &HeaderMap, _: Option<&Peer>) -> Option<Result<Option<Principal>, Status>> {
        let value = match credentials(headers) {
            Ok(Some(value)) => value,
            Ok(None) => return Some(Ok(None)),
            Err(error) => return Some(Err(error.status(&self.domain))),
        };
        // What is remembered was looked at: only the rest has to look like a token.
        let remembered = |token: &[u8]| self.state.cache.get(token, self.state.now());
        if let Some(principal) = value.as_bytes().strip_prefix(SCHEME).and_then(remembered) {
            return Some(Ok(Some(principal)));
        }
        match token_in(value) {
            Ok(token) => remembered(token.as_bytes()).map(|principal| Ok(Some(principal))),
            Err(error) => Some(Err(error.status(&self.domain))),
        }
    }
}

/// As nearly every client spells it.
const SCHEME: &[u8] = b"Bearer ";

/// The header with the token of a call, if it has one.
fn credentials(headers: &HeaderMap) -> Result<Option<&HeaderValue>, TokenError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next();
    // Of two headers it would be open whose call it is.
    if values.next().is_some() { Err(TokenError::Invalid) } else { Ok(value) }
}

/// The token of a call, if it has one, that looks like one: three parts, and not too long.
fn token_of(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    credentials(headers)?.map(token_in).transpose()
}

fn token_in(value: &HeaderValue) -> Result<&str, TokenError> {
    let token = value.to_str().ok().and_then(bearer).ok_or(TokenError::Invalid)?;
    let is_one = token.len() <= LONGEST && token.bytes().filter(|byte| *byte == b'.').count() == 2;
    if is_one { Ok(token) } else { Err(TokenError::Invalid) }
}

/// The token of an `authorization` header; the scheme's case doesn't matter (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// What is known of a token at once.
enum Lookup {
    Verdict(Verdict),
    Pending(Pending),
}

/// What a token waits for.
enum Pending {
    /// For its key, by this id.
    Key(String),
    /// For somebody else who verifies it.
    Verdict(watch::Receiver<Option<Verdict>>),
}

impl AuthenticatorState {
    fn look_up(self: &Arc<Self>, token: &str) -> Lookup {
        if let Some(principal) = self.cache.get(token.as_bytes(), self.now()) {
            return Lookup::Verdict(Ok(principal));
        }
        let id = match key_id(token) {
            Ok(id) => id,
            Err(error) => return Lookup::Verdict(Err(error)),
        };
        match self.keys.get(&id) {
            Some(key) => self.decide(token, key),
            None => Lookup::Pending(Pending::Key(id)),
        }
    }

    /// Verifies the token, unless somebody does already.
    fn decide(&self, token: &str, key: Arc<Key>) -> Lookup {
        match self.cache.begin(token) {
            None => Lookup::Verdict(Err(TokenError::Invalid)),
            Some(Turn::Other(verdict)) => Lookup::Pending(Pending::Verdict(verdict)),
            Some(Turn::Own(verification)) => {
                // Another may have ended in between.
                if let Some(principal) = self.cache.get(token.as_bytes(), self.now()) {
                    return Lookup::Verdict(Ok(principal));
                }
                let verdict = self.verify(token, &key);
                Lookup::Verdict(verification.end(token, verdict, key))
            }
        }
    }

    fn verify(&self, token: &str, key: &Key) -> Result<(Principal, u64), TokenError> {
        let verified = self.rules.verify(token, key, self.now())?;
        let Verified { claims, until } = verified;
        let mut principal = (self.principal)(&claims).ok_or(TokenError::Invalid)?;
        if self.scopes
            && principal.scopes().is_none()
            && let Some(scopes) = claims.scopes().map_err(|()| TokenError::Invalid)?
        {
            principal = principal.with_scopes(scopes);
        }
        // A time that is too far away to be told never comes.
        let expiry = UNIX_EPOCH.checked_add(Duration::from_secs(until));
        if let Some(at) = principal.expires_at().into_iter().chain(expiry).min() {
            principal = principal.with_expiry(at);
        }
        Ok((principal, until))
    }

    async fn wait(self: Arc<Self>, token: Box<str>, pending: Pending) -> Verdict {
        let key = match pending {
            Pending::Key(id) => {
                // A key that came into use a moment ago. Tokens with invented ids can't make us ask more often.
                self.keys.refresh(self.refresh_floor).await;
                let missing = if self.keys.is_loaded() { TokenError::Invalid } else { TokenError::KeysUnavailable };
                self.keys.get(&id).ok_or(missing)?
            }
            Pending::Verdict(verdict) => return self.share(&token, verdict).await,
        };
        match self.decide(&token, key) {
            Lookup::Verdict(verdict) => verdict,
            Lookup::Pending(Pending::Verdict(verdict)) => self.share(&token, verdict).await,
            Lookup::Pending(Pending::Key(_)) => Err(TokenError::Invalid),
        }
    }

    /// What comes of a verification that somebody else has begun.
    async fn share(&self, token: &str, mut verdict: watch::Receiver<Option<Verdict>>) -> Verdict {
        let outcome = verdict.wait_for(Option::is_some).await.ok().and_then(|verdict| verdict.clone());
        match outcome {
            Some(verdict) => verdict,
            // They have failed without a word.
            None => {
                let key = self.keys.get(&key_id(token)?).ok_or(TokenError::Invalid)?;
                self.verify(token, &key).map(|(principal, _)| principal)
            }
        }
    }

    fn now(&self) -> u64 {
        seconds((self.clock)())
    }
}

/// The id of the key that a token names.
fn key_id(token: &str) -> Result<String, TokenError> {
    if token.len() > LONGEST {
        return Err(TokenError::Invalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
    // We understand no extension that a token could call critical (RFC 7515 §4.1.11).
    if header.crit.is_some() {
        return Err(TokenError::Invalid);
    }
    header.kid.ok_or(TokenError::Invalid)
}
