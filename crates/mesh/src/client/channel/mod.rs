//! The channel: what takes the place of `tonic::transport::Channel` in a generated client.
//!
//! A call goes from the outside to the inside: policy lookup, deadline, rate limit, retry or hedge, concurrency limit,
//! pick, connection. Beside the calls runs one task (`endpoints`) that hears of addresses, connections and policies and
//! publishes a snapshot; a pick reads the snapshot and waits for nothing.

mod builder;
mod connect;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tonic::Status;
use tower_service::Service;

pub use crate::client::call::WaitForReady;
pub use crate::client::endpoints::EndpointStatus;
pub use builder::Builder;
pub use error::{BuildError, ConnectError};

use crate::client::call;
use crate::client::endpoints::ChannelHandle;
use crate::observe::Connectivity;
use crate::policy::Policy;

/// A gRPC channel over all the endpoints of a target. It takes the place of `tonic::transport::Channel`.
///
/// Cheap to clone; clones share connections, limits and policies. When the last clone is dropped, connections are closed
/// as soon as their open streams end.
#[derive(Clone)]
pub struct Channel(Arc<ChannelHandle>);

impl Channel {
    /// The target, as a URI.
    pub fn target(&self) -> &str {
        &self.0.state.settings.target
    }

    /// The state of the channel as a whole.
    pub fn state(&self) -> Connectivity {
        self.0.state.snapshot.load().connectivity
    }

    /// Each endpoint and how it is.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.0.state.endpoints(Instant::now())
    }

    /// The policy that holds.
    pub fn policy(&self) -> Policy {
        self.0.state.active.load().policy.clone()
    }

    /// Waits until the state is another than `from`, and gives it.
    pub async fn state_changed(&self, from: Connectivity) -> Connectivity {
        let mut changed = self.0.state.changed.subscribe();
        loop {
            let state = self.state();
            if state != from || changed.changed().await.is_err() {
                return state;
            }
        }
    }

    /// Begins to resolve and to connect, if that hasn't begun.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as an idle channel's first call does.
    pub fn wake(&self) {
        self.0.state.wake();
    }

    /// Closes the channel for all its clones: calls that are made or that wait for an endpoint are UNAVAILABLE ("the
    /// channel was closed"), calls that were sent go on, and each connection ends with its last stream.
    ///
    /// Without it, a channel is closed when its last clone is dropped and no call waits for its headers.
    pub fn close(&self) {
        self.0.state.close();
    }
}

impl Service<http::Request<tonic::body::Body>> for Channel {
    type Response = http::Response<tonic::body::Body>;
    type Error = Status;
    type Future = ResponseFuture;

    /// Always ready: a call that no endpoint can take waits by itself, bounded by its deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> ResponseFuture {
        if self.0.state.is_closed() {
            let closed = Status::unavailable(self.0.state.why_unavailable());
            return ResponseFuture(Box::pin(std::future::ready(Err(closed))));
        }
        // A call under way keeps the channel; a response that is being read needs its connection only.
        ResponseFuture(Box::pin(call::call(Arc::clone(&self.0), request, crate::deadline::current())))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("target", &self.target()).field("state", &self.state()).finish()
    }
}

/// The future of a response. Dropped, the call is cancelled.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<http::Response<tonic::body::Body>, Status>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<http::Response<tonic::body::Body>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
