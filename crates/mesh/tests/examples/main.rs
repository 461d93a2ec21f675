//! Runs the examples as a user would, and holds the promise that one line changes.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tonic::IntoRequest as _;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What an example prints. Cargo builds the examples with the tests, beside them.
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
async fn own_resolver() {
    let text = run("own_resolver").await;
    assert!(text.contains("endpoints: 1\nendpoints: 2\n") && text.contains("near: asked"), "{text}");
}

#[tokio::test]
async fn mtls() {
    let text = run("mtls").await;
    assert!(text.contains("a call with the first identity succeeds"), "{text}");
}

/// What a user has written for tonic's channel, for any service: unary and server streaming by a generated client, and the
/// other two kinds by the client that generated ones stand on.
macro_rules! users_code {
    ($name:ident, $channel:ty) => {
        async fn $name(channel: $channel) -> Result<(), tonic::Status> {
            type Codec = tonic_prost::ProstCodec<HealthCheckRequest, HealthCheckResponse>;
            let path = || http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
            let mut client = HealthClient::new(channel.clone());
            client.check(HealthCheckRequest::default()).await?;
            client.watch(HealthCheckRequest::default()).await?.into_inner().message().await?;
            let mut intercepted = HealthClient::with_interceptor(channel.clone(), |request| Ok(request));
            intercepted.check(HealthCheckRequest::default()).await?;
            let requests = || tokio_stream::iter([HealthCheckRequest::default()]);
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.unwrap();
            grpc.client_streaming(requests().into_request(), path(), Codec::default()).await?;
            grpc.ready().await.unwrap();
            let mut both = grpc.streaming(requests().into_request(), path(), Codec::default()).await?.into_inner();
            both.message().await?;
            Ok(())
        }
    };
}

users_code!(by_tonic, tonic::transport::Channel);
users_code!(by_mesh, meshwork::Channel);

#[tokio::test]
async fn one_line_changes() {
    let (_, service) = tonic_health::server::health_reporter();
    let incoming = tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let incoming = incoming.with_nodelay(Some(true));
    let server = incoming.local_addr().unwrap();
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));

    let endpoint = tonic::transport::Channel::from_shared(format!("http://{server}")).unwrap();
    by_tonic(endpoint.connect().await.unwrap()).await.unwrap();
    by_mesh(meshwork::Channel::connect(&format!("http://{server}")).await.unwrap()).await.unwrap();
}
