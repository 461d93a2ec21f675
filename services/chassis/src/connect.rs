//! Channels to other services.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may wait for its answer to begin.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be silent before it is probed, and how long the probe may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// A target is not an address.
#[derive(Debug, thiserror::Error)]
#[error("the target {target:?} must look like http://HOST:PORT")]
pub struct InvalidTarget {
    target: String,
}

/// A channel to `target`, `http://HOST:PORT`. It connects at the first call and reconnects by itself.
///
/// # Errors
/// When `target` is not an address.
pub fn connect(target: &str) -> Result<Channel, InvalidTarget> {
    let invalid = || InvalidTarget { target: target.to_owned() };
    let endpoint = Endpoint::from_shared(target.to_owned()).map_err(|_| invalid())?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().port_u16().is_none() {
        return Err(invalid());
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .connect_lazy())
}
