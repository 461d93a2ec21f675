//! The end of a server: its phases.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tonic::Status;

use super::Domain;
use crate::errors::port::SERVER_STOPPING;

/// The status of a stream that the server ends as it begins to stop.
pub(in crate::server) fn stream_ended(domain: Domain) -> Status {
    let message = "the server stops; open the stream again, from the token of its last message if it has one";
    SERVER_STOPPING.status(domain, message, &[])
}

/// The status of a call that is still open when the server's grace is over.
pub(in crate::server) fn call_ended(domain: Domain) -> Status {
    let message =
        "the server has stopped before the call was answered; what it would have changed may have been changed";
    SERVER_STOPPING.status(domain, message, &[])
}

/// What runs once the last call has ended.
pub(super) type Hook = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a server stops once it was asked to: NOT_SERVING → `delay` → GOAWAY and the end of server streams → `grace` for unary
/// calls → hooks → the end. No phase takes longer than is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long the server serves on although it says NOT_SERVING, so that clients and load balancers learn of it first.
    /// Kubernetes takes an endpoint away at the same time as it sends SIGTERM. 5 s.
    pub delay: Duration,
    /// How long calls may take to end. Without calls it takes a moment. 15 s.
    pub grace: Duration,
    /// How long the hooks may take, all at once. 3 s.
    pub hooks: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), grace: Duration::from_secs(15), hooks: Duration::from_secs(3) }
    }
}
