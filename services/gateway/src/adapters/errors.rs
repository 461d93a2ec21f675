//! The errors of the gateway, as callers see them. Those of the services pass as they are.

use std::time::Duration;

use meshwork_chassis::errors::{self, ErrorKind};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{QuotaViolation, StatusExt};

use crate::app::commands::TooMany;
use crate::domain::Upstream;

/// The `domain` of the gateway's errors.
pub const DOMAIN: &str = "gateway.meshwork.dev";

/// The trailer that tells gRPC clients when to try again (gRFC A6), in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

const METHOD_UNKNOWN: ErrorKind = ErrorKind::new(
    "METHOD_UNKNOWN",
    Code::Unimplemented,
    "No service behind the gateway has this method. Reflection lists those that there are.",
);
const UPSTREAM_UNAVAILABLE: ErrorKind = ErrorKind::retryable(
    "UPSTREAM_UNAVAILABLE",
    Code::Unavailable,
    Duration::from_millis(500),
    "The service doesn't answer at this moment. What the call would have changed may have been changed: repeat a call \
     that writes with the same request_id.",
);
const UPSTREAM_TOO_SLOW: ErrorKind = ErrorKind::new(
    "UPSTREAM_TOO_SLOW",
    Code::DeadlineExceeded,
    "The service didn't answer in time. What the call would have changed may have been changed.",
);
const STOPPING: ErrorKind = ErrorKind::retryable(
    "STOPPING",
    Code::Unavailable,
    Duration::from_millis(500),
    "The gateway is being stopped and ends its streams. Call again; another one answers, or this one, soon.",
);
const RATE_LIMITED: ErrorKind = ErrorKind::new(
    "RATE_LIMITED",
    Code::ResourceExhausted,
    "The client has made too many calls. RetryInfo and the trailer grpc-retry-pushback-ms say when the next is admitted.",
);

/// The errors that the gateway may give of its own.
pub const TABLE: &[&ErrorKind] = &[
    &errors::NOT_SIGNED_IN,
    &errors::BAD_TOKEN,
    &errors::KEYS_UNAVAILABLE,
    &errors::NOT_ALLOWED,
    &METHOD_UNKNOWN,
    &UPSTREAM_UNAVAILABLE,
    &UPSTREAM_TOO_SLOW,
    &STOPPING,
    &RATE_LIMITED,
];

/// No service has the method at `path`.
pub fn method_unknown(path: &str) -> Status {
    METHOD_UNKNOWN.status(DOMAIN, format!("there is no method {path}"), &[("path", path)])
}

/// The service can't be reached, or broke off.
pub fn upstream_unavailable(upstream: Upstream) -> Status {
    let name = upstream.as_str();
    let message = format!("the {name} service doesn't answer at this moment");
    UPSTREAM_UNAVAILABLE.status(DOMAIN, message, &[("upstream", name)])
}

/// The service took too long.
pub fn upstream_too_slow(upstream: Upstream) -> Status {
    let name = upstream.as_str();
    UPSTREAM_TOO_SLOW.status(DOMAIN, format!("the {name} service didn't answer in time"), &[("upstream", name)])
}

/// The call failed without an answer of the service, with this code.
pub fn of_mesh(upstream: Upstream, code: Code) -> Status {
    match code {
        Code::DeadlineExceeded => upstream_too_slow(upstream),
        _ => upstream_unavailable(upstream),
    }
}

/// The gateway ends a stream because it is being stopped.
pub fn stopping() -> Status {
    STOPPING.status(DOMAIN, "the gateway is being stopped", &[])
}

/// The client has to wait.
pub fn rate_limited(TooMany { client, wait }: &TooMany) -> Status {
    let (client, wait) = (client.to_string(), *wait);
    // Who waits a rounded-down time would come too early.
    let milliseconds = wait.as_nanos().div_ceil(1_000_000);
    let message = format!("too many calls by {client}; the next is admitted in {milliseconds} ms");
    let mut details = RATE_LIMITED.details(DOMAIN, &[("client", &client), ("wait_ms", &milliseconds.to_string())]);
    details.set_retry_info(Some(wait));
    details.set_quota_failure(vec![QuotaViolation::new(client, "calls through the gateway")]);
    let mut metadata = MetadataMap::new();
    if let Ok(value) = MetadataValue::try_from(milliseconds.to_string()) {
        metadata.insert(PUSHBACK, value);
    }
    Status::with_error_details_and_metadata(RATE_LIMITED.code, message, details, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Client;

    #[test]
    fn the_table_has_no_faults() {
        assert_eq!(errors::faults(TABLE), Vec::<String>::new());
    }

    #[test]
    fn the_pushback_is_no_shorter_than_the_wait() {
        let client = Client::at([192, 0, 2, 1].into());
        let status = rate_limited(&TooMany { client, wait: Duration::from_nanos(99_000_001) });
        assert_eq!(status.metadata().get(PUSHBACK).unwrap(), "100");
    }
}
