//! From tonic's channel to the mesh, by the line that makes the channel:
//!
//! ```diff
//! -let channel = tonic::transport::Channel::from_shared(format!("http://{server}"))?.connect().await?;
//! +let channel = meshwork::Channel::connect(&format!("static:///{one},{other}")).await?;
//!  let mut client = HealthClient::new(channel);
//! ```
//!
//! It has two servers then. One of them stops, and no call fails.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::net::SocketAddr;

use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (one, stopped) = serve().await?;
    let (other, _runs) = serve().await?;

    let channel = meshwork::Channel::connect(&format!("static:///{one},{other}")).await?;
    let mut client = HealthClient::new(channel.clone());

    let mut answered = 0;
    for number in 0..200 {
        if number == 100 {
            stopped.abort();
            println!("{one} stopped");
        }
        let request = HealthCheckRequest { service: "shop".into() };
        answered += u32::from(client.check(request).await?.into_inner().status() == Serving);
    }
    println!("{answered} of 200 calls were answered");
    for endpoint in channel.endpoints() {
        println!("{}: {:?}", endpoint.name, endpoint.state);
    }
    Ok(())
}

use tonic_health::pb::health_check_response::ServingStatus::Serving;

/// A gRPC server on a port of its own.
async fn serve() -> Result<(SocketAddr, JoinHandle<Result<(), tonic::transport::Error>>), Box<dyn Error>> {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", ServingStatus::Serving).await;
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    Ok((address, tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming))))
}
