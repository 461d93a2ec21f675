//! The errors of the gateway, as callers see them. Those of the services pass as they are.

use std::fmt::Display;
use std::time::Duration;

use meshwork::errors::port::{MALFORMED_REQUEST, MESSAGE_TOO_LARGE};
use meshwork_aip::echo;
use meshwork_aip::errors::INVALID_FIELDS;
use meshwork_chassis::errors::{self, ErrorKind};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::domain::{SERVICE, UpstreamName};

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
const CONTRACTS_PENDING: ErrorKind = ErrorKind::retryable(
    "CONTRACTS_PENDING",
    Code::Unavailable,
    Duration::from_secs(1),
    "The gateway asks the service for its contracts by reflection, and has no answer yet. The call was not made.",
);
const UPSTREAM_TOO_SLOW: ErrorKind = ErrorKind::new(
    "UPSTREAM_TOO_SLOW",
    Code::DeadlineExceeded,
    "The service didn't answer in time. What the call would have changed may have been changed.",
);
const UPSTREAM_LIMIT: ErrorKind = ErrorKind::new(
    "UPSTREAM_LIMIT",
    Code::ResourceExhausted,
    "The metadata of the call, or of its answer, is larger than may go between the gateway and the service.",
);
const PATH_UNKNOWN: ErrorKind = ErrorKind::new(
    "PATH_UNKNOWN",
    Code::NotFound,
    "Nothing is at this path. `/openapi.json` lists what there is; methods are at `/package.Service/Method` too.",
);
/// What is at a path is asked by other methods of HTTP.
pub const HTTP_METHOD_UNKNOWN: ErrorKind = ErrorKind::new(
    "HTTP_METHOD_UNKNOWN",
    Code::Unimplemented,
    "This method of HTTP is not one of the path's: the status is 405, and the header `allow` has those that are.",
);
const ENCODING_UNKNOWN: ErrorKind = ErrorKind::new(
    "ENCODING_UNKNOWN",
    Code::Unimplemented,
    "The request is compressed in a way that isn't known here. Send it as it is, or in gzip.",
);
const ANSWER_UNREADABLE: ErrorKind = ErrorKind::new(
    "ANSWER_UNREADABLE",
    Code::Internal,
    "The service has answered what its contract doesn't allow. What the call would have changed may have been changed.",
);
const ANSWER_TOO_LARGE: ErrorKind = ErrorKind::new(
    "ANSWER_TOO_LARGE",
    Code::OutOfRange,
    "A message of the answer is larger than HTTP passes on, or has more values than JSON may have; ErrorInfo says how many \
     bytes or values it may have. The same call would have the same answer: ask for less, such as a smaller page. What the call \
     would have changed may have been changed.",
);
const TOO_MANY_ANSWERS: ErrorKind = ErrorKind::retryable(
    "TOO_MANY_ANSWERS",
    Code::ResourceExhausted,
    Duration::from_secs(1),
    "As many large answers in JSON are being written, or wait to be read, as may be. Read those that there are, or ask for less at \
     once. What the call would have changed may have been changed: repeat a call that writes with the same request_id.",
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
const TOO_MANY_EXCHANGES: ErrorKind = ErrorKind::retryable(
    "TOO_MANY_EXCHANGES",
    Code::ResourceExhausted,
    Duration::from_secs(1),
    "As many API keys and tokens of other issuers that came from the caller's address are being verified as may be. Nothing \
     was done. Try again, with fewer different ones at once.",
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
    &CONTRACTS_PENDING,
    &UPSTREAM_TOO_SLOW,
    &UPSTREAM_LIMIT,
    &PATH_UNKNOWN,
    &HTTP_METHOD_UNKNOWN,
    &ENCODING_UNKNOWN,
    &ANSWER_UNREADABLE,
    &ANSWER_TOO_LARGE,
    &TOO_MANY_ANSWERS,
    &INVALID_FIELDS,
    &BODY_TOO_SLOW,
    &MEDIA_TYPE_UNSUPPORTED,
    &STREAM_UNSUPPORTED,
    &TOO_MANY_EXCHANGES,
];

/// A key, or the token of another issuer, was not accepted by the users service.
pub fn credentials_refused() -> Status {
    let message = "the API key or token is unknown, has expired or was revoked, or its issuer is none that is trusted";
    errors::BAD_TOKEN.status(DOMAIN, message, &[])
}

/// A call has credentials more than once. None of them is shown.
pub fn several_credentials() -> Status {
    let message = "the call has several credentials; send `authorization` or `x-api-key`, and that once";
    errors::BAD_TOKEN.status(DOMAIN, message, &[])
}

/// The header of keys has something else, which is not shown.
pub fn no_api_key() -> Status {
    let message = "`x-api-key` has no API key, which begins with mwk_; a token goes into `authorization: Bearer TOKEN`";
    errors::BAD_TOKEN.status(DOMAIN, message, &[])
}

/// Keys and tokens of other issuers can't be verified at this moment.
pub fn credentials_unverifiable() -> Status {
    let message = "API keys and tokens of other issuers can't be verified at this moment; try again";
    errors::KEYS_UNAVAILABLE.status(DOMAIN, message, &[])
}

/// The address of the caller has as many of them on the way as it may.
pub fn too_many_exchanges() -> Status {
    let message = "too many API keys and tokens of other issuers from this address are being verified; try again";
    TOO_MANY_EXCHANGES.status(DOMAIN, message, &[])
}

/// The request is not what its protocol asks for, as `message` says.
pub fn malformed(message: impl Display) -> Status {
    MALFORMED_REQUEST.status(DOMAIN, message, &[])
}

/// A message is marked as compressed, and the header of this name doesn't say how: INTERNAL by Connect, as by gRPC.
pub fn compression_unnamed(header: &str) -> Status {
    let message = format!("a message is marked as compressed, and {header} doesn't say how");
    Status::with_error_details(Code::Internal, message, MALFORMED_REQUEST.details(DOMAIN, &[]))
}

/// A message of the request has more than `max` bytes, or would have when it is unpacked.
pub fn message_too_large(max: usize) -> Status {
    let message = format!("a message of the request has more than {max} bytes");
    MESSAGE_TOO_LARGE.status(DOMAIN, message, &[("limit", &max.to_string())])
}

/// The request is compressed as nothing here unpacks.
pub fn encoding_unknown(encoding: &str) -> Status {
    let encoding = echo(encoding).to_string();
    let message = format!("the encoding {encoding} is unknown; gzip and identity are not");
    ENCODING_UNKNOWN.status(DOMAIN, message, &[("encoding", &encoding)])
}

/// An answer is not one of gRPC, as `why` says.
pub fn answer_unreadable(why: &str) -> Status {
    ANSWER_UNREADABLE.status(DOMAIN, format_args!("the answer of the service can't be read: {why}"), &[])
}

/// A message of an answer has more than `max` bytes.
pub fn answer_too_large(max: usize) -> Status {
    let message = format!("a message of the answer has more than {max} bytes");
    ANSWER_TOO_LARGE.status(DOMAIN, message, &[("limit", &max.to_string())])
}

/// A message of an answer has more than `max` values.
pub fn answer_too_many_values(max: usize) -> Status {
    let message = format!("a message of the answer has more than {max} values");
    ANSWER_TOO_LARGE.status(DOMAIN, message, &[("limit", &max.to_string())])
}

/// There is no room for one more large answer.
pub fn too_many_answers() -> Status {
    let message = "too many large answers are being written or wait to be read; read them, or ask for less at once";
    TOO_MANY_ANSWERS.status(DOMAIN, message, &[])
}

/// Nothing is at the `path` of HTTP, which is shown by its first 64 characters.
pub fn path_unknown(path: &str) -> Status {
    let path = echo(path).to_string();
    PATH_UNKNOWN.status(DOMAIN, format_args!("there is nothing at {path}"), &[("path", &path)])
}

/// What is at a path is asked by other methods of HTTP than `method`.
pub fn http_method_unknown(method: &str) -> Status {
    let method = echo(method).to_string();
    HTTP_METHOD_UNKNOWN.status(DOMAIN, format_args!("{method} is not for this path"), &[("method", &method)])
}

/// No service has the method at `path`, which is shown by its first 64 characters.
pub fn method_unknown(path: &str) -> Status {
    let path = echo(path).to_string();
    METHOD_UNKNOWN.status(DOMAIN, format_args!("there is no method {path}"), &[("path", &path)])
}

/// The call doesn't say, by [`SERVICE`], which of `upstreams` it means. What it says instead is not shown.
pub fn service_required(upstreams: &[UpstreamName]) -> Status {
    let right = match upstreams {
        [only] => format!("must be {}, or be left out", only.as_str()),
        _ => {
            let names: Vec<_> = upstreams.iter().map(UpstreamName::as_str).collect();
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

/// The service of this name hasn't told its contracts yet.
pub fn contracts_pending(name: &str) -> Status {
    let message = format!("the methods of the {name} service are not known yet");
    CONTRACTS_PENDING.status(DOMAIN, message, &[("upstream", name)])
}

/// The service of this name took too long.
pub fn upstream_too_slow(name: &str) -> Status {
    UPSTREAM_TOO_SLOW.status(DOMAIN, format!("the {name} service didn't answer in time"), &[("upstream", name)])
}

/// The call, or its answer, is beyond a limit on its way, which is that of metadata: messages have none there.
fn upstream_limit(name: &str) -> Status {
    let message = format!("the metadata of the call to the {name} service, or of its answer, is too large");
    UPSTREAM_LIMIT.status(DOMAIN, message, &[("upstream", name)])
}

/// The call failed without an answer of the service of this name, with this code.
pub fn of_mesh(name: &str, code: Code) -> Status {
    match code {
        Code::DeadlineExceeded => upstream_too_slow(name),
        Code::ResourceExhausted => upstream_limit(name),
        // An answer of HTTP, or one without a status: another try would lead to the same.
        Code::Unknown => answer_unreadable("it is none of gRPC"),
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

    #[test]
    fn what_is_too_large_is_named_and_not_to_be_asked_for_again() {
        for status in [answer_too_large(7), answer_too_many_values(7)] {
            assert_eq!((status.code(), status.get_details_retry_info().is_some()), (Code::OutOfRange, false));
            assert!(status.message().contains("of the answer has more than 7 "), "{status:?}");
        }
        let limit = of_mesh("orders", Code::ResourceExhausted);
        assert!(
            limit.message().contains("the metadata of the call to the orders service, or of its answer"),
            "{limit:?}"
        );
    }

    #[test]
    fn a_service_that_is_gone_may_be_asked_again_and_one_that_answers_no_grpc_may_not() {
        for (code, told, retryable) in [
            (Code::Unavailable, Code::Unavailable, true),
            (Code::Internal, Code::Unavailable, true),
            (Code::DeadlineExceeded, Code::DeadlineExceeded, false),
            (Code::ResourceExhausted, Code::ResourceExhausted, false),
            // A status of HTTP that gRPC has no code for, such as 415 for an `application/grpc+other`.
            (Code::Unknown, Code::Internal, false),
        ] {
            let status = of_mesh("orders", code);
            assert_eq!((status.code(), status.get_details_retry_info().is_some()), (told, retryable), "{code:?}");
        }
    }
}
