//! Access tokens: JWTs signed by Ed25519 (RFC 8037).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{self, EncodePrivateKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meshwork_api::UserName;
use meshwork_chassis::auth::{Claims, JwkSet, KeySource, key_set};
use meshwork_chassis::config::Secret;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::convert;
use crate::domain::Role;
use crate::ports::{Basis, PublicKey, SignError, TokenIssuer};

/// Signs access tokens with one key, and publishes those before it while tokens of theirs may live.
pub struct Ed25519Issuer {
    key: EncodingKey,
    public: PublicKey,
    /// The keys that sign no longer, and until when they are published.
    retired: Option<(Vec<PublicKey>, Instant)>,
    issuer: String,
    audience: String,
}

impl Ed25519Issuer {
    /// Signs with `key` as `issuer`, for `audience`.
    ///
    /// # Errors
    /// When the key can't be encoded.
    pub fn new(key: &SigningKey, issuer: &str, audience: &str) -> Result<Self, pkcs8::Error> {
        Ok(Self {
            key: EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes()),
            public: public_key(key),
            retired: None,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        })
    }

    /// Publishes `keys` too, which have signed before, for as long as a token lives from now on.
    #[must_use]
    pub fn with_retired<'k>(mut self, keys: impl IntoIterator<Item = &'k SigningKey>, life: Duration) -> Self {
        let keys = keys.into_iter().map(public_key).filter(|key| *key != self.public).collect();
        self.retired = Some((keys, Instant::now() + life));
        self
    }
}

fn public_key(key: &SigningKey) -> PublicKey {
    let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    // The thumbprint is over the required members in alphabetical order, without space (RFC 7638, RFC 8037).
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
    PublicKey { kid, x }
}

impl TokenIssuer for Ed25519Issuer {
    fn issue(
        &self,
        user: &UserName,
        role: Role,
        basis: Basis<'_>,
        issued: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Result<Secret, SignError> {
        let seconds = |time: OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or_default();
        let sid = match basis {
            Basis::Session(session) => Some(session.to_owned()),
            Basis::Foreign => None,
        };
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.to_string(),
            role: convert::role_of_principal(role),
            iat: seconds(issued),
            exp: seconds(expires),
            sid,
        };
        let header = Header { kid: Some(self.public.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|error| SignError(error.to_string()))?;
        Ok(Secret::new(token))
    }

    fn keys(&self) -> Vec<PublicKey> {
        let retired = self.retired.iter().filter(|(_, until)| Instant::now() < *until).flat_map(|(keys, _)| keys);
        std::iter::once(&self.public).chain(retired).cloned().collect()
    }
}

/// Our own keys, for the verification of the tokens that come to us.
pub struct LocalKeys(Arc<dyn TokenIssuer>);

impl LocalKeys {
    /// The keys of an issuer in this process.
    pub fn new(issuer: Arc<dyn TokenIssuer>) -> Self {
        Self(issuer)
    }
}

#[async_trait]
impl KeySource for LocalKeys {
    async fn fetch(&self) -> Result<JwkSet, String> {
        Ok(key_set(self.0.keys().into_iter().map(convert::json_web_key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshwork_chassis::Principal;
    use meshwork_chassis::auth::{TokenError, Verifier};

    fn issuer(audience: &str) -> Ed25519Issuer {
        // The key of RFC 8037, appendix A.
        let key = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        Ed25519Issuer::new(&SigningKey::from_bytes(&key.try_into().unwrap()), "meshwork", audience).unwrap()
    }

    fn verifier() -> Verifier {
        Verifier::new(Arc::new(LocalKeys::new(Arc::new(issuer("meshwork")))), "meshwork", "meshwork")
    }

    fn token(audience: &str, lives: time::Duration) -> Secret {
        let now = OffsetDateTime::now_utc();
        issuer(audience)
            .issue(&"users/anna".parse().unwrap(), Role::Staff, Basis::Session("s"), now, now + lives)
            .unwrap()
    }

    #[test]
    fn the_key_and_its_thumbprint_are_those_of_rfc_8037() {
        let expected = PublicKey {
            kid: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".to_owned(),
            x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
        };
        assert_eq!(issuer("meshwork").keys(), [expected]);
    }

    #[tokio::test]
    async fn tokens_verify() {
        let principal = verifier().verify(token("meshwork", time::Duration::MINUTE).expose()).await;
        let anna = Principal::User { name: "users/anna".parse().unwrap(), role: meshwork_chassis::Role::Staff };
        assert_eq!(principal, Ok(anna));
    }

    #[tokio::test]
    async fn tokens_expire_and_are_for_their_audience() {
        let verifier = verifier();
        let expired = verifier.verify(token("meshwork", -time::Duration::MINUTE).expose()).await;
        assert_eq!(expired, Err(TokenError::Expired));
        let foreign = verifier.verify(token("other", time::Duration::MINUTE).expose()).await;
        assert_eq!(foreign, Err(TokenError::Invalid));
    }

    #[tokio::test(start_paused = true)]
    async fn retired_keys_are_published_while_tokens_of_theirs_may_live() {
        let keys = [2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let life = Duration::from_secs(900);
        let new = issuer("meshwork").with_retired(&keys, life);
        let old = Ed25519Issuer::new(&keys[0], "meshwork", "meshwork").unwrap();
        let published = new.keys();
        assert_eq!((&published[0], &published[1], published.len()), (&new.public, &old.public, 3));
        let new: Arc<dyn TokenIssuer> = Arc::new(new);
        let verifier = Verifier::new(Arc::new(LocalKeys::new(new.clone())), "meshwork", "meshwork");
        let now = OffsetDateTime::now_utc();
        let hour = now + time::Duration::HOUR;
        let of_old = old.issue(&"users/anna".parse().unwrap(), Role::Staff, Basis::Session("s"), now, hour).unwrap();
        assert!(verifier.verify(of_old.expose()).await.is_ok());
        tokio::time::advance(life).await;
        assert_eq!(new.keys(), published[..1]);
    }
}
