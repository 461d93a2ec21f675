//! The size of a list of headers, as HTTP/2 counts it.

use http::HeaderMap;
use http::request::Parts;

/// What each field counts beside its name and value (RFC 9113, section 6.5.2).
const FIELD: usize = 32;

/// The size of these fields, in bytes as HTTP/2 counts them.
pub(super) fn fields_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum()
}

/// The size of the header list that a request came with, its pseudo-headers included, in bytes as HTTP/2 counts them
/// (RFC 9113, section 6.5.2).
pub(crate) fn header_list_size(parts: &Parts) -> usize {
    let field = |name: &str, value: Option<&str>| value.map_or(0, |value| name.len() + value.len() + FIELD);
    field(":method", Some(parts.method.as_str()))
        + field(":scheme", parts.uri.scheme_str())
        + field(":authority", parts.uri.authority().map(http::uri::Authority::as_str))
        + field(":path", parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str))
        + fields_size(&parts.headers)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn pseudo_headers_and_fields_count_with_32_bytes_each() {
        let request = Request::post("http://shop/a/b").header("te", "trailers").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        // :method POST, :scheme http, :authority shop, :path /a/b, te trailers.
        assert_eq!(header_list_size(&parts), 5 * 32 + (7 + 4) + (7 + 4) + (10 + 4) + (5 + 4) + (2 + 8));
        assert_eq!(fields_size(&parts.headers), 32 + 10);
    }
}
