//! The servers: each a process with one thread. It ends with its standard input, so that none outlives the benchmark.

use std::net::SocketAddr;
use std::process::Command;

use meshwork::Server;
use meshwork::server::{Budgets, CallerLimits, Limits, Resource};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

use crate::handler::{Echo, PLACES};
use crate::processes::{self, Obedient};
use crate::stack::{self, Stack};

/// What all others are compared with.
pub const YARDSTICK: &str = "tonic";
/// Our server with everything on: the one that must keep up.
pub const FULL: &str = "all layers";
/// Our server as it is without settings.
const BARE: &str = "no settings";
const COLD: &str = "cold token";
/// The one whose limiter asks Redis for each call.
pub const REDIS: &str = "limiter in Redis";
const LEASES: &str = "Redis, in advance";
/// Those whose cost is measured, in the order of the report.
pub const ALL: &[&str] = &[YARDSTICK, BARE, FULL, COLD, REDIS, LEASES];
/// A slow handler behind load shedding, and behind nothing but its own queue.
pub const SHEDS: &str = "sheds";
pub const QUEUES: &str = "queues";

/// Where Redis is.
const REDIS_URL: &str = "MESHWORK_BENCH_REDIS";

/// Serves as `kind` until the end of the standard input.
pub async fn run(kind: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
    let redis = std::env::var(REDIS_URL).unwrap_or_default();
    let builder = match kind {
        YARDSTICK => {
            println!("{address}");
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let server = tonic::transport::Server::builder().add_service(Echo::default());
            return server.serve_with_incoming(incoming).await.unwrap();
        }
        BARE => Server::builder().add_service(Echo::default()),
        FULL => stack::server(Stack::Usual, &redis).await.add_service(Echo::default()),
        COLD => stack::server(Stack::Cold, &redis).await.add_service(Echo::default()),
        REDIS => stack::server(Stack::Redis, &redis).await.add_service(Echo::default()),
        LEASES => stack::server(Stack::Leases, &redis).await.add_service(Echo::default()),
        SHEDS => Server::builder().budgets(Budgets::new(Limits::default().with(Resource::Calls, CallerLimits::in_all(PLACES)))).add_service(Echo::working()),
        QUEUES => Server::builder().add_service(Echo::working()),
        _ => unreachable!("a server that there is not: {kind}"),
    };
    println!("{address}");
    builder.serve(listener).await.unwrap();
}

/// A server that runs, and its caller.
pub struct Pair {
    pub server: Obedient,
    pub client: Obedient,
}

impl Pair {
    pub fn start(kind: &str, redis: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["server", kind]).env(REDIS_URL, redis);
        let mut server = Obedient::new(command);
        let address: SocketAddr = server.line().expect("a server did not start").parse().unwrap();
        Self { server, client: processes::client("h2", &[address]) }
    }
}
