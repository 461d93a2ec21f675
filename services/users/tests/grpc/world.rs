//! A running service and its callers.

use meshwork_chassis::ServerConfig;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meshwork::Channel;
use meshwork_api::meshwork::users::v1::api_key_service_client::ApiKeyServiceClient;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{
    ApiKey, CreateApiKeyRequest, CreateUserRequest, ExchangeTokenRequest, ExchangedToken, GetUserRequest,
    ListUsersRequest, Session, SignInRequest, User,
};
use meshwork_chassis::config::{Credentials, Listen};
use meshwork_chassis::{CancellationToken, Health, ServeError};
use meshwork_users::{Config, PasswordsConfig, serve};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_types::StatusExt;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The password of everybody whom a test signs up.
pub const PASSWORD: &str = "a good password";

/// A running service.
pub struct World {
    pub config: Config,
    pub users: UserServiceClient<Channel>,
    pub auth: AuthServiceClient<Channel>,
    pub keys: ApiKeyServiceClient<Channel>,
    pub channel: Channel,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
    folder: TempDir,
    count: AtomicU32,
}

/// Somebody who has signed in.
pub struct Caller {
    pub user: User,
    pub session: Session,
}

impl Caller {
    pub fn name(&self) -> String {
        self.user.name.clone()
    }

    /// A request with this caller's token.
    pub fn asks<T>(&self, message: T) -> Request<T> {
        bearing(&self.session.access_token, message)
    }
}

/// A request with a token.
pub fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// The settings of a service in `folder`, on a free port.
pub fn config_in(folder: &Path) -> Config {
    Config {
        listen: Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        data: folder.join("users"),
        bus: folder.join("bus"),
        credentials: folder.join("credentials"),
        server: ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() },
        // All callers are at one address.
        passwords: PasswordsConfig { waiting_per_address: NonZeroU32::new(512).unwrap(), ..PasswordsConfig::default() },
        ..Config::default()
    }
}

impl World {
    /// Starts a service in a new folder.
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts a service on what is in `folder`, and waits until it serves.
    pub async fn start_in(folder: TempDir) -> Self {
        let config = config_in(folder.path());
        Self::start_as(folder, config).await
    }

    /// Starts a service with settings whose folders are in `folder`, and waits until it serves.
    pub async fn start_as(folder: TempDir, config: Config) -> Self {
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(config.clone(), Health::new(), shutdown.clone()));
        let channel = Channel::connect_lazy(&format!("http://{}", config.listen.address())).unwrap();
        let world = Self {
            users: UserServiceClient::new(channel.clone()),
            auth: AuthServiceClient::new(channel.clone()),
            keys: ApiKeyServiceClient::new(channel.clone()),
            channel: channel.clone(),
            config,
            shutdown,
            served,
            folder,
            count: AtomicU32::new(0),
        };
        let serving = async {
            let mut states =
                HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
            while states.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
        };
        tokio::time::timeout(PATIENCE, serving).await.unwrap();
        world
    }

    /// Stops the service and returns its folder.
    pub async fn stop(self) -> TempDir {
        let Self { shutdown, served, folder, users, auth, keys, channel, .. } = self;
        // An open connection would be drained first.
        drop((users, auth, keys, channel));
        shutdown.cancel();
        tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap().unwrap();
        folder
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The credentials of a first account.
    pub fn credentials(&self, label: &str) -> Credentials {
        Credentials::read(&self.config.credentials.join(format!("{label}.json"))).unwrap()
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Session, Status> {
        let request = SignInRequest { email: email.to_owned(), password: password.to_owned() };
        self.auth.clone().sign_in(request).await.map(Response::into_inner)
    }

    /// Signs in with the credentials of a first account.
    pub async fn first(&self, label: &str) -> Caller {
        let credentials = self.credentials(label);
        let session = self.sign_in(&credentials.email, credentials.password.expose()).await.unwrap();
        let get = GetUserRequest { name: session.user.clone() };
        let user = self.users.clone().get_user(bearing(&session.access_token, get)).await.unwrap().into_inner();
        Caller { user, session }
    }

    pub async fn staff(&self) -> Caller {
        self.first("staff").await
    }

    /// A request to sign up somebody new.
    pub fn sign_up_request(&self) -> CreateUserRequest {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let user = User {
            email: format!("person{n}@example.com"),
            display_name: format!("Person {n}"),
            password: PASSWORD.to_owned(),
            ..User::default()
        };
        CreateUserRequest { user: Some(user), ..CreateUserRequest::default() }
    }

    /// Signs up somebody new and signs them in.
    pub async fn customer(&self) -> Caller {
        let user = self.users.clone().create_user(self.sign_up_request()).await.unwrap().into_inner();
        let session = self.sign_in(&user.email, PASSWORD).await.unwrap();
        Caller { user, session }
    }

    /// Makes a key of a caller's account; what isn't given is left to the service.
    pub async fn make_key(&self, caller: &Caller, key: ApiKey) -> Result<ApiKey, Status> {
        let display_name = if key.display_name.is_empty() { "A program".to_owned() } else { key.display_name };
        let api_key = Some(ApiKey { display_name, ..key });
        let request = CreateApiKeyRequest { parent: caller.name(), api_key, ..CreateApiKeyRequest::default() };
        self.keys.clone().create_api_key(caller.asks(request)).await.map(Response::into_inner)
    }

    pub async fn exchange(&self, text: &str) -> Result<ExchangedToken, Status> {
        let request = ExchangeTokenRequest { subject_token: text.to_owned() };
        self.auth.clone().exchange_token(request).await.map(Response::into_inner)
    }

    /// A program that calls in the name of a caller, by a key that nothing restricts.
    pub async fn program_of(&self, caller: &Caller) -> Caller {
        let key = self.make_key(caller, ApiKey::default()).await.unwrap();
        let access_token = self.exchange(&key.secret).await.unwrap().access_token;
        Caller { user: caller.user.clone(), session: Session { access_token, ..Session::default() } }
    }

    /// All accounts, deleted ones too: what a refused call must leave as it was.
    pub async fn everything(&self, staff: &Caller) -> Vec<User> {
        let request = ListUsersRequest { page_size: 200, show_deleted: true, ..ListUsersRequest::default() };
        let list = self.users.clone().list_users(staff.asks(request)).await.unwrap().into_inner();
        assert_eq!(list.next_page_token, "", "a page holds everything");
        list.users
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Checks the code and the reason of a refusal, and that it comes from this service.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = result.unwrap_err();
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{status:?}");
    assert_eq!(info.domain, "users.meshwork.dev");
    status
}

/// Checks that a request was refused for exactly these fields.
#[track_caller]
pub fn refused_fields<T: Debug>(result: Result<T, Status>, fields: &[&str]) -> Status {
    let status = refused(result, Code::InvalidArgument, "INVALID_FIELDS");
    let details = status.get_details_bad_request().unwrap();
    let found: Vec<_> = details.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(found, fields, "{status:?}");
    status
}
