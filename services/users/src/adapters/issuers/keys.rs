//! The keys that an issuer publishes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use meshwork::server::auth::jwt::{Jwk, JwkSet, KeySource};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::documents::Documents;
use crate::config::{IssuerConfig, discovery_url, endpoint};

/// How long it may take to fetch the keys, with the document that says where they are.
pub(super) const FETCH_BOUND: Duration = Duration::from_secs(5);
/// The most keys of an issuer.
const MAX_KEYS: usize = 100;
/// The most bytes of a key's id.
const MAX_KEY_ID: usize = 256;
/// How often it is said that there are still no keys.
const REMINDER: Duration = Duration::from_secs(60);

/// The keys that an issuer publishes at a URL: a set of them (RFC 7517), or a document that says where that is (OpenID Connect
/// Discovery 1.0).
pub(super) struct PublishedKeys {
    issuer: String,
    place: Place,
    documents: Documents,
    progress: Mutex<Progress>,
}

enum Place {
    KeySet(Url),
    Discovery(Url),
}

/// How fetching goes, for the log.
enum Progress {
    /// There never were any keys. It was said then.
    Without(Option<Instant>),
    /// There were keys. From then on the authenticator says what goes wrong.
    With,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl PublishedKeys {
    /// The keys of the issuer of these settings.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: &IssuerConfig) -> Result<Self, String> {
        let place = if settings.jwks_url.is_empty() {
            Place::Discovery(discovery_url(&settings.issuer)?)
        } else {
            Place::KeySet(endpoint(&settings.jwks_url)?)
        };
        Ok(Self {
            issuer: settings.issuer.clone(),
            place,
            documents: Documents::new(&settings.ca)?,
            progress: Mutex::new(Progress::Without(None)),
        })
    }

    async fn key_set(&self) -> Result<JwkSet, String> {
        let set: KeySet = match &self.place {
            Place::KeySet(url) => self.documents.get(url).await?,
            Place::Discovery(url) => self.documents.get(&self.discover(url).await?).await?,
        };
        if set.keys.len() > MAX_KEYS {
            return Err(format!("{} keys are published; at most {MAX_KEYS} are taken", set.keys.len()));
        }
        // What isn't understood is passed over (RFC 7517 §5).
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let has_short_id = |key: &Jwk| key.common.key_id.as_ref().is_some_and(|id| id.len() <= MAX_KEY_ID);
        Ok(JwkSet { keys: keys.filter(has_short_id).collect() })
    }

    /// Where the document at `url` says that the keys are.
    async fn discover(&self, url: &Url) -> Result<Url, String> {
        let Discovery { issuer, jwks_uri } = self.documents.get(url).await?;
        // Else the keys of one would verify the tokens of another (OpenID Connect Discovery 1.0 §4.3).
        if issuer != self.issuer {
            return Err(format!("the document at {url} is of another issuer"));
        }
        let keys = endpoint(&jwks_uri).ok().filter(|keys| keys.scheme() == "https" || url.scheme() == "http");
        keys.ok_or_else(|| format!("the jwks_uri in the document at {url} is no https URL"))
    }

    fn note(&self, fetched: &Result<JwkSet, String>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let Progress::Without(reminded) = *progress else { return };
        let issuer = &self.issuer;
        match fetched {
            Ok(_) => {
                tracing::info!(issuer, "the keys of another issuer are there");
                *progress = Progress::With;
            }
            Err(problem) if reminded.is_none_or(|at| at.elapsed() >= REMINDER) => {
                tracing::warn!(
                    issuer,
                    problem,
                    "the keys of another issuer can't be fetched: its tokens are not exchanged"
                );
                *progress = Progress::Without(Some(Instant::now()));
            }
            Err(_) => {}
        }
    }
}

#[async_trait]
impl KeySource for PublishedKeys {
    async fn fetch(&self) -> Result<JwkSet, String> {
        let fetched = tokio::time::timeout(FETCH_BOUND, self.key_set()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {} s", FETCH_BOUND.as_secs())));
        self.note(&fetched);
        fetched.map_err(|problem| format!("{}: {problem}", self.issuer))
    }
}
