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
use meshwork_api::meshwork::users::v1::user_service_server::{UserService, UserServiceServer};
use meshwork_api::meshwork::users::v1::{
    CreateUserRequest, DeleteUserRequest, ExchangeTokenRequest, ExchangedToken, GetJsonWebKeySetRequest,
    GetUserRequest, JsonWebKey, JsonWebKeySet, ListSessionsRequest, ListSessionsResponse, ListUsersRequest,
    ListUsersResponse, RefreshSessionRequest, RevokeSessionRequest, Session, SignInRequest, SignOutRequest,
    UpdateUserRequest, User,
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
    /// What may be called with it, with spaces between; anything when it is `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The id of the API key that it was given for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
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
            scope: None,
            key: None,
        }
    }
}

/// An AuthService on the loopback address. It ends when it is dropped.
///
/// SignIn takes any password and gives a session of the service role, so that services can sign in; the other methods for
/// sessions are unimplemented, and so is ExchangeToken. GetUser tells of every account, but there is none whose id begins with
/// `nobody`, those are deleted that begin with `gone`; of those that begin with `away` it says that it is unavailable, and of
/// those that begin with `mute` nothing ever.
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
        let (auth, users) = (AuthServiceServer::from_arc(keys.clone()), UserServiceServer::from_arc(keys.clone()));
        let server = tokio::spawn(async move {
            let server = Server::builder().add_service(auth).add_service(users);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
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

    /// A token with any header and any claims: its key signs them, whatever algorithm and key the header names.
    ///
    /// # Panics
    /// Never, unless the key can't sign.
    pub fn sign_any(&self, header: &serde_json::Value, claims: &serde_json::Value) -> String {
        signed(header, claims, &self.keys.signing, Algorithm::EdDSA)
    }

    /// The key that it publishes.
    pub fn public_key(&self) -> &JsonWebKey {
        &self.keys.public
    }
}

/// A token with any claims, signed by a secret with the algorithm that `header` names: `HS256`, `HS384` or `HS512`.
///
/// # Panics
/// When it names another one.
pub fn signed_by_secret(secret: &[u8], header: &serde_json::Value, claims: &serde_json::Value) -> String {
    let algorithm = header["alg"].as_str().unwrap().parse().unwrap();
    signed(header, claims, &EncodingKey::from_secret(secret), algorithm)
}

fn signed(header: &serde_json::Value, claims: &serde_json::Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), key, algorithm).unwrap();
    format!("{text}.{signature}")
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
        let signing = EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes());
        Self { signing, public }
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

    async fn exchange_token(&self, _: Request<ExchangeTokenRequest>) -> Result<Response<ExchangedToken>, Status> {
        // It trusts no other issuer, and has made no keys.
        Err(Status::unauthenticated("the test issuer exchanges nothing"))
    }

    async fn get_json_web_key_set(
        &self,
        _: Request<GetJsonWebKeySetRequest>,
    ) -> Result<Response<JsonWebKeySet>, Status> {
        Ok(Response::new(JsonWebKeySet { name: "jsonWebKeySet".to_owned(), keys: vec![self.public.clone()] }))
    }
}

#[tonic::async_trait]
impl UserService for Keys {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        let name = request.into_inner().name;
        let id = name.strip_prefix("users/").unwrap_or_default();
        if id.starts_with("nobody") {
            return Err(Status::not_found("there is no such account"));
        }
        if id.starts_with("away") {
            return Err(Status::unavailable("no answer"));
        }
        if id.starts_with("mute") {
            std::future::pending::<()>().await;
        }
        let delete_time = id.starts_with("gone").then(|| SystemTime::now().into());
        let (display_name, email) = (id.to_owned(), format!("{id}@example.com"));
        Ok(Response::new(User { name, display_name, email, delete_time, ..User::default() }))
    }

    async fn create_user(&self, _: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        Err(Status::unimplemented("the test issuer makes no accounts"))
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        Err(Status::unimplemented("the test issuer lists no accounts"))
    }

    async fn update_user(&self, _: Request<UpdateUserRequest>) -> Result<Response<User>, Status> {
        Err(Status::unimplemented("the test issuer changes no accounts"))
    }

    async fn delete_user(&self, _: Request<DeleteUserRequest>) -> Result<Response<User>, Status> {
        Err(Status::unimplemented("the test issuer deletes no accounts"))
    }
}
