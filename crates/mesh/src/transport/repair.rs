//! Statuses that tonic could not read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::outcome::grpc_status;

static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Mends what would cost a status its code when tonic reads it, in trailers or in the headers of a Trailers-Only response: a
/// message that is not UTF-8, which must not be an error (gRPC over HTTP/2, "Status-Message"), and details that are not
/// base64, on which tonic 0.14 panics.
pub(super) fn repair_status(headers: &mut HeaderMap) {
    // Most trailers are a status and nothing else; most headers have none.
    if headers.len() < 2 || grpc_status(headers).is_none() {
        return;
    }
    if let Some(message) = headers.get(&GRPC_MESSAGE).and_then(|message| repaired(message.as_bytes())) {
        headers.insert(&GRPC_MESSAGE, message);
    }
    let invalid = headers.get(&GRPC_STATUS_DETAILS).is_some_and(|details| {
        STANDARD.decode(details.as_bytes()).is_err() && STANDARD_NO_PAD.decode(details.as_bytes()).is_err()
    });
    if invalid {
        // They say nothing.
        headers.remove(&GRPC_STATUS_DETAILS);
    }
}

/// A message as it should have been sent; `None` when it was. What is not UTF-8 becomes U+FFFD.
fn repaired(message: &[u8]) -> Option<HeaderValue> {
    if message.iter().all(|byte| byte.is_ascii() && *byte != b'%') {
        return None;
    }
    let decoded = percent_decoded(message);
    let text = String::from_utf8_lossy(&decoded);
    if message.is_ascii() && text.as_bytes() == decoded {
        return None;
    }
    HeaderValue::from_str(&percent_encoded(&text)).ok()
}

/// Replaces `%` and two hexadecimal digits by the byte that they stand for; other `%` stand for themselves.
fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after.split_first_chunk::<2>() {
            Some((&[high, low], after)) if *first == b'%' => hex(high).zip(hex(low)).map(|digits| (digits, after)),
            _ => None,
        };
        match escaped {
            Some(((high, low), after)) => {
                decoded.push((high << 4) | low);
                rest = after;
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Encodes what the protocol asks for: everything but printable ASCII, and `%`.
fn percent_encoded(text: &str) -> String {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
            encoded.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
        }
    }
    encoded
}
