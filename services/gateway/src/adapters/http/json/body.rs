//! The body of a request: of the right type, of a bounded size, and within a bounded time.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use meshwork::errors::port::MESSAGE_TOO_LARGE;
use tonic::body::Body;
use tonic::{Code, Status};

use super::fault::{BODY, Fault};
use super::refusal::Refusal;
use crate::adapters::errors::{DOMAIN, body_too_slow, media_type_unsupported};

/// How long a body may take to arrive.
const BOUND: Duration = Duration::from_secs(30);

/// Reads a body of JSON that has at most `limit` bytes.
///
/// # Errors
/// When it is larger (413), of another type (415), takes longer than 30 seconds or than the port waits (408), breaks
/// off, or there is no room for it at the port (429).
pub(super) async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Refusal> {
    if !is_json(headers) {
        return Err(unsupported());
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let too_large = || Refusal::with(StatusCode::PAYLOAD_TOO_LARGE, too_large(limit));
    if length.is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(BOUND, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => return Err(broken(error)),
        Err(_) => return Err(Refusal::with(StatusCode::REQUEST_TIMEOUT, body_too_slow(BOUND))),
    };
    // Without a type there may be nothing.
    if bytes.is_empty() || headers.contains_key(CONTENT_TYPE) { Ok(bytes) } else { Err(unsupported()) }
}

/// Makes sure that there is none.
///
/// # Errors
/// When there is one.
pub(super) async fn none(body: Body) -> Result<(), Refusal> {
    // An HTTP/2 stream may end by a frame without data.
    match tokio::time::timeout(BOUND, Limited::new(body, 0).collect()).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Fault::new(BODY, "must be empty for this method").into()),
    }
}

/// The port says why it gives a body up: it doesn't come, its framing is wrong, or there is no room for it.
fn broken(error: Box<dyn Error + Send + Sync>) -> Refusal {
    match error.downcast::<Status>() {
        Ok(status) if status.code() == Code::DeadlineExceeded => Refusal::with(StatusCode::REQUEST_TIMEOUT, *status),
        Ok(status) => Refusal::from(*status),
        Err(_) => Status::cancelled("the body broke off").into(),
    }
}

fn too_large(limit: usize) -> Status {
    let limit = limit.to_string();
    let message = format!("the body has more than {limit} bytes");
    MESSAGE_TOO_LARGE.status(DOMAIN, message, &[("limit", &limit)])
}

fn unsupported() -> Refusal {
    Refusal::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, media_type_unsupported())
}

/// Whether what the headers say of the body, if anything, is JSON in UTF-8 without an encoding.
fn is_json(headers: &HeaderMap) -> bool {
    let is_plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_json = match (types.next(), types.next()) {
        (None, _) => true,
        (Some(one), None) => one.to_str().is_ok_and(is_json_type),
        _ => false,
    };
    is_json && headers.get_all(CONTENT_ENCODING).iter().all(is_plain)
}

fn is_json_type(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn of(bytes: &'static [u8]) -> Body {
        Body::new(Full::new(Bytes::from_static(bytes)))
    }

    fn typed(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
    }

    #[tokio::test]
    async fn json_is_read_up_to_the_limit() {
        for json in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\"; x=y"] {
            assert_eq!(read(of(b"{}"), &typed(json), 2).await.unwrap(), "{}");
        }
        assert_eq!(read(of(b"{ }"), &typed("application/json"), 2).await.unwrap_err().code, 413);
        let mut told = typed("application/json");
        told.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        assert_eq!(read(of(b"{}"), &told, 2).await.unwrap_err().code, 413);
    }

    #[tokio::test]
    async fn other_types_and_encodings_are_refused() {
        for other in ["text/plain", "application/jsonp", "application/json; charset=latin1", "application/grpc", ""] {
            assert_eq!(read(of(b"{}"), &typed(other), 9).await.unwrap_err().code, 415, "{other}");
        }
        let mut packed = typed("application/json");
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(read(of(b"{}"), &packed, 9).await.unwrap_err().code, 415);
        assert_eq!(read(of(b"{}"), &HeaderMap::new(), 9).await.unwrap_err().code, 415);
        assert_eq!(read(Body::empty(), &HeaderMap::new(), 9).await.unwrap(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_ends_in_time() {
        let pending =
            http_body_util::StreamBody::new(futures_util::stream::pending::<Result<http_body::Frame<Bytes>, Status>>());
        let refused = read(Body::new(pending), &typed("application/json"), 9).await.unwrap_err();
        assert_eq!(refused.code, 408);
    }

    #[tokio::test]
    async fn why_the_port_gave_a_body_up_is_told() {
        for (status, code) in [
            (Status::deadline_exceeded("no byte came"), 408),
            (Status::resource_exhausted("too much is on its way"), 429),
            (Status::invalid_argument("a chunk has no size"), 400),
        ] {
            let message = status.message().to_owned();
            let frames = futures_util::stream::iter([Err::<http_body::Frame<Bytes>, _>(status)]);
            let broken = Body::new(http_body_util::StreamBody::new(frames));
            let refused = read(broken, &typed("application/json"), 9).await.unwrap_err();
            assert_eq!((refused.code.as_u16(), refused.status.message()), (code, message.as_str()));
        }
    }

    #[tokio::test]
    async fn a_method_without_a_body_has_none() {
        assert!(none(Body::empty()).await.is_ok());
        assert!(none(of(b"")).await.is_ok());
        assert_eq!(none(of(b"{}")).await.unwrap_err().code, 400);
    }
}
