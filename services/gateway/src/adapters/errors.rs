//! The errors of the gateway, as callers see them. Those of the services pass as they are.

use std::time::Duration;

use meshwork_aip::echo;
use meshwork_aip::errors::INVALID_FIELDS;
use meshwork_chassis::errors::{self, ErrorKind};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::domain::{SERVICE, Upstream};

/// The `domain` of the gateway's errors.
pub const DOMAIN: &str = "gateway.meshwork.dev";

const METHOD_UNKNOWN: ErrorKind = ErrorKind::new(
    "METHOD_UNKNOWN",
    Code::Unimplemented,
    "No service behind the gateway has this method. Reflection lists those that there are.",
);
const SERVICE_REQUIRED: ErrorKind = ErrorKind::new(
    "SERVICE_REQUIRED",
    Code::InvalidArgument,
    "The metadata meshwork-service must say, once, which service is meant; BadRequest lists those that answer this method.",
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
const UPSTREAM_LIMIT: ErrorKind = ErrorKind::new(
    "UPSTREAM_LIMIT",
    Code::ResourceExhausted,
    "The call or its answer is beyond a limit between the gateway and the service: most often its metadata is too large.",
);
const BODY_TOO_SLOW: ErrorKind = ErrorKind::new(
    "BODY_TOO_SLOW",
    Code::DeadlineExceeded,
    "The body of the HTTP request didn't arrive in time. The call was not made.",
);
const MEDIA_TYPE_UNSUPPORTED: ErrorKind = ErrorKind::new(
    "MEDIA_TYPE_UNSUPPORTED",
    Code::InvalidArgument,
    "The body of the HTTP request must be application/json in UTF-8, without a content encoding.",
);
const STREAM_UNSUPPORTED: ErrorKind = ErrorKind::new(
    "STREAM_UNSUPPORTED",
    Code::Unimplemented,
    "The method takes a stream of messages, which HTTP/JSON can't send. Call it by gRPC.",
);
/// The errors that the gateway may give of its own.
pub const TABLE: &[&ErrorKind] = &[
    &errors::NOT_SIGNED_IN,
    &errors::BAD_TOKEN,
    &errors::KEYS_UNAVAILABLE,
    &errors::NOT_ALLOWED,
    &METHOD_UNKNOWN,
    &SERVICE_REQUIRED,
    &UPSTREAM_UNAVAILABLE,
    &UPSTREAM_TOO_SLOW,
    &UPSTREAM_LIMIT,
    &INVALID_FIELDS,
    &BODY_TOO_SLOW,
    &MEDIA_TYPE_UNSUPPORTED,
    &STREAM_UNSUPPORTED,
];

/// No service has the method at `path`, which is shown by its first 64 characters.
pub fn method_unknown(path: &str) -> Status {
    let path = echo(path).to_string();
    METHOD_UNKNOWN.status(DOMAIN, format_args!("there is no method {path}"), &[("path", &path)])
}

/// The call doesn't say, by [`SERVICE`], which of `upstreams` it means. What it says instead is not shown.
pub fn service_required(upstreams: &[Upstream]) -> Status {
    let right = match upstreams {
        [only] => format!("must be {}, or be left out", only.as_str()),
        _ => {
            let names: Vec<_> = upstreams.iter().map(|upstream| upstream.as_str()).collect();
            format!("must be there once, and be one of {}", names.join(", "))
        }
    };
    let message = format!("the metadata {SERVICE} {right}");
    let mut details = SERVICE_REQUIRED.details(DOMAIN, &[("field", SERVICE)]);
    details.add_bad_request_violation(SERVICE, right);
    Status::with_error_details(SERVICE_REQUIRED.code, message, details)
}

/// The service of this name can't be reached, or broke off.
pub fn upstream_unavailable(name: &str) -> Status {
    let message = format!("the {name} service doesn't answer at this moment");
    UPSTREAM_UNAVAILABLE.status(DOMAIN, message, &[("upstream", name)])
}

/// The service of this name took too long.
pub fn upstream_too_slow(name: &str) -> Status {
    UPSTREAM_TOO_SLOW.status(DOMAIN, format!("the {name} service didn't answer in time"), &[("upstream", name)])
}

/// The call is beyond a limit on its way, most often by its metadata.
fn upstream_limit(name: &str) -> Status {
    let message = format!("the call to the {name} service, or its answer, is beyond a limit; send less metadata");
    UPSTREAM_LIMIT.status(DOMAIN, message, &[("upstream", name)])
}

/// The call failed without an answer of the service of this name, with this code.
pub fn of_mesh(name: &str, code: Code) -> Status {
    match code {
        Code::DeadlineExceeded => upstream_too_slow(name),
        Code::ResourceExhausted => upstream_limit(name),
        _ => upstream_unavailable(name),
    }
}

/// The body of a request took longer than `bound` to arrive.
pub fn body_too_slow(bound: Duration) -> Status {
    let bound = bound.as_secs().to_string();
    BODY_TOO_SLOW.status(DOMAIN, format!("the body didn't arrive within {bound} s"), &[("bound_seconds", &bound)])
}

/// The body of a request is no JSON, by its headers. What they say is not shown.
pub fn media_type_unsupported() -> Status {
    let message = "the body must be application/json in UTF-8, without a content encoding";
    MEDIA_TYPE_UNSUPPORTED.status(DOMAIN, message, &[])
}

/// The method at `path` takes a stream.
pub fn stream_unsupported(path: &str) -> Status {
    STREAM_UNSUPPORTED.status(DOMAIN, format_args!("{path} takes a stream of messages"), &[("path", path)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_faults() {
        assert_eq!(errors::faults(TABLE), Vec::<String>::new());
    }
}
