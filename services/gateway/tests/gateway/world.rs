//! A gateway between tests and two upstreams: an [`Issuer`] as users service and the fake orders service.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{GetOrderRequest, Order, WatchOrderRequest};
use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_chassis::config::{AuthConfig, Listen, Secret};
use meshwork_chassis::{CancellationToken, Health, ServeError, ServerConfig};
use meshwork_gateway::{Config, HttpConfig, RateLimit, Upstreams};
use meshwork_testkit::{Issuer, Redis};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::upstream::Upstream;
use crate::users::Users;

/// How long a condition may take to come true.
pub const BOUND: Duration = Duration::from_secs(20);

/// From there the balancer of a test calls.
pub const BALANCER: &str = "127.0.0.9";

pub struct World {
    pub issuer: Arc<Issuer>,
    pub orders: Upstream,
    pub target: String,
    pub channel: Channel,
    /// How the gateway is, by its own checks.
    pub registry: Health,
    pub shutdown: CancellationToken,
    pub gateway: JoinHandle<Result<(), ServeError>>,
}

impl World {
    /// A gateway whose limit no test reaches.
    pub async fn start() -> Self {
        Self::with_limit(1_000_000, 1_000_000.0).await
    }

    pub async fn with_limit(burst: u32, per_second: f64) -> Self {
        Self::changed(|config| config.rate_limit = limit(burst, per_second)).await
    }

    /// A gateway that counts in a Redis, under keys that begin with `prefix`.
    pub async fn with_limit_in(redis: &Redis, prefix: &str, burst: u32, per_second: f64) -> Self {
        let (url, prefix) = (Secret::new(redis.url()), prefix.to_owned());
        let rate_limit = RateLimit { redis: url, prefix, ..limit(burst, per_second) };
        Self::changed(|config| config.rate_limit = rate_limit).await
    }

    /// A gateway before the orders alone: nothing listens where the others would be.
    pub async fn before_orders_alone() -> Self {
        Self::changed(|config| config.upstreams.users = "http://127.0.0.1:1".to_owned()).await
    }

    /// A gateway that answers what is no gRPC as `http` says.
    pub async fn with_http(http: HttpConfig) -> Self {
        Self::changed(|config| config.http = http).await
    }

    /// A gateway that goes by a file of routes.
    pub async fn with_routes(routes: &Path) -> Self {
        Self::changed(|config| config.routes = routes.to_owned()).await
    }

    /// A gateway that exchanges keys and tokens of other issuers at the second of the pair.
    pub async fn exchanging() -> (Self, Users) {
        let issuer = Arc::new(Issuer::start().await);
        let users = Users::start(Arc::clone(&issuer)).await;
        let target = users.target();
        (Self::before(issuer, |config| config.auth.users = target).await, users)
    }

    /// A gateway whose settings `change` has changed. No test reaches its limit unless it changes that.
    pub async fn changed(change: impl FnOnce(&mut Config)) -> Self {
        Self::before(Arc::new(Issuer::start().await), change).await
    }

    async fn before(issuer: Arc<Issuer>, change: impl FnOnce(&mut Config)) -> Self {
        let orders = Upstream::start().await;
        let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let target = format!("http://{}", listen.address());
        let mut config = Config {
            listen,
            auth: AuthConfig { users: issuer.target(), ..AuthConfig::default() },
            // Nothing listens where products and notifications would be.
            upstreams: Upstreams {
                users: issuer.target(),
                orders: orders.target(),
                products: "http://127.0.0.1:1".to_owned(),
                notifications: "http://127.0.0.1:1".to_owned(),
            },
            server: ServerConfig {
                drain_delay: Duration::ZERO,
                trusted_proxies: vec![BALANCER.to_owned()],
                ..ServerConfig::default().public()
            },
            rate_limit: limit(1_000_000, 1_000_000.0),
            ..Config::default()
        };
        change(&mut config);
        let (registry, shutdown) = (Health::new(), CancellationToken::new());
        let gateway = tokio::spawn(meshwork_gateway::serve(config, registry.clone(), shutdown.clone()));
        let channel = channel(&target, "127.0.0.1").await;
        let world = Self { issuer, orders, target, channel, registry, shutdown, gateway };
        world.wait_for_health("", ServingStatus::Serving).await;
        // Ready without keys, the gateway has them soon.
        eventually(async || {
            let verifiable = world.get("anna", "orders/warm-up").await;
            (!matches!(&verifiable, Err(status) if status.code() == Code::Unavailable)).then_some(())
        })
        .await;
        world
    }

    pub fn request_of<T>(&self, user: &str, role: &str, message: T) -> Request<T> {
        with_token(&self.issuer.token(user, role), message)
    }

    pub fn request<T>(&self, user: &str, message: T) -> Request<T> {
        self.request_of(user, "customer", message)
    }

    pub fn client(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.channel.clone())
    }

    pub async fn get(&self, user: &str, name: &str) -> Result<Order, Status> {
        self.get_with(self.request(user, GetOrderRequest { name: name.to_owned(), ..Default::default() })).await
    }

    pub async fn get_with(&self, request: Request<GetOrderRequest>) -> Result<Order, Status> {
        Ok(self.client().get_order(request).await?.into_inner())
    }

    pub fn watch(&self, name: &str) -> Request<WatchOrderRequest> {
        self.request("anna", WatchOrderRequest { name: name.to_owned(), ..Default::default() })
    }

    /// The health of a service, as the gateway tells it.
    pub async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.to_owned() };
        Ok(HealthClient::new(self.channel.clone()).check(request).await?.into_inner().status())
    }

    pub async fn wait_for_health(&self, service: &str, status: ServingStatus) {
        eventually(async || (self.health(service).await.ok()? == status).then_some(())).await;
    }
}

/// How many calls a client may make.
fn limit(burst: u32, per_second: f64) -> RateLimit {
    RateLimit { burst: NonZeroU32::new(burst).unwrap(), per_second, ..RateLimit::default() }
}

/// Signs in: a call without a token.
pub async fn sign_in(channel: &Channel) -> Result<(), Status> {
    let request = SignInRequest { email: "a@example.com".to_owned(), password: "secret".to_owned() };
    AuthServiceClient::new(channel.clone()).sign_in(request).await.map(drop)
}

/// A connection to the gateway from a given address of this machine.
pub async fn channel(target: &str, from: &str) -> Channel {
    let endpoint = Endpoint::from_shared(target.to_owned()).unwrap().local_address(Some(from.parse().unwrap()));
    endpoint.connect().await.unwrap()
}

pub fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Code and reason of an error of the gateway's own.
#[track_caller]
pub fn told(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("every error has ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "gateway.meshwork.dev");
    (status.code(), info.reason)
}

pub fn error(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

/// The error with which a stream breaks off, in time and without looking complete.
pub async fn break_of<T>(stream: &mut Streaming<T>) -> Status {
    let broken = async {
        loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some(), "a stream that breaks off must not look complete"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(BOUND, broken).await.expect("it breaks off in time")
}

/// Asks until there is an answer.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(BOUND, answer).await.expect("it comes true in time")
}
