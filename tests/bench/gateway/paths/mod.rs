//! The two ways to make the call: by gRPC, and by HTTP/JSON.

mod grpc;
pub mod json;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Status;

use self::grpc::Grpc;
use self::json::Json;
use crate::client;

/// By gRPC.
pub const GRPC: &str = "grpc";
/// By HTTP/1.1, in JSON.
pub const JSON: &str = "json";

/// A way to make the call.
pub trait Path: Clone + Send + 'static {
    /// Makes one call.
    fn call(&mut self, deadline: Option<Duration>) -> impl Future<Output = Result<(), Status>> + Send;
}

/// Runs a client process; `tokens` is a file with one a line.
pub async fn run(path: &str, server: SocketAddr, tokens: &std::path::Path) {
    let tokens = std::fs::read_to_string(tokens).unwrap();
    match path {
        GRPC => client::run(Grpc::connect(server, tokens.lines()).await).await,
        JSON => client::run(Json::new(server, tokens.lines())).await,
        _ => unreachable!("a path that there is not: {path}"),
    }
}

/// Values that are taken by turns. Clones take the same turns.
struct Turns<T> {
    values: Arc<[T]>,
    turn: Arc<AtomicUsize>,
}

impl<T> Clone for Turns<T> {
    fn clone(&self) -> Self {
        Self { values: Arc::clone(&self.values), turn: Arc::clone(&self.turn) }
    }
}

impl<T> Turns<T> {
    fn new(values: impl IntoIterator<Item = T>) -> Self {
        Self { values: values.into_iter().collect(), turn: Arc::default() }
    }

    fn next(&self) -> &T {
        &self.values[self.turn.fetch_add(1, Ordering::Relaxed) % self.values.len()]
    }
}
