//! Runs the examples as a user would, and holds the promise that one line changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod kinds;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kinds::{Codec, Kinds, message, path};
use meshwork::layer::{
    CircuitBreakerLayer, ConcurrencyLimitLayer, DeadlineLayer, HedgeLayer, RateLimitLayer, RetryLayer,
};
use meshwork::limit::{ConcurrencyLimit, RateLimit};
use meshwork::policy::{self, CircuitBreaker, HedgingPolicy, RetryPolicy};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, IntoRequest as _, IntoStreamingRequest as _, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;

/// What an example prints. `cargo test` builds the examples with the tests, beside them; before `cargo test --test examples`
/// it takes `cargo build --examples`.
async fn run(name: &str) -> String {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(["examples", name]);
    let child = Command::new(&path).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let child = child.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test]
async fn replace_tonic_channel() {
    let text = run("replace_tonic_channel").await;
    assert!(text.contains("stopped") && text.contains("200 of 200 calls were answered"), "{text}");
}

#[tokio::test]
async fn retry_policy() {
    let text = run("retry_policy").await;
    assert!(text.contains("answer: Serving\nattempts: 3\n") && text.contains("Unavailable; 2: retry after"), "{text}");
}

#[tokio::test]
async fn circuit_breaker() {
    let text = run("circuit_breaker").await;
    let (open, half) = (text.find(": Open").unwrap(), text.find(": HalfOpen").unwrap());
    assert!(open < half && half < text.find(": Closed").unwrap(), "{text}");
    assert!(text.contains("rejected: Unavailable, the circuit breaker of the only endpoint is open"), "{text}");
    assert_eq!(text.matches("call: OK").count(), 4, "{text}");
}

#[tokio::test]
async fn server() {
    let text = run("server").await;
    let states = "health: NotServing\nhealth: Serving\n";
    let calls = "call: admitted\ncall: admitted\ncall: ResourceExhausted, again in 60 s\n";
    let end = "health: NotServing\nhook: flushed\nstopped\n";
    assert_eq!(text, format!("{states}{calls}{end}"));
}

#[tokio::test]
async fn own_resolver() {
    let text = run("own_resolver").await;
    assert!(text.contains("endpoints: 1\nendpoints: 2\n") && text.contains("near: asked"), "{text}");
}

#[tokio::test]
async fn mtls() {
    let text = run("mtls").await;
    assert!(text.contains("a call with the first identity succeeds"), "{text}");
}

/// What a user has written for tonic's channel: a generated client, bare and with an interceptor, and a method of each kind.
macro_rules! users_code {
    ($name:ident, $channel:ty) => {
        async fn $name(channel: $channel) -> Result<(), tonic::Status> {
            let mut client: HealthClient<$channel> = HealthClient::new(channel.clone());
            client.check(HealthCheckRequest::default()).await?;
            client.watch(HealthCheckRequest::default()).await?.into_inner().message().await?;
            let mut intercepted = HealthClient::with_interceptor(channel.clone(), |request| Ok(request));
            intercepted.check(HealthCheckRequest::default()).await?;

            let mut grpc: Grpc<$channel> = Grpc::new(channel);
            grpc.ready().await.unwrap();
            let one = grpc.unary(message("one").into_request(), path("/kinds.Kinds/One"), Codec::default()).await?;
            assert_eq!(one.into_inner().service, "one");

            grpc.ready().await.unwrap();
            let abc = message("abc").into_request();
            let letters = grpc.server_streaming(abc, path("/kinds.Kinds/Letters"), Codec::default()).await?;
            assert_eq!(texts(letters.into_inner()).await?, ["a", "b", "c"]);

            grpc.ready().await.unwrap();
            let parts = tokio_stream::iter(["a", "b", "c"].map(message)).into_streaming_request();
            let joined = grpc.client_streaming(parts, path("/kinds.Kinds/Join"), Codec::default()).await?;
            assert_eq!(joined.into_inner().service, "abc");

            // Each message is sent after the answer to the one before it: both directions are open at once.
            grpc.ready().await.unwrap();
            let (send, requests) = mpsc::channel(1);
            let requests = ReceiverStream::new(requests).into_streaming_request();
            send.send(message("a")).await.unwrap();
            let mut answers =
                grpc.streaming(requests, path("/kinds.Kinds/Shout"), Codec::default()).await?.into_inner();
            assert_eq!(answers.message().await?, Some(message("A")));
            send.send(message("b")).await.unwrap();
            assert_eq!(answers.message().await?, Some(message("B")));
            drop(send);
            assert_eq!(answers.message().await?, None);
            Ok(())
        }
    };
}

users_code!(by_tonic, tonic::transport::Channel);
users_code!(by_mesh, meshwork::Channel);

async fn texts(mut answers: Streaming<HealthCheckRequest>) -> Result<Vec<String>, Status> {
    let mut texts = Vec::new();
    while let Some(answer) = answers.message().await? {
        texts.push(answer.service);
    }
    Ok(texts)
}

/// A server with a service of each kind, and tonic's channel and ours to it.
async fn channels() -> (tonic::transport::Channel, meshwork::Channel) {
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_nodelay(Some(true));
    let server = format!("http://{}", incoming.local_addr().unwrap());
    tokio::spawn(Server::builder().add_service(health).add_service(Kinds).serve_with_incoming(incoming));

    let tonic = tonic::transport::Channel::from_shared(server.clone()).unwrap().connect().await.unwrap();
    let mesh = meshwork::Channel::connect(&server).await.unwrap();
    (tonic, mesh)
}

#[tokio::test]
async fn one_line_changes() {
    let (tonic, mesh) = channels().await;
    bounded(by_tonic(tonic)).await.unwrap();
    bounded(by_mesh(mesh)).await.unwrap();
}

/// Calls of both clients through `$layers`, over tonic's channel and ours.
macro_rules! through {
    ($layers:expr) => {
        let layers = $layers;
        let (tonic, mesh) = channels().await;
        let mut over_tonic = HealthClient::new(layers.clone().service(tonic));
        let mut over_mesh = HealthClient::new(layers.service(mesh));
        bounded(async {
            over_tonic.check(HealthCheckRequest::default()).await.unwrap();
            over_mesh.check(HealthCheckRequest::default()).await.unwrap();
            let stream = over_tonic.watch(HealthCheckRequest::default()).await.unwrap();
            assert!(stream.into_inner().message().await.unwrap().is_some());
            let stream = over_mesh.watch(HealthCheckRequest::default()).await.unwrap();
            assert!(stream.into_inner().message().await.unwrap().is_some());
        })
        .await;
    };
}

#[tokio::test]
async fn all_layers_stand_under_a_generated_client() {
    let rate = || RateLimitLayer::new(RateLimit::new(policy::RateLimit { per_second: 1000, burst: 100 }));
    through!(
        ServiceBuilder::new()
            .layer(DeadlineLayer::new(Some(Duration::from_secs(20))))
            .layer(rate())
            .layer(RetryLayer::new(RetryPolicy::default()))
            .layer(ConcurrencyLimitLayer::new(ConcurrencyLimit::new("layers", "retry", 64)))
            .layer(CircuitBreakerLayer::new(CircuitBreaker::default()))
    );
    let hedging = HedgingPolicy {
        max_attempts: 2,
        hedging_delay: Duration::from_secs(10),
        non_fatal_status_codes: [Code::Unavailable].into_iter().collect(),
    };
    through!(
        ServiceBuilder::new()
            .layer(DeadlineLayer::new(Some(Duration::from_secs(20))))
            .layer(rate())
            .layer(HedgeLayer::new(hedging))
            .layer(ConcurrencyLimitLayer::new(ConcurrencyLimit::new("layers", "hedge", 64)))
            .layer(CircuitBreakerLayer::new(CircuitBreaker::default()))
    );
}

async fn bounded<T>(calls: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), calls).await.unwrap()
}
