//! The servers: each a process. It ends with its standard input, so that none outlives the benchmark.

use std::net::SocketAddr;
use std::process::Command;

use meshwork::Server;
use meshwork::server::{Budgets, CallerLimits, Limits, Resource};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

use crate::handler::{Echo, PLACES};
use crate::paths::{ANONYMOUS, FORGED, GOOD};
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
/// Callers are over the limit of their address: those without a token, and those with a forged one.
const LIMITED: &str = "over the limit";
/// Those whose cost is measured, in the order of the report. Each kind with as many threads as a yardstick that comes before it.
pub const ALL: &[Setup] = &[
    Setup::new(YARDSTICK, 1, GOOD),
    Setup::new(BARE, 1, GOOD),
    Setup::new(FULL, 1, GOOD),
    Setup::new(COLD, 1, GOOD),
    Setup::new(REDIS, 1, GOOD),
    Setup::new(LEASES, 1, GOOD),
    Setup::new(YARDSTICK, 2, GOOD),
    Setup::new(FULL, 2, GOOD),
    Setup::new(YARDSTICK, 4, GOOD),
    Setup::new(FULL, 4, GOOD),
    Setup::new(LIMITED, 1, ANONYMOUS),
    Setup::new(LIMITED, 1, FORGED),
];
/// A slow handler behind load shedding, and behind nothing but its own queue.
pub const SHEDS: &str = "sheds";
pub const QUEUES: &str = "queues";

/// A server and its caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    pub kind: &'static str,
    pub threads: usize,
    /// What callers say of themselves.
    pub path: &'static str,
}

impl Setup {
    const fn new(kind: &'static str, threads: usize, path: &'static str) -> Self {
        Self { kind, threads, path }
    }

    /// What it is compared with.
    pub fn yardstick(self) -> Self {
        match self.path {
            FORGED => Self::new(LIMITED, self.threads, ANONYMOUS),
            ANONYMOUS => self,
            _ => Self::new(YARDSTICK, self.threads, GOOD),
        }
    }

    /// As the report names it.
    pub fn name(self) -> String {
        match (self.threads, self.path) {
            (_, ANONYMOUS | FORGED) => format!("{}, {}", self.kind, self.path),
            (1, _) => self.kind.to_owned(),
            (threads, _) => format!("{}, {threads} threads", self.kind),
        }
    }

    /// Whether its calls are all refused.
    pub fn refuses(self) -> bool {
        self.kind == LIMITED
    }
}

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
        LIMITED => stack::server(Stack::Limited, &redis).await.add_service(Echo::default()),
        COLD => stack::server(Stack::Cold, &redis).await.add_service(Echo::default()),
        REDIS => stack::server(Stack::Redis, &redis).await.add_service(Echo::default()),
        LEASES => stack::server(Stack::Leases, &redis).await.add_service(Echo::default()),
        SHEDS => Server::builder()
            .budgets(Budgets::new(
                Limits::default().with(Resource::Calls, CallerLimits { total: PLACES, ..CallerLimits::default() }),
            ))
            .add_service(Echo::working()),
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
    pub fn start(setup: Setup, redis: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["server", setup.kind, &setup.threads.to_string()]).env(REDIS_URL, redis);
        let mut server = Obedient::new(command);
        let address: SocketAddr = server.line().expect("a server did not start").parse().unwrap();
        Self { server, client: processes::client(setup.path, &[address]) }
    }
}
