//! A server that a mesh can rely on: its health follows a check, it holds callers to a rate and itself to a load, and it stops
//! without a failed call.
//!
//! `cargo run -p meshwork --example server`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork::Channel;
use meshwork::server::health::{Check, Health};
use meshwork::server::rate::{Key, Rate, RateLimitLayer, RateLimiter, Rule};
use meshwork::server::{Domain, Drain, Listener, Server};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_types::StatusExt as _;

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What the service stands on. It is ready once this works.
    let database = Arc::new(AtomicBool::new(false));
    let health = Health::new();
    let probed = Arc::clone(&database);
    let probe = move || std::future::ready(if probed.load(Ordering::SeqCst) { Ok(()) } else { Err("it is down") });
    health.check(Check::new("database", probe).required(true));

    // Two calls at once for each address, and one more every minute.
    let domain = Domain::new("example.com");
    let rule = Rule::new("calls", Rate::new(2, 1, Duration::from_secs(60))?).key(Key::Address);
    let server = Server::builder()
        .domain(domain)
        .descriptors(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .health(health.clone())
        .limit_by_address(RateLimitLayer::new(RateLimiter::in_process(), [rule], domain))
        .timeout(Duration::from_secs(30))
        .drain(Drain { delay: Duration::from_millis(200), ..Drain::default() })
        .on_drain("flush", async { println!("hook: flushed") });

    let listener = Listener::tcp("127.0.0.1:0").await?;
    let address = listener.local_addr().ok_or("no address")?;
    // A program would call `serve`, which stops at SIGTERM; here the stop is played.
    let stop = CancellationToken::new();
    let served = tokio::spawn(server.serve_with_shutdown(listener, stop.clone().cancelled_owned()));

    let channel = Channel::connect(&format!("static:///{address}")).await?;
    let mut watch = HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await?.into_inner();
    println!("health: {:?}", watch.message().await?.ok_or("no state")?.status());
    database.store(true, Ordering::SeqCst);
    println!("health: {:?}", watch.message().await?.ok_or("no state")?.status());

    // Reflection is a call like any other.
    for _ in 0..3 {
        let mut client = ServerReflectionClient::new(channel.clone());
        let answer = client.server_reflection_info(tokio_stream::iter([ServerReflectionRequest::default()])).await;
        match answer {
            Ok(_) => println!("call: admitted"),
            Err(status) => {
                let after = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
                println!("call: {:?}, again in {} s", status.code(), after.as_secs_f64().ceil());
            }
        }
    }

    stop.cancel();
    println!("health: {:?}", watch.message().await?.ok_or("no state")?.status());
    served.await??;
    println!("stopped");
    Ok(())
}
