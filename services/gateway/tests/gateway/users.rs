//! A users service that exchanges what tests have put into its table, and counts how often it is asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::auth_service_server::{AuthService, AuthServiceServer};
use meshwork_api::meshwork::users::v1::{
    ExchangeTokenRequest, ExchangedToken, GetJsonWebKeySetRequest, JsonWebKeySet, ListSessionsRequest,
    ListSessionsResponse, RefreshSessionRequest, RevokeSessionRequest, Session, SignInRequest, SignOutRequest,
};
use meshwork_testkit::Issuer;
use meshwork_testkit::issuer::Claims;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

/// What the service does with a text that it is to exchange.
#[derive(Clone)]
pub enum Becomes {
    /// A token with these claims.
    Token(Claims),
    /// This text, as if it were a token, which says that it lives for an hour.
    Text(String),
    /// This error.
    Error(Status),
    /// Nothing, until it is released.
    Held(Claims),
}

/// The table, and what was asked.
#[derive(Default)]
pub struct Exchanges {
    table: Mutex<HashMap<String, Becomes>>,
    /// The texts, and the address that the call named.
    asked: Mutex<Vec<(String, String)>>,
    pub released: watch::Sender<bool>,
}

/// The service. What isn't about exchanges is the [`Issuer`]'s. It ends when it is dropped.
pub struct Users {
    pub exchanges: Arc<Exchanges>,
    address: SocketAddr,
    /// Of its own, so that its connections end with it.
    runtime: Mutex<Option<Runtime>>,
}

impl Users {
    /// Starts in front of `issuer`, whose keys sign.
    pub async fn start(issuer: Arc<Issuer>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listen = async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let listener = runtime.spawn(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let exchanges = Arc::<Exchanges>::default();
        // Lazy, so that it is of the runtime that uses it.
        let channel = {
            let _entered = runtime.enter();
            Channel::from_shared(issuer.target()).unwrap().connect_lazy()
        };
        let service = Service { exchanges: Arc::clone(&exchanges), auth: AuthServiceClient::new(channel), issuer };
        runtime.spawn(async move {
            let server = Server::builder().add_service(AuthServiceServer::new(service));
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { exchanges, address, runtime: Mutex::new(Some(runtime)) }
    }

    pub fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, this is what becomes of `text`.
    pub fn exchange(&self, text: &str, becomes: Becomes) {
        self.exchanges.table.lock().unwrap().insert(text.to_owned(), becomes);
    }

    /// `text` is known no longer.
    pub fn revoke(&self, text: &str) {
        self.exchanges.table.lock().unwrap().remove(text);
    }

    /// How often `text` was to be exchanged.
    pub fn asked(&self, text: &str) -> usize {
        self.exchanges.asked.lock().unwrap().iter().filter(|(asked, _)| asked == text).count()
    }

    /// The addresses that exchanges of `text` were for.
    pub fn addresses(&self, text: &str) -> Vec<String> {
        let asked = self.exchanges.asked.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == text).map(|(_, address)| address.clone()).collect()
    }

    /// Ends the service at once.
    pub fn kill(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The claims of a token of the account `users/{user}` that lives for `life`.
pub fn claims(user: &str, life: Duration) -> Claims {
    let expiry = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + life;
    Claims { exp: expiry.as_secs(), ..Claims::of(user, "customer") }
}

struct Service {
    exchanges: Arc<Exchanges>,
    issuer: Arc<Issuer>,
    auth: AuthServiceClient<Channel>,
}

impl Service {
    fn token(&self, claims: &Claims) -> Response<ExchangedToken> {
        let expiry = UNIX_EPOCH + Duration::from_secs(claims.exp);
        Response::new(ExchangedToken {
            user: claims.sub.clone(),
            access_token: self.issuer.sign(claims),
            access_token_expire_time: Some(expiry.into()),
        })
    }
}

#[tonic::async_trait]
impl AuthService for Service {
    async fn exchange_token(&self, request: Request<ExchangeTokenRequest>) -> Result<Response<ExchangedToken>, Status> {
        let address = request.metadata().get("meshwork-client-address").map(|address| address.to_str().unwrap());
        let address = address.unwrap_or("none").to_owned();
        let text = request.into_inner().subject_token;
        self.exchanges.asked.lock().unwrap().push((text.clone(), address));
        let becomes = self.exchanges.table.lock().unwrap().get(&text).cloned();
        match becomes {
            Some(Becomes::Token(claims)) => Ok(self.token(&claims)),
            Some(Becomes::Text(text)) => Ok(Response::new(ExchangedToken {
                user: "users/anna".to_owned(),
                access_token: text,
                access_token_expire_time: Some((SystemTime::now() + Duration::from_secs(3600)).into()),
            })),
            Some(Becomes::Error(status)) => Err(status),
            Some(Becomes::Held(claims)) => {
                self.exchanges.released.subscribe().wait_for(|released| *released).await.unwrap();
                Ok(self.token(&claims))
            }
            None => Err(Status::unauthenticated("it can't be exchanged")),
        }
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<Session>, Status> {
        self.auth.clone().sign_in(request).await
    }

    async fn get_json_web_key_set(
        &self,
        request: Request<GetJsonWebKeySetRequest>,
    ) -> Result<Response<JsonWebKeySet>, Status> {
        self.auth.clone().get_json_web_key_set(request).await
    }

    async fn refresh_session(&self, _: Request<RefreshSessionRequest>) -> Result<Response<Session>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn sign_out(&self, _: Request<SignOutRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Result<Response<ListSessionsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn revoke_session(&self, _: Request<RevokeSessionRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("fake"))
    }
}
