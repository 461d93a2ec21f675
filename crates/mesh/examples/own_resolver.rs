//! A resolver of one's own: endpoints come from a list that changes while the channel lives, and a picker of one's own
//! prefers those of the own zone.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use meshwork::Channel;
use meshwork::balance::{Candidate, PickArgs, Picker};
use meshwork::endpoint::Endpoint;
use meshwork::observe::Connectivity;
use meshwork::resolve::{Resolution, ResolveError, Resolver};
use tokio::sync::{Mutex, watch};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// The servers as somebody else, such as a registry, tells them.
struct Registry {
    servers: watch::Receiver<Vec<Endpoint>>,
    /// Remembers which change was announced: a clone made at each call would announce the last one again and again.
    changes: Mutex<watch::Receiver<Vec<Endpoint>>>,
}

impl Registry {
    fn new(servers: watch::Receiver<Vec<Endpoint>>) -> Self {
        Self { changes: Mutex::new(servers.clone()), servers }
    }
}

#[tonic::async_trait]
impl Resolver for Registry {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        Ok(Resolution::new(self.servers.borrow().clone()))
    }

    async fn changed(&self) {
        if self.changes.lock().await.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Takes the first endpoint of the own zone while there is one.
struct SameZone(&'static str);

impl Picker for SameZone {
    fn pick(&self, _call: &PickArgs<'_>, ready: &[Candidate]) -> usize {
        ready.iter().position(|candidate| candidate.endpoint().get_zone() == Some(self.0)).unwrap_or(0)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (far, near) = (serve().await?, serve().await?);
    let (registry, servers) = watch::channel(vec![Endpoint::new(far).zone("far")]);
    let channel = Channel::builder()
        .resolver(Registry::new(servers))
        .picker(SameZone("near"))
        .connect("registry:///users")
        .await?;
    let mut client = HealthClient::new(channel.clone());
    client.check(HealthCheckRequest::default()).await?;
    println!("endpoints: {}", channel.endpoints().len());

    registry.send(vec![Endpoint::new(far).zone("far"), Endpoint::new(near).zone("near")])?;
    let both = async {
        while channel.endpoints().iter().filter(|endpoint| endpoint.state == Connectivity::Ready).count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), both).await?;
    println!("endpoints: {}", channel.endpoints().len());

    for _ in 0..10 {
        client.check(HealthCheckRequest::default()).await?;
    }
    for endpoint in channel.endpoints() {
        let asked = if endpoint.latency.is_zero() { "not asked" } else { "asked" };
        let zone = if *endpoint.name == near.to_string() { "near" } else { "far" };
        println!("{zone}: {asked}");
    }
    Ok(())
}

/// A gRPC server on a port of its own.
async fn serve() -> Result<SocketAddr, Box<dyn Error>> {
    let (_, service) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok(address)
}
