//! Verification of access tokens by the keys of the users service.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use meshwork::Channel;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::{GetJsonWebKeySetRequest, JsonWebKey};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempts::Attempts;
use super::{Principal, Role};

/// What clocks may differ by, in seconds.
const LEEWAY: u64 = 5;
/// How often the keys are fetched anew at most when tokens name a key that we don't know.
const REFRESH_FLOOR: Duration = Duration::from_secs(5);
/// How long fetching the keys may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the keys are fetched anew, so that a withdrawn one ends.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The account, `users/{user}`.
    pub sub: String,
    /// The account's role.
    pub role: Role,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it expires, in seconds since 1970.
    pub exp: u64,
}

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token of ours, or not for us.
    #[error("the token is malformed, or was not signed by the users service for this audience")]
    Invalid,
    /// It is too old.
    #[error("the token has expired; refresh the session or sign in again")]
    Expired,
    /// We have no keys yet.
    #[error("the keys that verify tokens can't be fetched at this moment; try again")]
    KeysUnavailable,
}

/// Where the keys come from.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The public keys in use.
    ///
    /// # Errors
    /// A sentence about what went wrong, for the log.
    async fn fetch(&self) -> Result<Vec<JsonWebKey>, String>;
}

/// Keys from the users service.
pub struct GrpcKeys(AuthServiceClient<Channel>);

impl GrpcKeys {
    /// Fetches over `channel`.
    pub fn new(channel: Channel) -> Self {
        Self(AuthServiceClient::new(channel))
    }
}

#[async_trait]
impl KeySource for GrpcKeys {
    async fn fetch(&self) -> Result<Vec<JsonWebKey>, String> {
        let set = self.0.clone().get_json_web_key_set(GetJsonWebKeySetRequest::default()).await;
        Ok(set.map_err(|status| status.message().to_owned())?.into_inner().keys)
    }
}

/// Verifies access tokens. Keys that were fetched once outlive an outage of their source.
pub struct Verifier {
    source: Arc<dyn KeySource>,
    validation: Validation,
    keys: Arc<Keys>,
    /// Fetches of the keys, each with the time when it ended, successfully or not.
    fetches: Attempts<Instant>,
}

/// The keys at hand, by their ids.
type Keys = RwLock<HashMap<String, DecodingKey>>;

impl Verifier {
    /// Accepts the tokens that `issuer` has signed for `audience` with a key of `source`.
    pub fn new(source: Arc<dyn KeySource>, issuer: &str, audience: &str) -> Self {
        // The algorithm is pinned: what the token's header says is compared, never followed.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY;
        Self { source, validation, keys: Arc::default(), fetches: Attempts::default() }
    }

    /// Whether there are keys.
    pub fn has_keys(&self) -> bool {
        self.keys.read().is_ok_and(|keys| !keys.is_empty())
    }

    /// Fetches the keys until there are some, and now and then from there on. Ends with `shutdown`.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: CancellationToken) {
        let mut pause = Duration::from_millis(50);
        loop {
            self.refresh(Duration::ZERO).await;
            let wait = if self.has_keys() { REFRESH_INTERVAL } else { pause };
            pause = (pause * 2).min(Duration::from_secs(2));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Waits until there are keys.
    pub async fn ready(&self) {
        while !self.has_keys() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Fetches the keys unless that was done within `floor`. While they are being fetched it waits for that.
    async fn refresh(&self, floor: Duration) {
        let (source, keys) = (self.source.clone(), self.keys.clone());
        self.fetches.outcome(|ended| ended.elapsed() < floor, || fetch(source, keys)).await;
    }

    /// Who the token speaks for.
    ///
    /// # Errors
    /// When it is not a valid token of ours.
    pub async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let key = match self.key(&kid) {
            Some(key) => key,
            None => {
                // A key that came into use a moment ago. Tokens with invented ids can't make us ask more often.
                self.refresh(REFRESH_FLOOR).await;
                let unknown = if self.has_keys() { TokenError::Invalid } else { TokenError::KeysUnavailable };
                self.key(&kid).ok_or(unknown)?
            }
        };
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        let name = claims.sub.parse().map_err(|_| TokenError::Invalid)?;
        Ok(Principal::User { name, role: claims.role })
    }

    fn key(&self, kid: &str) -> Option<DecodingKey> {
        self.keys.read().ok()?.get(kid).cloned()
    }
}

/// Puts the keys of `source` in place of those at hand, and tells when it was done.
async fn fetch(source: Arc<dyn KeySource>, current: Arc<Keys>) -> Instant {
    let slow = |_| Err(format!("no answer within {} s", FETCH_TIMEOUT.as_secs()));
    match tokio::time::timeout(FETCH_TIMEOUT, source.fetch()).await.unwrap_or_else(slow) {
        Ok(keys) if !keys.is_empty() => {
            let keys = keys
                .into_iter()
                .filter_map(|key| Some((key.kid, DecodingKey::from_ed_components(&key.x).ok()?)))
                .collect();
            if let Ok(mut current) = current.write() {
                *current = keys;
            }
        }
        Ok(_) => tracing::warn!("the users service has published no keys; keeping those at hand"),
        Err(problem) => tracing::debug!(problem, "the keys can't be fetched; keeping those at hand"),
    }
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use futures_util::future::join_all;

    use super::*;

    /// Publishes a key, or hangs.
    #[derive(Default)]
    struct Source {
        fetches: AtomicU32,
        hangs: AtomicBool,
    }

    impl Source {
        fn fetches(&self) -> u32 {
            self.fetches.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl KeySource for Source {
        async fn fetch(&self) -> Result<Vec<JsonWebKey>, String> {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let x = URL_SAFE_NO_PAD.encode([1; 32]);
            Ok(vec![JsonWebKey { kid: "known".to_owned(), x, ..JsonWebKey::default() }])
        }
    }

    fn verifier(hangs: bool) -> (Arc<Source>, Verifier) {
        let source = Arc::new(Source { hangs: hangs.into(), ..Source::default() });
        (source.clone(), Verifier::new(source, "meshwork", "meshwork"))
    }

    /// A token that names a key and is signed by none.
    fn token(kid: &str) -> String {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
        format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode("{}"),
            URL_SAFE_NO_PAD.encode([0; 64])
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_hangs_is_bounded_and_shared_by_all_who_wait() {
        let (source, verifier) = verifier(true);
        let tokens: Vec<_> = (0..50).map(|at| token(&format!("k{at}"))).collect();
        let start = Instant::now();
        for refused in join_all(tokens.iter().map(|token| verifier.verify(token))).await {
            assert_eq!(refused, Err(TokenError::KeysUnavailable));
        }
        assert_eq!((start.elapsed(), source.fetches()), (FETCH_TIMEOUT, 1));
        // The floor counts from the end of a fetch that took as long as the floor.
        assert_eq!(verifier.verify(&tokens[0]).await, Err(TokenError::KeysUnavailable));
        assert_eq!((start.elapsed(), source.fetches()), (FETCH_TIMEOUT, 1));
        tokio::time::advance(REFRESH_FLOOR).await;
        source.hangs.store(false, Ordering::SeqCst);
        assert_eq!(verifier.verify(&tokens[0]).await, Err(TokenError::Invalid));
        assert_eq!(source.fetches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn invented_keys_hold_up_neither_good_tokens_nor_the_source() {
        let (source, verifier) = verifier(false);
        verifier.refresh(Duration::ZERO).await;
        source.hangs.store(true, Ordering::SeqCst);
        tokio::time::advance(REFRESH_FLOOR).await;
        let start = Instant::now();
        // Callers that go away don't begin a fetch each.
        for _ in 0..4 {
            let gone = tokio::time::timeout(Duration::from_secs(1), verifier.verify(&token("invented"))).await;
            assert!(gone.is_err());
        }
        assert_eq!(source.fetches(), 2);
        // A key at hand is found at once, whatever is under way.
        assert_eq!(verifier.verify(&token("known")).await, Err(TokenError::Invalid));
        assert_eq!(start.elapsed(), Duration::from_secs(4));
        assert_eq!(verifier.verify(&token("invented")).await, Err(TokenError::Invalid));
        assert_eq!((start.elapsed(), source.fetches()), (FETCH_TIMEOUT, 2));
    }
}
