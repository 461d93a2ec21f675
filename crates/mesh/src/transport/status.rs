//! Responses that are not gRPC's: proxies and plain HTTP servers answer too.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::response::Parts;
use tonic::{Code, Status};

use crate::outcome::grpc_status;

/// The content type of gRPC; a subtype may follow after `+`, parameters after `;`.
const GRPC: &[u8] = b"application/grpc";

/// The status of a response that is no gRPC response, by gRPC's table of HTTP status codes; `None` for one that is.
pub fn status_of_response(head: &Parts) -> Option<Status> {
    let grpc = head.headers.get(CONTENT_TYPE).is_some_and(is_grpc);
    if (head.status == StatusCode::OK && grpc) || grpc_status(&head.headers).is_some() {
        return None;
    }
    let code = code_of_http(head.status);
    let content = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
    Some(Status::new(
        code,
        format!("the answer is no gRPC: HTTP status {}, content-type {content:?}", head.status.as_u16()),
    ))
}

/// Whether a content type is gRPC's: `application/grpc-web` is another protocol.
fn is_grpc(content_type: &HeaderValue) -> bool {
    let Some((name, rest)) = content_type.as_bytes().split_at_checked(GRPC.len()) else { return false };
    name.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// gRPC's code for an HTTP status that stands where a gRPC status should; beside gRPC's table, 431 (headers that are larger
/// than the server takes) is RESOURCE_EXHAUSTED.
pub(crate) fn code_of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        431 => Code::ResourceExhausted,
        _ => Code::Unknown,
    }
}
