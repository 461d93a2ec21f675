//! The one place where a status gets its message and its `google.rpc.ErrorInfo`, and where both are bounded.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::bounded::bounded;

// A status travels in header fields, which peers bound: gRPC allows 8 KiB of them by default. There the details are
// base64, four bytes for three, and what is not plain in the message takes three bytes for one. The details repeat the
// message. So, with the bounds below: 3 × 640 + 4/3 × (640 + 63 + 253 + 8 × (40 + 256 + tags) + types, delay) < 8,192.

/// The most bytes of a status's message.
pub const MAX_MESSAGE: usize = 640;
/// The most bytes of a reason (AIP-193 has 63 characters).
pub(super) const MAX_REASON: usize = 63;
/// The most bytes of a domain: those of a name in DNS.
const MAX_DOMAIN: usize = 253;
/// The most values of a status's metadata. None of ours has so many.
const MAX_METADATA: usize = 8;
/// The most bytes of a key of a status's metadata.
const MAX_KEY: usize = 40;
/// The most bytes of a value of a status's metadata: any of our names fits. What callers have sent is cut before, by
/// [`echo`](super::echo::echo).
const MAX_VALUE: usize = 256;

/// The details that a status begins with: ErrorInfo, and RetryInfo when the same call may succeed after `retry_after`.
pub(crate) fn error_info(
    domain: &str,
    reason: &str,
    retry_after: Option<Duration>,
    metadata: &[(&str, &str)],
) -> ErrorDetails {
    let metadata = metadata.iter().take(MAX_METADATA);
    let metadata: HashMap<_, _> =
        metadata.map(|(key, value)| (bounded(key, MAX_KEY), bounded(value, MAX_VALUE))).collect();
    let mut details = ErrorDetails::with_error_info(bounded(reason, MAX_REASON), bounded(domain, MAX_DOMAIN), metadata);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    details
}

/// A status with these details and with a message of at most [`MAX_MESSAGE`] bytes.
pub(crate) fn status(code: Code, message: impl Display, details: ErrorDetails) -> Status {
    Status::with_error_details(code, bounded(message, MAX_MESSAGE), details)
}
