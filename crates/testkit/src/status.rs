//! Statuses on their way.

use tonic::Status;

/// The bytes of header fields that every peer takes, by the defaults of gRPC.
const LIMIT: usize = 8 << 10;

/// Checks that a status takes less than 8 KiB of header fields: its message and details as they are encoded, with names and
/// 32 bytes for each field, as HTTP/2 counts.
#[track_caller]
pub fn assert_small(status: &Status) {
    let response = status.clone().into_http::<()>();
    let bytes: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(bytes < LIMIT, "{bytes} bytes, with a message of {}", status.message().len());
}
