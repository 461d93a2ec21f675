//! gRPC-Web (gRPC's `PROTOCOL-WEB.md`), binary and as text: the messages of a call pass as they are, and its trailers
//! are the last frame of the answer's body.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::call::{drop_of_transport, metadata_of};
use super::grpc_web_text::TextDecoder;
use super::prefix::prefixed;
use crate::adapters::errors::{answer_unreadable, malformed};

/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Binary,
    /// Base64, for what reads text alone; padding may stand behind each piece.
    Text,
}

/// A call that comes by gRPC-Web.
#[derive(Debug)]
pub(super) struct WebCall {
    request: Form,
    answer: Form,
    /// The format of the messages, such as `+proto`; empty where it isn't named.
    format: String,
}

impl WebCall {
    /// The call that a request with these headers is; `None` when it isn't gRPC-Web.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let read = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).and_then(parsed);
        let (request, format) = read(CONTENT_TYPE)?;
        let answer = read(ACCEPT).map_or(request, |(form, _)| form);
        Some(Self { request, answer, format })
    }

    /// Makes it. Dropping the future, or the body of the answer, cancels it.
    pub(super) async fn answer<S>(self, request: Request<Body>, calls: &mut S) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        if request.method() != Method::POST {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let request = self.as_grpc(request);
        let Ok(()) = poll_fn(|cx| calls.poll_ready(cx)).await;
        let Ok(response) = calls.call(request).await;
        self.as_web(response)
    }

    fn as_grpc(&self, request: Request<Body>) -> Request<Body> {
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_2;
        parts.headers = metadata_of(&parts.headers);
        parts.headers.insert(CONTENT_TYPE, media_type(&format!("application/grpc{}", self.format)));
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        let body = match self.request {
            Form::Binary => body,
            Form::Text => Body::new(TextRequest { body, decoder: TextDecoder::default(), ended: false }),
        };
        Request::from_parts(parts, body)
    }

    fn as_web(&self, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        drop_of_transport(&mut parts.headers);
        parts.version = Version::default();
        let form = match self.answer {
            Form::Binary => "",
            Form::Text => "-text",
        };
        parts.headers.insert(CONTENT_TYPE, media_type(&format!("application/grpc-web{form}{}", self.format)));
        // An answer that is its status alone has it in its head, and no body.
        let alone = parts.headers.contains_key("grpc-status");
        let body = if alone { Body::empty() } else { Body::new(WebAnswer { body, form: self.answer, ended: false }) };
        Response::from_parts(parts, body)
    }
}

/// The form and the format of a media type of gRPC-Web.
fn parsed(media_type: &str) -> Option<(Form, String)> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let rest = essence.strip_prefix("application/grpc-web")?;
    let (form, format) = rest.strip_prefix("-text").map_or((Form::Binary, rest), |format| (Form::Text, format));
    (format.is_empty() || is_format(format)).then(|| (form, format.to_owned()))
}

/// Whether it is a format: it is told to the service and to the caller, and is to say nothing else to them.
fn is_format(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    text.strip_prefix('+').is_some_and(|name| !name.is_empty() && name.bytes().all(is_part))
}

/// The value of a media type, which is made of parts of another header.
fn media_type(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/grpc"))
}

/// The body of a request that is text.
struct TextRequest {
    body: Body,
    decoder: TextDecoder,
    ended: bool,
}

impl http_body::Body for TextRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        const WRONG: &str = "the body of the request is not base64";
        while !self.ended {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers of a request mean nothing.
                    let Ok(data) = frame.into_data() else { continue };
                    match self.decoder.decode(&data) {
                        Some(plain) if plain.is_empty() => {}
                        Some(plain) => return Poll::Ready(Some(Ok(Frame::data(plain)))),
                        None => {
                            self.ended = true;
                            return Poll::Ready(Some(Err(malformed(WRONG))));
                        }
                    }
                }
                Some(Err(status)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => {
                    self.ended = true;
                    if !self.decoder.is_between() {
                        return Poll::Ready(Some(Err(malformed(WRONG))));
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// The body of an answer that has begun; its end is always a frame with trailers.
struct WebAnswer {
    body: Body,
    form: Form,
    ended: bool,
}

impl http_body::Body for WebAnswer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let trailers = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(self.form.written(data))))),
                Err(frame) => frame.into_trailers().unwrap_or_default(),
            },
            Some(Err(status)) => of_status(&status),
            None => of_status(&answer_unreadable("it ended without a status")),
        };
        self.ended = true;
        // What it holds of the call is let go.
        self.body = Body::empty();
        let last = self.form.written(prefixed(TRAILERS, &lines(&trailers)));
        Poll::Ready(Some(Ok(Frame::data(last))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Form {
    /// A piece of an answer, with padding of its own where it is text: a reader has all of it at once.
    fn written(self, data: Bytes) -> Bytes {
        match self {
            Self::Binary => data,
            Self::Text => STANDARD.encode(&data).into(),
        }
    }
}

/// The trailers of a status.
fn of_status(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from(i32::from(status.code())));
    }
    trailers
}

/// Trailers as the lines of HTTP/1.1, with names in lower case.
fn lines(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(&'static str, &'static str)]) -> Option<(Form, Form, String)> {
        let headers = all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        WebCall::of(&headers.collect()).map(|call| (call.request, call.answer, call.format))
    }

    #[test]
    fn grpc_web_is_known_by_its_media_type_and_answered_as_it_asks() {
        let format = String::new;
        let proto = || "+proto".to_owned();
        for (media_type, expected) in [
            ("application/grpc-web", Some((Form::Binary, format()))),
            ("application/grpc-web+proto", Some((Form::Binary, proto()))),
            ("Application/gRPC-Web-Text+proto; charset=utf-8", Some((Form::Text, proto()))),
            ("application/grpc-web-text", Some((Form::Text, format()))),
            ("application/grpc-web-other", None),
            ("application/grpc-webs", None),
            ("application/grpc-web+", None),
            ("application/grpc-web+proto,text/html", None),
            ("application/grpc-web-text+a b", None),
            ("application/grpc", None),
            ("application/json", None),
        ] {
            let expected = expected.map(|(form, format)| (form, form, format));
            assert_eq!(of(&[("content-type", media_type)]), expected, "{media_type}");
            assert_eq!(of(&[("content-type", media_type), ("accept", "*/*")]), expected, "{media_type}");
        }
        let mixed = [("content-type", "application/grpc-web+proto"), ("accept", "application/grpc-web-text")];
        assert_eq!(of(&mixed), Some((Form::Binary, Form::Text, proto())));
        assert_eq!(of(&[("accept", "application/grpc-web-text")]), None);
    }

    #[test]
    fn trailers_are_lines_with_names_in_lower_case() {
        let trailers = of_status(&Status::not_found("no order"));
        let text = String::from_utf8(lines(&trailers)).unwrap();
        assert_eq!(text, "grpc-status: 5\r\ngrpc-message: no%20order\r\n");
    }
}
