//! A retry policy, and what it does to a call: the first two attempts fail, the third is answered.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use meshwork::policy::Policy;
use meshwork::{CallTrace, Channel};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;

const POLICY: &str = r#"{
    "methodConfig": [{
        "name": [{"service": "grpc.health.v1.Health", "method": "Check"}],
        "timeout": "2s",
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.05s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"]
        }
    }]
}"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = serve().await?;
    let channel = Channel::builder().policy(Policy::parse(POLICY)?).connect(&format!("static:///{address}")).await?;
    let mut client = HealthClient::new(channel);

    let trace = CallTrace::new();
    let mut request = Request::new(HealthCheckRequest { service: "shop".into() });
    request.extensions_mut().insert(trace.clone());
    let answer = client.check(request).await?.into_inner();

    println!("answer: {:?}", answer.status());
    println!("attempts: {}", trace.report().attempts.len());
    println!("{}", trace.report());
    Ok(())
}

/// A gRPC server that fails its first two calls.
async fn serve() -> Result<SocketAddr, Box<dyn Error>> {
    let (reporter, _) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", ServingStatus::Serving).await;
    let calls = Arc::new(AtomicU32::new(0));
    let health = tonic_health::server::HealthService::from_health_reporter(reporter);
    let service = HealthServer::with_interceptor(health, move |request: Request<()>| {
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(Status::unavailable("not yet")),
            _ => Ok(request),
        }
    });
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok(address)
}
