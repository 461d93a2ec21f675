//! Headers that belong to a connection and not to a call (RFC 9110, section 7.6.1), and those that are for one receiver
//! alone.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Each hop has its own. `connection` is read before they are dropped, since it may name more of them.
static HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HOST,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Where callers show keys that `authorization` has no scheme for.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What callers show who they are by.
static CREDENTIALS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, API_KEY, COOKIE];

/// Makes the headers of a caller's request those of the proxy's own, which can read trailers whatever the caller can.
pub(super) fn of_request(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// Makes the headers of an upstream's answer those of the proxy's own. Its length is not kept: an answer that breaks
/// off would be shorter than it says, which is a protocol error that hides its status.
pub(super) fn of_answer(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
}

/// Drops what a caller shows who it is by.
pub(super) fn drop_credentials(headers: &mut HeaderMap) {
    for name in &CREDENTIALS {
        headers.remove(name);
    }
}

/// Puts `authorization` in place of what a caller was known by: a key that was exchanged is not for the upstream.
pub(super) fn replace_credentials(headers: &mut HeaderMap, authorization: HeaderValue) {
    headers.insert(AUTHORIZATION, authorization);
    headers.remove(API_KEY);
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    // HTTP/2 has none, so that this allocates nothing.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-this-hop"),
            ("connection", "X-Another"),
            ("x-this-hop", "1"),
            ("x-another", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "keep-alive"),
            ("host", "gateway"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("te", "gzip"),
            ("content-length", "5"),
            ("authorization", "Bearer x"),
            ("grpc-timeout", "1S"),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn headers_of_the_connection_stay_behind_and_the_proxy_reads_trailers() {
        let mut headers = headers();
        of_request(&mut headers);
        // The channel drops the length of a request.
        assert_eq!(names(&headers), ["authorization", "content-length", "grpc-timeout", "te", "x-twice"]);
        assert!(headers.get_all(TE).iter().eq(["trailers"]));
        assert_eq!(headers.get_all("x-twice").iter().count(), 2);
        let mut none = HeaderMap::new();
        of_request(&mut none);
        assert_eq!(none.get(TE).unwrap(), "trailers");
    }

    #[test]
    fn credentials_are_dropped_by_all_of_their_names() {
        let mut headers = headers();
        for name in ["authorization", "proxy-authorization", "x-api-key", "cookie"] {
            headers.append(name, HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
        }
        drop_credentials(&mut headers);
        assert!(CREDENTIALS.iter().all(|name| !headers.contains_key(name)));
        assert!(headers.contains_key("grpc-timeout"));
    }

    #[test]
    fn an_answer_has_neither_headers_of_the_connection_nor_a_length() {
        let mut headers = headers();
        of_answer(&mut headers);
        assert_eq!(names(&headers), ["authorization", "grpc-timeout", "x-twice"]);
    }
}
