//! An AuthService for tests, which signs everybody in.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use meshwork_api::meshwork::users::v1::auth_service_server::{AuthService, AuthServiceServer};
use meshwork_api::meshwork::users::v1::{
    ExchangeTokenRequest, ExchangedToken, GetJsonWebKeySetRequest, JsonWebKeySet, ListSessionsRequest,
    ListSessionsResponse, RefreshSessionRequest, RevokeSessionRequest, Session, SignInRequest, SignOutRequest,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Signs in and refreshes, and does nothing else.
pub struct OpenAuth {
    /// How long its tokens live.
    pub life: Duration,
}

impl OpenAuth {
    /// Serves on a free port until the test's runtime ends; returns where.
    pub fn serve(self) -> String {
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let target = format!("http://{}", incoming.local_addr().unwrap());
        tokio::spawn(Server::builder().add_service(AuthServiceServer::new(self)).serve_with_incoming(incoming));
        target
    }

    fn session(&self, access_token: &str) -> Answer<Session> {
        let access_token_expire_time = Some((SystemTime::now() + self.life).into());
        let access_token = access_token.to_owned();
        Ok(Response::new(Session { access_token, access_token_expire_time, ..Session::default() }))
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn nothing<T>() -> Answer<T> {
    Err(Status::unimplemented("it only signs in"))
}

#[tonic::async_trait]
impl AuthService for OpenAuth {
    async fn sign_in(&self, _: Request<SignInRequest>) -> Answer<Session> {
        self.session("signed-in")
    }

    async fn refresh_session(&self, _: Request<RefreshSessionRequest>) -> Answer<Session> {
        self.session("refreshed")
    }

    async fn sign_out(&self, _: Request<SignOutRequest>) -> Answer<()> {
        nothing()
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        nothing()
    }

    async fn revoke_session(&self, _: Request<RevokeSessionRequest>) -> Answer<()> {
        nothing()
    }

    async fn exchange_token(&self, _: Request<ExchangeTokenRequest>) -> Answer<ExchangedToken> {
        nothing()
    }

    async fn get_json_web_key_set(&self, _: Request<GetJsonWebKeySetRequest>) -> Answer<JsonWebKeySet> {
        nothing()
    }
}
