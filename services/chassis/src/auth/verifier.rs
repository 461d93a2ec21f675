//! Verification of access tokens by the keys of the users service.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::{GetJsonWebKeySetRequest, JsonWebKey};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{Principal, Role};

/// What clocks may differ by, in seconds.
const LEEWAY: u64 = 5;
/// How often the keys are fetched anew at most when tokens name a key that we don't know.
const REFRESH_FLOOR: Duration = Duration::from_secs(5);
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
    keys: RwLock<HashMap<String, DecodingKey>>,
    /// When the keys were fetched last, successfully or not. Held while they are being fetched.
    fetched: Mutex<Option<Instant>>,
}

impl Verifier {
    /// Accepts the tokens that `issuer` has signed for `audience` with a key of `source`.
    pub fn new(source: Arc<dyn KeySource>, issuer: &str, audience: &str) -> Self {
        // The algorithm is pinned: what the token's header says is compared, never followed.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY;
        Self { source, validation, keys: RwLock::default(), fetched: Mutex::default() }
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

    /// Fetches the keys unless that was done within `floor`.
    async fn refresh(&self, floor: Duration) {
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < floor) {
            return;
        }
        *fetched = Some(Instant::now());
        match self.source.fetch().await {
            Ok(keys) if !keys.is_empty() => {
                let keys = keys
                    .into_iter()
                    .filter_map(|key| Some((key.kid, DecodingKey::from_ed_components(&key.x).ok()?)))
                    .collect();
                if let Ok(mut current) = self.keys.write() {
                    *current = keys;
                }
            }
            Ok(_) => tracing::warn!("the users service has published no keys; keeping those at hand"),
            Err(problem) => tracing::debug!(problem, "the keys can't be fetched; keeping those at hand"),
        }
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
