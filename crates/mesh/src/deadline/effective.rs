//! When a call is over.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

use super::scope::current;
use super::timeout::{GRPC_TIMEOUT, InvalidTimeout, parse_timeout};

/// When an outgoing call is over: the earliest of what its `grpc-timeout` says, what the policy allows, and the deadline of
/// the incoming call that this task serves. `None` when none of them says anything, or it is too far away to be told.
///
/// # Errors
/// INTERNAL when `grpc-timeout` isn't what gRPC allows.
pub fn effective(headers: &HeaderMap, policy: Option<Duration>, now: Instant) -> Result<Option<Instant>, Status> {
    let own = timeout(headers).map_err(|error| Status::internal(error.to_string()))?;
    Ok([at(own, now), at(policy, now), current()].into_iter().flatten().min())
}

/// When an incoming call is over: at what its `grpc-timeout` says, or after `max` when that is earlier. `None` when neither
/// says anything, or it is too far away to be told.
///
/// # Errors
/// When `grpc-timeout` isn't what gRPC allows.
pub(crate) fn of_incoming(
    headers: &HeaderMap,
    max: Option<Duration>,
    now: Instant,
) -> Result<Option<Instant>, InvalidTimeout> {
    let own = timeout(headers)?;
    Ok([at(own, now), at(max, now)].into_iter().flatten().min())
}

/// What `grpc-timeout` says. Several lines of it are as one with commas (RFC 9110, section 5.3), which is no value: whoever
/// took one of them would disagree with a proxy or a server that takes another.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, InvalidTimeout> {
    let mut values = headers.get_all(&GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse_timeout(value).map(Some),
        (Some(_), Some(_)) => Err(InvalidTimeout::repeated()),
    }
}

fn at(timeout: Option<Duration>, now: Instant) -> Option<Instant> {
    timeout.and_then(|timeout| now.checked_add(timeout))
}
