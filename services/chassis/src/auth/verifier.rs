//! Verification of access tokens by the keys of the users service.

use std::sync::Arc;

use async_trait::async_trait;
use meshwork::Channel;
use meshwork::server::Domain;
use meshwork::server::auth::jwt::{self, JwtAuthenticator};
use meshwork_api::UserName;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::{GetJsonWebKeySetRequest, JsonWebKey};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Principal, Role};

pub use meshwork::server::auth::jwt::{JwkSet, KeySource, TokenError};

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
    /// The id of the session that it was given in; tokens of earlier releases say nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
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
    async fn fetch(&self) -> Result<JwkSet, String> {
        let set = self.0.clone().get_json_web_key_set(GetJsonWebKeySetRequest::default()).await;
        Ok(key_set(set.map_err(|status| status.message().to_owned())?.into_inner().keys))
    }
}

/// The keys as RFC 7517 has them. What is no key is left out.
pub fn key_set(keys: impl IntoIterator<Item = JsonWebKey>) -> JwkSet {
    let keys = keys.into_iter().filter_map(|key| {
        let JsonWebKey { kty, crv, kid, r#use, alg, x } = key;
        serde_json::from_value(json!({ "kty": kty, "crv": crv, "kid": kid, "use": r#use, "alg": alg, "x": x })).ok()
    });
    JwkSet { keys: keys.collect() }
}

/// Verifies access tokens. Keys that were fetched once outlive an outage of their source.
#[derive(Clone, Debug)]
pub struct Verifier(JwtAuthenticator);

impl Verifier {
    /// Accepts the tokens that `issuer` has signed for `audience` with an Ed25519 key of `source`.
    pub fn new(source: Arc<dyn KeySource>, issuer: &str, audience: &str) -> Self {
        Self(JwtAuthenticator::builder(source, issuer, audience).principal(principal).build())
    }

    /// What finds the callers of a server whose errors carry `domain`. All share keys and verified tokens.
    pub fn authenticator(&self, domain: &'static str) -> JwtAuthenticator {
        self.0.with_domain(Domain::new(domain))
    }

    /// Whether there are keys.
    pub fn has_keys(&self) -> bool {
        self.0.has_keys()
    }

    /// Fetches the keys until there are some, and now and then from there on. Ends with `shutdown`.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.0.keep_fresh()).await;
    }

    /// Waits until there are keys.
    pub async fn ready(&self) {
        self.0.ready().await;
    }

    /// Who the token speaks for.
    ///
    /// # Errors
    /// When it is not a valid token of ours.
    pub async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        Ok(Principal::known(&self.0.verify(token).await?))
    }
}

/// The principal of a token whose subject is the name of an account and whose role is one of ours, by its session or its API
/// key, restricted to its scopes if it has any; `None` refuses it.
fn principal(claims: &jwt::Claims) -> Option<meshwork::server::auth::Principal> {
    let name: UserName = claims.subject()?.parse().ok()?;
    let role: Role = claims.text("role")?.parse().ok()?;
    let mut principal = meshwork::server::auth::Principal::new(name.to_string(), [role.as_str()]);
    if let Some(session) = claims.text("sid") {
        principal = principal.with_session(session);
    }
    // What restricts a token is not passed over for being malformed.
    if let Some(scopes) = claims.get("scope") {
        principal = principal.with_scopes(scopes.as_str()?.split_ascii_whitespace());
    }
    if let Some(key) = claims.get("key") {
        principal = principal.with_key(key.as_str()?);
    }
    Some(principal)
}

#[cfg(test)]
mod tests {
    use meshwork_testkit::Issuer;
    use meshwork_testkit::issuer::{AUDIENCE, Claims, ISSUER};

    use super::*;

    fn keys_of(issuer: &Issuer) -> Arc<dyn KeySource> {
        Arc::new(GrpcKeys::new(Channel::connect_lazy(&issuer.target()).unwrap()))
    }

    #[tokio::test]
    async fn accounts_and_roles_are_ours() {
        let issuer = Issuer::start().await;
        let verifier = Verifier::new(keys_of(&issuer), ISSUER, AUDIENCE);
        for (word, role) in [("customer", Role::Customer), ("staff", Role::Staff), ("service", Role::Service)] {
            let anna = Principal::User { name: "users/anna".parse().unwrap(), role };
            assert_eq!(verifier.verify(&issuer.token("anna", word)).await, Ok(anna));
        }
        let good = Claims::of("anna", "staff");
        for wrong in [
            Claims { sub: "anna".to_owned(), ..good.clone() },
            Claims { sub: "orders/anna".to_owned(), ..good.clone() },
            Claims { role: "king".to_owned(), ..good.clone() },
            Claims { role: String::new(), ..good },
        ] {
            assert_eq!(verifier.verify(&issuer.sign(&wrong)).await, Err(TokenError::Invalid), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn keys_fetched_over_the_mesh_outlive_an_outage_of_their_issuer() {
        let issuer = Issuer::start().await;
        let verifier = Verifier::new(keys_of(&issuer), ISSUER, AUDIENCE);
        let (seen, unseen) = (issuer.token("anna", "customer"), issuer.token("bert", "customer"));
        verifier.verify(&seen).await.unwrap();
        let stranger = Issuer::start().await.token("anna", "customer");
        let target = issuer.target();
        drop(issuer);
        // Nobody is there any more.
        let mut gone = false;
        for _ in 0..1000 {
            gone = tokio::net::TcpStream::connect(target.trim_start_matches("http://")).await.is_err();
            if gone {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(gone, "the issuer still listens");
        for token in [&seen, &unseen] {
            assert!(verifier.verify(token).await.is_ok());
        }
        assert_eq!(verifier.verify(&stranger).await, Err(TokenError::Invalid));
    }
}
