//! The stop of a port.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork::Channel;
use meshwork_chassis::auth::{GrpcKeys, Verifier};
use meshwork_chassis::config::Listen;
use meshwork_chassis::server::{self, ServerConfig};
use meshwork_chassis::{CancellationToken, Health};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn connections_without_calls_do_not_hold_the_stop() {
    let keys = Arc::new(GrpcKeys::new(Channel::connect_lazy("http://127.0.0.1:1").unwrap()));
    let verifier = Arc::new(Verifier::new(keys, "issuer", "audience"));
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() };
    let server = server::builder(&config, "tests.meshwork.dev", &verifier, &Health::new()).unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(server::serve(server, listen.listener().unwrap(), shutdown.clone()));

    let silent = TcpStream::connect(listen.address()).await.unwrap();
    let mut health = HealthClient::new(Channel::connect_lazy(&format!("http://{}", listen.address())).unwrap());
    // Watched for good; this has been accepted after the silent connection.
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();

    let asked = Instant::now();
    shutdown.cancel();
    served.await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "the stop took {:?}", asked.elapsed());
    drop((silent, watched));
}
