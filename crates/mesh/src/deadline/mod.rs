//! Deadlines: how they travel, from an incoming call to the outgoing ones, and how they end a call.

mod incoming;
mod layer;
#[cfg(test)]
mod tests;
mod timeout;

use std::future::Future;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

pub(crate) use self::incoming::within;
pub use self::incoming::{IncomingDeadlineLayer, IncomingDeadlineService, IncomingFuture, ScopedBody};
pub use self::layer::{DeadlineBody, DeadlineFuture, DeadlineLayer, DeadlineService};
pub use self::timeout::{GRPC_TIMEOUT, InvalidTimeout, encode_timeout, parse_timeout};

tokio::task_local! {
    static CURRENT: Instant;
}

/// The deadline of the call that this task serves; `None` outside of one, or when it has none.
pub fn current() -> Option<Instant> {
    CURRENT.try_with(|at| *at).ok()
}

/// Runs `future` with a deadline for its outgoing calls: for tasks that a handler spawns, which don't inherit its own. A
/// scope within a scope can only be shorter. It doesn't end the future itself.
pub async fn scope<F: Future>(at: Instant, future: F) -> F::Output {
    // When it is first polled, the scope around it is known.
    CURRENT.scope(shorter(at), future).await
}

fn sync_scope<R>(at: Instant, run: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(shorter(at), run)
}

fn shorter(at: Instant) -> Instant {
    current().map_or(at, |current| current.min(at))
}

/// When an outgoing call is over: the earliest of what its `grpc-timeout` says, what the policy allows, and the deadline of
/// the incoming call that this task serves. `None` when none of them says anything, or it is too far away to be told.
///
/// # Errors
/// INTERNAL when `grpc-timeout` isn't what gRPC allows.
pub fn effective(headers: &HeaderMap, policy: Option<Duration>, now: Instant) -> Result<Option<Instant>, Status> {
    let own = match headers.get(GRPC_TIMEOUT) {
        Some(value) => Some(parse_timeout(value).map_err(|error| Status::internal(error.to_string()))?),
        None => None,
    };
    let at = |timeout: Option<Duration>| timeout.and_then(|timeout| now.checked_add(timeout));
    Ok([at(own), at(policy), current()].into_iter().flatten().min())
}
