//! Access tokens: JWTs signed by Ed25519 (RFC 8037).

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{self, EncodePrivateKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meshwork_api::UserName;
use meshwork_api::meshwork::users::v1::JsonWebKey;
use meshwork_chassis::auth::{Claims, KeySource};
use meshwork_chassis::config::Secret;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::convert;
use crate::domain::Role;
use crate::ports::{PublicKey, SignError, TokenIssuer};

/// Signs access tokens with one key.
pub struct Ed25519Issuer {
    key: EncodingKey,
    public: PublicKey,
    issuer: String,
    audience: String,
}

impl Ed25519Issuer {
    /// Signs with `key` as `issuer`, for `audience`.
    ///
    /// # Errors
    /// When the key can't be encoded.
    pub fn new(key: &SigningKey, issuer: &str, audience: &str) -> Result<Self, pkcs8::Error> {
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        // The thumbprint is over the required members in alphabetical order, without space (RFC 7638, RFC 8037).
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
        Ok(Self {
            key: EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes()),
            public: PublicKey { kid, x },
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        })
    }
}

impl TokenIssuer for Ed25519Issuer {
    fn issue(
        &self,
        user: &UserName,
        role: Role,
        issued: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Result<Secret, SignError> {
        let seconds = |time: OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or_default();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.to_string(),
            role: convert::role_of_principal(role),
            iat: seconds(issued),
            exp: seconds(expires),
        };
        let header = Header { kid: Some(self.public.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|error| SignError(error.to_string()))?;
        Ok(Secret::new(token))
    }

    fn keys(&self) -> Vec<PublicKey> {
        vec![self.public.clone()]
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
    async fn fetch(&self) -> Result<Vec<JsonWebKey>, String> {
        Ok(self.0.keys().into_iter().map(convert::json_web_key).collect())
    }
}

#[cfg(test)]
mod tests {
    use meshwork_chassis::Principal;
    use meshwork_chassis::auth::{TokenError, Verifier};
    use time::Duration;

    use super::*;

    fn issuer(audience: &str) -> Ed25519Issuer {
        // The key of RFC 8037, appendix A.
        let key = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        Ed25519Issuer::new(&SigningKey::from_bytes(&key.try_into().unwrap()), "meshwork", audience).unwrap()
    }

    fn verifier() -> Verifier {
        Verifier::new(Arc::new(LocalKeys::new(Arc::new(issuer("meshwork")))), "meshwork", "meshwork")
    }

    fn token(audience: &str, lives: Duration) -> Secret {
        let now = OffsetDateTime::now_utc();
        issuer(audience).issue(&"users/anna".parse().unwrap(), Role::Staff, now, now + lives).unwrap()
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
        let principal = verifier().verify(token("meshwork", Duration::MINUTE).expose()).await;
        let anna = Principal::User { name: "users/anna".parse().unwrap(), role: meshwork_chassis::Role::Staff };
        assert_eq!(principal, Ok(anna));
    }

    #[tokio::test]
    async fn tokens_expire_and_are_for_their_audience() {
        let verifier = verifier();
        let expired = verifier.verify(token("meshwork", -Duration::MINUTE).expose()).await;
        assert_eq!(expired, Err(TokenError::Expired));
        let foreign = verifier.verify(token("other", Duration::MINUTE).expose()).await;
        assert_eq!(foreign, Err(TokenError::Invalid));
    }
}
