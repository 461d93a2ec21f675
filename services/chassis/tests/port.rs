//! A port on the loopback address: reflection, health, and calls without a token.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use meshwork::Channel;
use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_chassis::auth::{GrpcKeys, Verifier};
use meshwork_chassis::config::Listen;
use meshwork_chassis::server::{self, ServerConfig};
use meshwork_chassis::{CancellationToken, Health};
use meshwork_testkit::Issuer;
use prost::Message;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What every port serves beside its own services.
const OWN: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
const ORDERS: &str = "meshwork.orders.v1.OrderService";

/// Stands where the orders service would; no call of these tests gets so far.
#[derive(Clone)]
struct Orders;

impl NamedService for Orders {
    const NAME: &'static str = ORDERS;
}

impl tower::Service<Request<Body>> for Orders {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

/// Serves a port with the keys of `users`, ready once `is_ready` is cancelled.
async fn port(users: &str, is_ready: &CancellationToken, shutdown: &CancellationToken) -> Channel {
    let keys = Arc::new(GrpcKeys::new(Channel::connect_lazy(users).unwrap()));
    let verifier = Arc::new(Verifier::new(keys, "issuer", "audience"));
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (health, is_ready) = (Health::new(), is_ready.clone());
    let condition = health.condition("the test says so");
    tokio::spawn(async move {
        is_ready.cancelled().await;
        condition.met();
    });
    tokio::spawn(server::require_keys(verifier.clone(), &health)(shutdown.clone()));
    let config = ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() };
    let server = server::builder(&config, "tests.meshwork.dev", &verifier, &health).unwrap().add_service(Orders);
    tokio::spawn(server::serve(server, listen.listener().unwrap(), shutdown.clone()));
    Channel::connect_lazy(&format!("http://{}", listen.address())).unwrap()
}

async fn watch(channel: &Channel, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner()
}

async fn status(watched: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let message = tokio::time::timeout(Duration::from_secs(10), watched.message()).await.unwrap();
    message.unwrap().unwrap().status()
}

#[tokio::test]
async fn a_port_serves_from_ready_until_the_stop_begins() {
    let (issuer, is_ready, shutdown) = (Issuer::start().await, CancellationToken::new(), CancellationToken::new());
    let channel = port(&issuer.target(), &is_ready, &shutdown).await;
    let (mut whole, mut orders) = (watch(&channel, "").await, watch(&channel, ORDERS).await);
    for watched in [&mut whole, &mut orders] {
        assert_eq!(status(watched).await, ServingStatus::NotServing);
    }
    is_ready.cancel();
    for watched in [&mut whole, &mut orders] {
        assert_eq!(status(watched).await, ServingStatus::Serving);
    }
    shutdown.cancel();
    for watched in [&mut whole, &mut orders] {
        assert_eq!(status(watched).await, ServingStatus::NotServing);
    }
}

#[tokio::test]
async fn a_port_without_keys_does_not_serve() {
    let (is_ready, shutdown) = (CancellationToken::new(), CancellationToken::new());
    is_ready.cancel();
    let channel = port("http://127.0.0.1:1", &is_ready, &shutdown).await;
    let mut whole = watch(&channel, "").await;
    assert_eq!(status(&mut whole).await, ServingStatus::NotServing);
    let changed = tokio::time::timeout(Duration::from_millis(300), whole.message()).await;
    assert!(changed.is_err(), "{changed:?}");
    shutdown.cancel();
}

#[tokio::test]
async fn a_call_without_a_token_is_unauthenticated() {
    let (issuer, is_ready, shutdown) = (Issuer::start().await, CancellationToken::new(), CancellationToken::new());
    let channel = port(&issuer.target(), &is_ready, &shutdown).await;
    let refused = OrderServiceClient::new(channel).get_order(GetOrderRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    shutdown.cancel();
}

/// Asks one version of reflection for its services and for the file of the orders service.
macro_rules! reflected {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let requests =
            [MessageRequest::ListServices(String::new()), MessageRequest::FileContainingSymbol(ORDERS.into())]
                .map(|request| ServerReflectionRequest { host: String::new(), message_request: Some(request) });
        let mut client = ServerReflectionClient::new($channel);
        let answers = client.server_reflection_info(tokio_stream::iter(requests)).await;
        let mut answers = answers.unwrap().into_inner();
        let mut next = async || answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(list) = next().await else { panic!("no list") };
        let MessageResponse::FileDescriptorResponse(files) = next().await else { panic!("no file") };
        (list.service.into_iter().map(|service| service.name).collect::<Vec<_>>(), files.file_descriptor_proto)
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_show_the_services_with_their_comments() {
    let (issuer, is_ready, shutdown) = (Issuer::start().await, CancellationToken::new(), CancellationToken::new());
    let channel = port(&issuer.target(), &is_ready, &shutdown).await;
    for (services, files) in [reflected!(v1, channel.clone()), reflected!(v1alpha, channel.clone())] {
        for service in OWN.into_iter().chain([ORDERS]) {
            assert!(services.iter().any(|name| name == service), "{service} is missing in {services:?}");
        }
        let files = files.iter().map(|file| prost_types::FileDescriptorProto::decode(&file[..]).unwrap());
        let file = files.into_iter().find(|file| file.service.iter().any(|service| service.name() == "OrderService"));
        let comments = file.unwrap().source_code_info.unwrap_or_default().location;
        assert!(comments.iter().any(|location| location.leading_comments().contains("order")), "no comments");
    }
    shutdown.cancel();
}
