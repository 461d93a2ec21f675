//! Metadata of calls as headers of HTTP, both ways.

use http::header::{HeaderMap, HeaderName};
use meshwork_aip::request::REPLAY;
use meshwork_chassis::consistency::{STALE, TOKEN};

use super::super::call;

/// What the names of headers begin with that are metadata of any other name.
const PREFIX: &str = "grpc-metadata-";

/// Headers of requests that mean something to the transcoder, and nothing to services.
const CONSUMED: [&str; 3] = ["idempotency-key", "if-match", "last-event-id"];

/// Answer metadata that keeps its name.
const NAMED: [&str; 8] =
    [TOKEN, STALE, REPLAY, "x-request-id", "traceparent", "tracestate", "ratelimit", "ratelimit-policy"];

/// The metadata of a call: the headers of a request that go on, and what `Grpc-Metadata-…` names, without that prefix.
/// A name with the prefix adds to no header of that name, and can't be one that says who the caller is or where it
/// comes from.
pub(super) fn of_request(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = call::metadata_of(headers);
    for name in CONSUMED {
        metadata.remove(name);
    }
    let own: Vec<_> = metadata.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned().collect();
    for name in &own {
        metadata.remove(name);
    }
    let mut renamed = HeaderMap::new();
    for name in headers.keys() {
        let plain = name.as_str().strip_prefix(PREFIX).filter(|plain| !is_reserved(plain));
        let plain = plain.and_then(|plain| HeaderName::from_bytes(plain.as_bytes()).ok());
        if let Some(plain) = plain.filter(|plain| !headers.contains_key(plain)) {
            for value in headers.get_all(name) {
                renamed.append(plain.clone(), value.clone());
            }
        }
    }
    // What never goes on doesn't by another name.
    metadata.extend(call::metadata_of(&renamed));
    metadata
}

fn is_reserved(name: &str) -> bool {
    let is_one_of = ["grpc-", "x-forwarded-", "proxy-"].iter().any(|prefix| name.starts_with(prefix));
    is_one_of
        || CONSUMED.contains(&name)
        || ["authorization", "x-api-key", "forwarded", "x-real-ip", "te"].contains(&name)
}

/// Adds the metadata of an answer to its headers.
pub(super) fn add_of_answer(metadata: &HeaderMap, headers: &mut HeaderMap) {
    for (name, value) in metadata {
        let text = name.as_str();
        if NAMED.contains(&text) {
            headers.append(name, value.clone());
        } else if !is_transport(text)
            && let Ok(name) = HeaderName::from_bytes(format!("{PREFIX}{text}").as_bytes())
        {
            headers.append(name, value.clone());
        }
    }
}

/// What is gRPC's or HTTP's own, and not metadata.
fn is_transport(name: &str) -> bool {
    let is_one_of = ["grpc-", "content-", "access-control-"].iter().any(|prefix| name.starts_with(prefix));
    is_one_of || ["date", "server", "trailer", "te", "connection", "transfer-encoding", "vary"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn metadata_of_any_name_is_sent_with_a_prefix() {
        let metadata = of_request(&headers(&[
            ("authorization", "Bearer a"),
            ("x-api-key", "mwk_a"),
            ("meshwork-consistency-token", "MS4x"),
            ("grpc-metadata-meshwork-service", "orders"),
            ("grpc-metadata-x-many", "1"),
            ("grpc-metadata-x-many", "2"),
        ]));
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer a");
        assert_eq!(metadata.get("x-api-key").unwrap(), "mwk_a");
        assert_eq!(metadata.get("meshwork-consistency-token").unwrap(), "MS4x");
        assert_eq!(metadata.get("meshwork-service").unwrap(), "orders");
        assert_eq!(metadata.get_all("x-many").iter().count(), 2);
        assert!(metadata.keys().all(|name| !name.as_str().starts_with("grpc-")), "{metadata:?}");
    }

    #[test]
    fn what_says_who_calls_has_no_second_name() {
        let metadata = of_request(&headers(&[
            ("grpc-metadata-authorization", "Bearer b"),
            ("grpc-metadata-x-api-key", "mwk_b"),
            ("grpc-metadata-x-forwarded-for", "192.0.2.1"),
            ("grpc-metadata-grpc-timeout", "1S"),
            ("grpc-metadata-te", "trailers"),
            ("grpc-metadata-content-type", "text/plain"),
            ("grpc-metadata-host", "elsewhere"),
            ("x-kind", "own"),
            ("grpc-metadata-x-kind", "second"),
            ("grpc-timeout", "1S"),
            ("idempotency-key", "a"),
            ("if-match", "\"v1\""),
            ("last-event-id", "1"),
        ]));
        assert_eq!(metadata, headers(&[("x-kind", "own")]));
    }

    #[test]
    fn answers_have_the_metadata_and_nothing_of_the_transport() {
        let mut answer = HeaderMap::new();
        let metadata = [
            ("x-answer", "yes"),
            ("meshwork-stale", "true"),
            ("ratelimit", "calls;r=1"),
            ("grpc-status", "0"),
            ("grpc-retry-pushback-ms", "5"),
            ("content-type", "application/grpc"),
            ("date", "today"),
        ];
        add_of_answer(&headers(&metadata), &mut answer);
        let expected = [("grpc-metadata-x-answer", "yes"), ("meshwork-stale", "true"), ("ratelimit", "calls;r=1")];
        assert_eq!(answer, headers(&expected));
    }
}
