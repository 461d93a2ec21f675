//! How large a status may be, whoever made it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use tonic_types::pb;

/// The most bytes of `grpc-message`, as it is sent.
const MESSAGE: usize = 2 << 10;
/// The most bytes of `grpc-status-details-bin`, as it is sent. Message and details fit the 8 KiB of headers that gRPC asks
/// peers to take (PROTOCOL-HTTP2), with room for metadata.
const DETAILS: usize = 6 << 10;
/// Stands for what was cut off a message: `…`, percent-encoded.
const CUT: &str = "%E2%80%A6";

static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Cuts a status that is too large. One that isn't costs two looks into the map.
pub(in crate::server) fn bound_status(headers: &mut HeaderMap) {
    // One header of its own, a content type or a code, is all that most answers have.
    if headers.len() <= 1 {
        return;
    }
    let length = |name| headers.get(name).map_or(0, HeaderValue::len);
    let (message, details) = (length(&GRPC_MESSAGE), length(&GRPC_DETAILS));
    if message > MESSAGE {
        match headers.get(&GRPC_MESSAGE).and_then(cut) {
            Some(cut) => headers.insert(&GRPC_MESSAGE, cut),
            None => headers.remove(&GRPC_MESSAGE),
        };
    }
    if details > DETAILS {
        match headers.get(&GRPC_DETAILS).and_then(fewer) {
            Some(fewer) => headers.insert(&GRPC_DETAILS, fewer),
            None => headers.remove(&GRPC_DETAILS),
        };
    }
}

/// The beginning of a message, between two characters of its percent encoding.
fn cut(message: &HeaderValue) -> Option<HeaderValue> {
    let bytes = message.as_bytes();
    let mut end = MESSAGE - CUT.len();
    if let Some(percent) = bytes[end - 2..end].iter().position(|byte| *byte == b'%') {
        end = end - 2 + percent;
    }
    // Neither in the middle of a character of several bytes: its continuation bytes are %80 to %BF.
    while end >= 3 && bytes[end..].first() == Some(&b'%') && continues(&bytes[end..]) && bytes[end - 3] == b'%' {
        end -= 3;
    }
    let mut cut = bytes[..end].to_vec();
    cut.extend_from_slice(CUT.as_bytes());
    HeaderValue::from_bytes(&cut).ok()
}

fn continues(encoded: &[u8]) -> bool {
    matches!(encoded.get(1), Some(b'8' | b'9' | b'A' | b'B' | b'a' | b'b'))
}

/// The details as far as they fit; without any, the status says what it can by its code.
fn fewer(details: &HeaderValue) -> Option<HeaderValue> {
    let bytes = STANDARD_NO_PAD.decode(details.as_bytes()).or_else(|_| STANDARD.decode(details.as_bytes())).ok()?;
    let mut status = pb::Status::decode(bytes.as_slice()).ok()?;
    // What base64 makes of it must fit.
    let limit = DETAILS / 4 * 3;
    let most = status.message.floor_char_boundary(limit / 4);
    if most < status.message.len() {
        status.message.truncate(most);
        status.message.push('…');
    }
    let all = std::mem::take(&mut status.details);
    for detail in all {
        status.details.push(detail);
        if status.encoded_len() > limit {
            status.details.pop();
        }
    }
    HeaderValue::from_str(&STANDARD_NO_PAD.encode(status.encode_to_vec())).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn sent(status: &Status) -> HeaderMap {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        bound_status(&mut headers);
        headers
    }

    fn size(headers: &HeaderMap) -> usize {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    #[test]
    fn the_first_details_that_fit_are_kept() {
        let mut details = ErrorDetails::with_error_info("INVALID_FIELDS", "shop", std::collections::HashMap::new());
        for number in 0..1000 {
            details.add_bad_request_violation(format!("names[{number}]"), "must be a name");
        }
        details.set_request_info("a request", "");
        let headers = sent(&Status::with_error_details(Code::InvalidArgument, "x".repeat(100_000), details));
        assert!(size(&headers) < 8 << 10, "{}", size(&headers));
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().ends_with("x…"), "{}", status.message());
        let kept = status.get_error_details();
        assert_eq!(kept.error_info().unwrap().reason, "INVALID_FIELDS");
        assert!(kept.bad_request().is_none() && kept.request_info().is_some());
    }

    #[test]
    fn details_that_are_none_are_dropped() {
        let status = Status::with_details(Code::Internal, "no", Bytes::from(vec![0xff; 20_000]));
        let headers = sent(&status);
        assert!(!headers.contains_key(&GRPC_DETAILS));
        assert_eq!(Status::from_header_map(&headers).unwrap().message(), "no");
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let status = Status::with_details(Code::Internal, "m".repeat(2000), Bytes::from(vec![0xff; 4000]));
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        assert_eq!(sent(&status), headers);
    }

    proptest! {
        #[test]
        fn any_message_is_cut_between_characters(message in "\\PC{0,1500}", more in "[aä€😀%]{0,3000}") {
            let message = message + &more;
            let headers = sent(&Status::new(Code::Unknown, message.clone()));
            prop_assert!(size(&headers) <= MESSAGE + 200);
            let got = Status::from_header_map(&headers).unwrap();
            prop_assert_eq!(got.code(), Code::Unknown);
            match got.message().strip_suffix('…') {
                Some(start) if got.message() != message => prop_assert!(message.starts_with(start)),
                _ => prop_assert_eq!(got.message(), message),
            }
        }
    }
}
