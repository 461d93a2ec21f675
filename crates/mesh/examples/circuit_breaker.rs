//! A circuit breaker, seen opening and closing: a server fails five calls, gets none for half a second, then a few that
//! probe it, then all again.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork::Channel;
use meshwork::observe::Event;
use meshwork::policy::{CircuitBreaker, Policy};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ill = Arc::new(AtomicBool::new(true));
    let address = serve(Arc::clone(&ill)).await?;
    // There is one server only: with a share below 100 % its circuit would stay closed, since no other could answer.
    let open_for = Duration::from_millis(500);
    let breaker = CircuitBreaker { open_for, max_open_percent: 100, ..CircuitBreaker::default() };
    let channel = Channel::builder()
        .policy(Policy::builder().circuit_breaker(breaker).build())
        .observer(|event: &Event<'_>| {
            if let Event::CircuitChanged { endpoint, circuit } = event {
                println!("{endpoint}: {circuit:?}");
            }
        })
        .connect(&format!("static:///{address}"))
        .await?;
    let mut client = HealthClient::new(channel.clone());

    for _ in 0..5 {
        println!("call: {}", outcome(&mut client).await);
    }
    println!("rejected: {}", outcome(&mut client).await);

    ill.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(600)).await;
    for _ in 0..4 {
        println!("call: {}", outcome(&mut client).await);
    }
    for endpoint in channel.endpoints() {
        println!("at the end {}: {:?}", endpoint.name, endpoint.circuit);
    }
    Ok(())
}

async fn outcome(client: &mut HealthClient<Channel>) -> String {
    match client.check(HealthCheckRequest::default()).await {
        Ok(_) => "OK".to_owned(),
        Err(status) => format!("{:?}, {}", status.code(), status.message()),
    }
}

/// A gRPC server that fails while it is ill.
async fn serve(ill: Arc<AtomicBool>) -> Result<SocketAddr, Box<dyn Error>> {
    let (reporter, _) = tonic_health::server::health_reporter();
    let health = tonic_health::server::HealthService::from_health_reporter(reporter);
    let service =
        HealthServer::with_interceptor(health, move |request: Request<()>| match ill.load(Ordering::Relaxed) {
            true => Err(Status::internal("ill")),
            false => Ok(request),
        });
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok(address)
}
