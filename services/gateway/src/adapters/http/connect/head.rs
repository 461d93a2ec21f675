//! What the headers of a request of Connect say of its call.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tonic::Status;

use crate::adapters::errors::malformed;
use crate::adapters::http::call::{Head, metadata_of};

/// The most digits of a timeout in milliseconds.
const MAX_DIGITS: usize = 10;

/// The head of the call of the method at `path`.
///
/// # Errors
/// INVALID_ARGUMENT for a version that isn't 1, and for a timeout that is none.
pub(super) fn head(path: &str, headers: &HeaderMap) -> Result<Head, Status> {
    if headers.get("connect-protocol-version").is_some_and(|version| version != "1") {
        return Err(malformed("connect-protocol-version must be 1"));
    }
    let timeout = headers.get("connect-timeout-ms").map(timeout).transpose()?;
    let mut metadata = metadata_of(headers);
    // They would be of another protocol.
    for name in ["grpc-timeout", "grpc-encoding"] {
        metadata.remove(name);
    }
    Ok(Head { path: path.to_owned(), metadata, timeout })
}

fn timeout(value: &HeaderValue) -> Result<Duration, Status> {
    let text = value.to_str().unwrap_or_default();
    let is_one = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let millis = if is_one { text.parse().ok() } else { None };
    millis.map(Duration::from_millis).ok_or_else(|| malformed("connect-timeout-ms must be one to ten digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &str) -> Result<Head, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        head("/a.B/C", &headers)
    }

    #[test]
    fn a_timeout_is_one_to_ten_digits() {
        for (text, millis) in [("0", 0), ("1500", 1500), ("9999999999", 9_999_999_999)] {
            assert_eq!(of("connect-timeout-ms", text).unwrap().timeout, Some(Duration::from_millis(millis)));
        }
        for text in ["", "-1", "+1", "1.5", "10000000000", "1s"] {
            assert!(of("connect-timeout-ms", text).is_err(), "{text}");
        }
        assert_eq!(of("x-other", "1").unwrap().timeout, None);
    }

    #[test]
    fn only_version_one_is_spoken() {
        of("connect-protocol-version", "1").unwrap();
        assert!(of("connect-protocol-version", "2").is_err());
    }

    #[test]
    fn timeouts_of_grpc_are_not_taken() {
        assert!(of("grpc-timeout", "1S").unwrap().metadata.is_empty());
        assert_eq!(of("authorization", "Bearer x").unwrap().metadata.len(), 1);
    }
}
