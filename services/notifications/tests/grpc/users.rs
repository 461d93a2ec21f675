//! A users service whose accounts a test decides about.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use meshwork::Channel;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::auth_service_server::{AuthService, AuthServiceServer};
use meshwork_api::meshwork::users::v1::user_service_server::{UserService, UserServiceServer};
use meshwork_api::meshwork::users::v1::{
    CreateUserRequest, DeleteUserRequest, ExchangeTokenRequest, ExchangedToken, GetJsonWebKeySetRequest,
    GetUserRequest, JsonWebKeySet, ListSessionsRequest, ListSessionsResponse, ListUsersRequest, ListUsersResponse,
    RefreshSessionRequest, RevokeSessionRequest, Session, SignInRequest, SignOutRequest, UpdateUserRequest, User,
};
use meshwork_chassis::Role;
use meshwork_chassis::auth::{GrpcKeys, Verifier};
use meshwork_chassis::consistency::{ConsistencyToken, WalPosition};
use meshwork_testkit::Issuer;
use meshwork_testkit::issuer::{AUDIENCE, ISSUER};
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Answers GetUser, to services only and only where the primary is asked for, and passes the methods of sessions and keys on to an [`Issuer`].
#[derive(Clone)]
pub struct Users {
    pub issuer: Arc<Issuer>,
    pub target: String,
    auth: AuthServiceClient<Channel>,
    verifier: Arc<Verifier>,
    accounts: Arc<Mutex<HashMap<String, User>>>,
    /// Accounts whose lookup waits.
    held: watch::Sender<HashSet<String>>,
    down: watch::Sender<bool>,
}

impl Users {
    pub async fn start() -> Self {
        let issuer = Arc::new(Issuer::start().await);
        let channel = Channel::connect_lazy(&issuer.target()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let users = Self {
            target: format!("http://{}", listener.local_addr().unwrap()),
            auth: AuthServiceClient::new(channel.clone()),
            verifier: Arc::new(Verifier::new(Arc::new(GrpcKeys::new(channel)), ISSUER, AUDIENCE)),
            issuer,
            accounts: Arc::default(),
            held: watch::Sender::default(),
            down: watch::Sender::default(),
        };
        let server = Server::builder()
            .add_service(UserServiceServer::new(users.clone()))
            .add_service(AuthServiceServer::new(users.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        for user in ["anna", "bert"] {
            users.put(user, false);
        }
        users
    }

    /// An account `users/{user}` with the address `{user}@example.com`.
    pub fn put(&self, user: &str, is_deleted: bool) {
        let account = User {
            name: format!("users/{user}"),
            email: format!("{user}@example.com"),
            display_name: user.to_uppercase(),
            delete_time: is_deleted.then(prost_types::Timestamp::default),
            ..User::default()
        };
        self.accounts.lock().unwrap().insert(account.name.clone(), account);
    }

    /// An account `users/{user}` of somebody who signs in with another issuer: it has no address.
    pub fn put_without_address(&self, user: &str) {
        self.put(user, false);
        let name = format!("users/{user}");
        self.accounts.lock().unwrap().entry(name).and_modify(|account| account.email.clear());
    }

    /// Lets lookups of `users/{user}` wait, or go on.
    pub fn hold(&self, user: &str, is_held: bool) {
        let name = format!("users/{user}");
        self.held.send_modify(|held| {
            if is_held {
                held.insert(name)
            } else {
                held.remove(&name)
            };
        });
    }

    /// Refuses all lookups, or none.
    pub fn set_down(&self, is_down: bool) {
        self.down.send_replace(is_down);
    }
}

#[tonic::async_trait]
impl UserService for Users {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        if *self.down.borrow() {
            return Err(Status::unavailable("planted"));
        }
        let token =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let caller =
            self.verifier.verify(token.unwrap_or_default()).await.map_err(|_| Status::unauthenticated("token"))?;
        assert_eq!(caller.role(), Some(Role::Service));
        // A replica must not answer.
        let token = ConsistencyToken::answered(request.metadata());
        assert_eq!(token.and_then(|token| token.wal), Some(WalPosition::UNKNOWN));
        let name = request.into_inner().name;
        self.held.subscribe().wait_for(|held| !held.contains(&name)).await.unwrap();
        let account = self.accounts.lock().unwrap().get(&name).cloned();
        account.map(Response::new).ok_or_else(|| Status::not_found(name))
    }

    async fn create_user(&self, _: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn update_user(&self, _: Request<UpdateUserRequest>) -> Result<Response<User>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn delete_user(&self, _: Request<DeleteUserRequest>) -> Result<Response<User>, Status> {
        Err(Status::unimplemented("fake"))
    }
}

#[tonic::async_trait]
impl AuthService for Users {
    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<Session>, Status> {
        self.auth.clone().sign_in(request.into_inner()).await
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

    async fn exchange_token(&self, _: Request<ExchangeTokenRequest>) -> Result<Response<ExchangedToken>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_json_web_key_set(
        &self,
        request: Request<GetJsonWebKeySetRequest>,
    ) -> Result<Response<JsonWebKeySet>, Status> {
        self.auth.clone().get_json_web_key_set(request.into_inner()).await
    }
}
