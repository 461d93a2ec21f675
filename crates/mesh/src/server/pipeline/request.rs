//! What a request has to be before anything is done for it (gRPC's PROTOCOL-HTTP2).

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;

use crate::errors::port::HEADERS_TOO_LARGE;
use crate::server::Domain;
use crate::transport::header_list_size;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Whether `content_type` is one of gRPC's: with a subtype, or parameters, or neither. gRPC-Web is another protocol.
fn is_grpc(content_type: &[u8]) -> bool {
    let Some(rest) = content_type.get(..GRPC.len()).filter(|start| start.eq_ignore_ascii_case(GRPC)).map(<[u8]>::len)
    else {
        return false;
    };
    match content_type.get(rest..) {
        None | Some([]) => true,
        Some([next, ..]) => matches!(next, b'+' | b';' | b' '),
    }
}

const GRPC: &[u8] = b"application/grpc";

/// Whether a request with these headers is gRPC's.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let mut content_types = headers.get_all(CONTENT_TYPE).iter();
    match (content_types.next(), content_types.next()) {
        (Some(content_type), None) => is_grpc(content_type.as_bytes()),
        _ => false,
    }
}

/// The answer to a request that is none of gRPC's, if it is none.
pub(super) fn refuse_foreign(parts: &Parts) -> Option<Response<Body>> {
    if parts.method != Method::POST {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "calls of gRPC are POST\n");
        if parts.method == Method::HEAD {
            // To its client a body would be an error of the protocol (RFC 9110, section 9.3.2).
            *refusal.body_mut() = Body::empty();
        }
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(refusal);
    }
    if is_call(&parts.headers) {
        return None;
    }
    Some(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this port speaks gRPC: content-type is application/grpc\n"))
}

/// The status of a call whose headers are larger than `max` bytes, as HTTP/2 counts them.
pub(super) fn refuse_large(parts: &Parts, max: usize, domain: Domain) -> Option<Status> {
    let size = header_list_size(parts);
    (size > max).then(|| {
        let (size, max) = (size.to_string(), max.to_string());
        let message = format!("the call's headers have {size} bytes, and this server takes {max}; send less metadata");
        let metadata = [("size", size.as_str()), ("limit", max.as_str())];
        HEADERS_TOO_LARGE.status(domain, message, &metadata)
    })
}

/// An answer of HTTP.
pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s14_content_types_of_grpc_are_no_others() {
        for good in ["application/grpc", "application/grpc+proto", "application/grpc;charset=x", "Application/gRPC"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "application/json", "application/grpc-web", "application/grpc-web+proto", "application/grp"] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
