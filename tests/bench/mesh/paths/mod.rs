//! The ways from a caller to three servers.

mod channels;
mod mesh;
mod raw;
mod resilience;
mod shaped;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tonic::{Request, Status};

use self::shaped::Shaped;
use crate::client;
use crate::crowd;
use crate::message::Payload;
use crate::proxies::Proxy;
use crate::shape::Shape;

/// A way to make the call.
pub trait Path: Clone + Send + 'static {
    /// Makes one call; its deadline, when there is one, is told to the path as a caller would tell it.
    fn call(&mut self, deadline: Option<Duration>) -> impl Future<Output = Result<(), Status>> + Send;

    /// Makes one call and says how long it waited for a stream, if the path can tell.
    fn traced(&mut self) -> impl Future<Output = (Result<(), Status>, Option<Duration>)> + Send {
        async { (self.call(None).await, None) }
    }
}

/// The names of all paths, in the order of the report.
pub const ALL: &[&str] = &[
    "meshwork",
    "meshwork-bare",
    "balance-list",
    "tonic-one",
    "tonic-three",
    "tower-resilience",
    "nginx",
    "haproxy",
    "envoy",
    "raw-h2",
];

/// What all others are compared with.
pub const YARDSTICK: &str = "balance-list";

/// Those that choose between servers, so that faults tell something about them.
pub fn balances(path: &str) -> bool {
    !["tonic-one", "tonic-three", "raw-h2"].contains(&path)
}

/// The proxy that `path` goes through.
pub fn proxy(path: &str) -> Option<Proxy> {
    match path {
        "nginx" => Some(Proxy::Nginx),
        "haproxy" => Some(Proxy::Haproxy),
        "envoy" => Some(Proxy::Envoy),
        _ => None,
    }
}

/// Runs a client process on `path` to `servers`, or to the one proxy before them.
pub async fn run(path: &str, servers: &[SocketAddr]) {
    match path {
        "meshwork" => client::run(mesh::Mesh::with_policy(servers)).await,
        "meshwork-bare" => client::run(mesh::Mesh::bare(servers)).await,
        "balance-list" => client::run(channels::balance_list(servers)).await,
        "tonic-one" | "nginx" | "haproxy" | "envoy" => client::run(channels::one(servers[0])).await,
        "tonic-three" => client::run(channels::ByTurns::new(servers)).await,
        "tower-resilience" => client::run(resilience::layers(servers)).await,
        "raw-h2" => client::run(raw::Raw::connect(servers).await).await,
        _ => unreachable!("a path that there is not: {path}"),
    }
}

/// Runs a client process of many callers on `path` to `servers`.
pub async fn run_crowd(path: &str, servers: &[SocketAddr]) {
    match path {
        "meshwork" => crowd::run(mesh::Mesh::with_policy(servers)).await,
        "meshwork-bare" => crowd::run(mesh::Mesh::bare(servers)).await,
        YARDSTICK => crowd::run(channels::balance_list(servers)).await,
        _ => unreachable!("a path without a crowd: {path}"),
    }
}

/// Runs a client process of calls of one shape on `path` to `servers`.
pub async fn run_shaped(path: &str, shape: Shape, servers: &[SocketAddr]) {
    match path {
        "meshwork" => client::run(Shaped { channel: mesh::Mesh::with_policy(servers).into_channel(), shape }).await,
        "meshwork-bare" => client::run(Shaped { channel: mesh::Mesh::bare(servers).into_channel(), shape }).await,
        YARDSTICK => client::run(Shaped { channel: channels::balance_list(servers), shape }).await,
        _ => unreachable!("a path without shapes: {path}"),
    }
}

/// Set where timeouts of a call would strike: callgrind slows a client by so much, and some calls are long.
pub const PATIENT: &str = "MESHWORK_BENCH_PATIENT";

/// How long one try may take: the same for all paths that have such a limit.
fn try_limit() -> Duration {
    if std::env::var_os(PATIENT).is_some() { Duration::from_secs(60) } else { Duration::from_millis(250) }
}

/// The request, as a caller makes it.
fn request(deadline: Option<Duration>) -> Request<Payload> {
    let mut request = Request::new(Payload::usual());
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    request
}
