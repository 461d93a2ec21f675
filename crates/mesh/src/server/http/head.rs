//! Heads of HTTP/1.1 that can be read, and are to be refused all the same.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Version};

/// Why a request is refused for its head, by which status and with what text. Its connection is to be closed: whoever
/// is on the way may have read another host, or another end of the body.
pub(in crate::server) fn head_fault(parts: &Parts) -> Option<(StatusCode, &'static str)> {
    if parts.version > Version::HTTP_11 {
        return None;
    }
    if !has_host(&parts.headers, parts.version) {
        return Some((StatusCode::BAD_REQUEST, "a request must say one host, and say it once\n"));
    }
    // As for its host: what stands before an `@` misleads (RFC 9110, section 4.2.4).
    if parts.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Some((StatusCode::BAD_REQUEST, "the target of a request must not say a user\n"));
    }
    let codings: Vec<_> = parts.headers.get_all(TRANSFER_ENCODING).iter().collect();
    match codings.as_slice() {
        [] => None,
        [only] if only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => None,
        _ => Some((StatusCode::NOT_IMPLEMENTED, "the transfer coding must be chunked, and no other\n")),
    }
}

/// Whether the host is said as it must be (RFC 9112, section 3.2): once, which HTTP/1.0 may leave out.
fn has_host(headers: &HeaderMap, version: Version) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
    }
}

/// An address that has no host is said by an empty one.
fn is_host(host: &HeaderValue) -> bool {
    let host = host.as_bytes();
    host.is_empty() || (!host.contains(&b'@') && Authority::try_from(host).is_ok())
}
