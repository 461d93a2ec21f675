//! A stand-in for the users service: it publishes a key and signs tokens with it for whomever a test needs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meshwork_api::meshwork::users::v1::auth_service_server::{AuthService, AuthServiceServer};
use meshwork_api::meshwork::users::v1::{
    GetJsonWebKeySetRequest, JsonWebKey, JsonWebKeySet, ListSessionsRequest, ListSessionsResponse,
    RefreshSessionRequest, RevokeSessionRequest, Session, SignInRequest, SignOutRequest,
};
use serde::Serialize;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// The `iss` of its tokens, as configurations have it by default.
pub const ISSUER: &str = "meshwork";
/// The `aud` of its tokens, as configurations have it by default.
pub const AUDIENCE: &str = "meshwork";
/// The id of its key.
const KEY_ID: &str = "test-key";
/// How long its tokens live.
const LIFE: Duration = Duration::from_secs(3600);

/// What an access token says.
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The account, `users/{user}`.
    pub sub: String,
    /// The account's role: `customer`, `staff` or `service`.
    pub role: String,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it expires, in seconds since 1970.
    pub exp: u64,
}

impl Claims {
    /// What a good token says of the account `users/{user}`.
    pub fn of(user: &str, role: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: format!("users/{user}"),
            role: role.to_owned(),
            iat: now.as_secs(),
            exp: (now + LIFE).as_secs(),
        }
    }
}

/// An AuthService on the loopback address. It ends when it is dropped.
///
/// SignIn takes any password and gives a session of the service role, so that services can sign in; the other methods
/// for sessions are unimplemented.
pub struct Issuer {
    keys: Arc<Keys>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Issuer {
    /// Makes a key and serves it on a free port.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn start() -> Self {
        let keys = Arc::new(Keys::generate());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = AuthServiceServer::from_arc(keys.clone());
        let server = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { keys, address, server }
    }

    /// Where it serves: `http://HOST:PORT`.
    pub fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A good token for the account `users/{user}`; `role` is `customer`, `staff` or `service`.
    pub fn token(&self, user: &str, role: &str) -> String {
        self.keys.sign(&Claims::of(user, role))
    }

    /// A token that says what the test wants: too old, for another audience, with an unknown role.
    pub fn sign(&self, claims: &Claims) -> String {
        self.keys.sign(claims)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Keys {
    signing: EncodingKey,
    public: JsonWebKey,
}

impl Keys {
    fn generate() -> Self {
        let key = SigningKey::from_bytes(&rand::random());
        let public = JsonWebKey {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            kid: KEY_ID.to_owned(),
            r#use: "sig".to_owned(),
            alg: "EdDSA".to_owned(),
            x: URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
        };
        Self { signing: EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes()), public }
    }

    fn sign(&self, claims: &Claims) -> String {
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

#[tonic::async_trait]
impl AuthService for Keys {
    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<Session>, Status> {
        let email = request.into_inner().email;
        let user = format!("service-{}", email.split('@').next().unwrap_or_default());
        let expiry = SystemTime::now() + LIFE;
        Ok(Response::new(Session {
            user: format!("users/{user}"),
            access_token: self.sign(&Claims::of(&user, "service")),
            access_token_expire_time: Some(expiry.into()),
            refresh_token: "none".to_owned(),
            refresh_token_expire_time: Some(expiry.into()),
        }))
    }

    async fn refresh_session(&self, _: Request<RefreshSessionRequest>) -> Result<Response<Session>, Status> {
        Err(Status::unimplemented("the test issuer refreshes no sessions"))
    }

    async fn sign_out(&self, _: Request<SignOutRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("the test issuer ends no sessions"))
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Result<Response<ListSessionsResponse>, Status> {
        Err(Status::unimplemented("the test issuer lists no sessions"))
    }

    async fn revoke_session(&self, _: Request<RevokeSessionRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("the test issuer ends no sessions"))
    }

    async fn get_json_web_key_set(
        &self,
        _: Request<GetJsonWebKeySetRequest>,
    ) -> Result<Response<JsonWebKeySet>, Status> {
        Ok(Response::new(JsonWebKeySet { name: "jsonWebKeySet".to_owned(), keys: vec![self.public.clone()] }))
    }
}
