//! Unary calls of Connect: the body of the request is the message, and so is that of the answer; errors are JSON with a
//! status of HTTP.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use prost_reflect::DescriptorPool;
use tonic::Status;
use tonic::body::Body;
use url::form_urlencoded;

use super::codec::Codec;
use super::encoding::Encoding;
use super::failure::error;
use super::head::head;
use super::procedure::Procedure;
use crate::adapters::access::AnswerCode;
use crate::adapters::errors::{malformed, message_too_large};
use crate::adapters::http::answers::{Pieces, Room};
use crate::adapters::http::call::{self, Failure};
use crate::adapters::http::linked::LinkedCalls;
use crate::adapters::http::prefix::prefix;

/// Queries have padding or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a GET asks, by its query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The name of the codec.
    pub codec: String,
    message: Bytes,
    encoding: String,
}

impl Query {
    /// The parameters of a request; others are left alone.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when one lacks, or isn't what it must be.
    pub(super) fn of(query: &str) -> Result<Self, Status> {
        let (mut codec, mut message, mut encoding, mut is_base64) = (None, None, String::new(), false);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "connect" if value != "v1" => return Err(malformed("the parameter connect must be v1")),
                "encoding" => codec = Some(value.into_owned()),
                "message" => message = Some(value.into_owned()),
                "compression" => encoding = value.into_owned(),
                "base64" => is_base64 = value == "1",
                _ => {}
            }
        }
        let codec = codec.ok_or_else(|| malformed("the parameter encoding must be proto or json"))?;
        let message = message.ok_or_else(|| malformed("the parameter message must be there, and may be empty"))?;
        let message = if is_base64 {
            BASE64
                .decode(&message)
                .map_err(|_| malformed("the parameter message is not base64 that is safe in URLs"))?
        } else {
            message.into_bytes()
        };
        Ok(Self { codec, message: message.into(), encoding })
    }
}

/// One unary call, and how its messages are written.
pub(super) struct Unary<'a> {
    pub procedure: &'a Procedure,
    pub codec: Codec,
    pub max: usize,
    pub pool: &'a DescriptorPool,
    /// Where the answer waits to be taken.
    pub room: Room,
}

impl Unary<'_> {
    /// Makes the call of a POST. Its body is read once the call is admitted: it is read as the request of the call.
    pub(super) async fn post(&self, request: Request<Body>, calls: LinkedCalls) -> Response<Body> {
        let (parts, body) = request.into_parts();
        match Encoding::of(&parts.headers, "content-encoding") {
            Ok(encoding) => self.call(&parts.headers, self.message(body, encoding), calls).await,
            Err(status) => self.failed(&status.into()),
        }
    }

    /// Makes the call of a GET. Its message is unpacked and read once the call is admitted, as that of a POST is: it may
    /// be a thousand times as large as the query.
    pub(super) async fn get(&self, query: Query, headers: &HeaderMap, calls: LinkedCalls) -> Response<Body> {
        match Encoding::named(&query.encoding) {
            Ok(encoding) => {
                let body = Body::new(Full::new(query.message));
                self.call(headers, self.message(body, encoding), calls).await
            }
            Err(status) => self.failed(&status.into()),
        }
    }

    async fn call(&self, headers: &HeaderMap, body: Body, mut calls: LinkedCalls) -> Response<Body> {
        let head = match head(&self.procedure.path, headers) {
            Ok(head) => head,
            Err(status) => return self.failed(&status.into()),
        };
        let answered = match call::start(&mut calls, head, body).await {
            Ok(answer) => answer.only().await,
            Err(failure) => Err(failure),
        };
        let (metadata, message, trailers) = match answered {
            Ok(answered) => answered,
            Err(failure) => return self.failed(&failure),
        };
        let written = self.codec.write(&self.procedure.output, message).await;
        match written.and_then(|message| Pieces::of(message, &self.room)) {
            Ok(message) => self.answered(metadata, message, &trailers),
            Err(status) => self.failed(&Failure { status, metadata: call::limits_of(&metadata) }),
        }
    }

    fn answered(&self, metadata: HeaderMap, message: Pieces, trailers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(message.into_body());
        let headers = response.headers_mut();
        *headers = metadata;
        for (name, value) in trailers {
            if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
                headers.append(name, value.clone());
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.codec.unary_type()));
        response
    }

    /// The answer of a call that has failed.
    pub(super) fn failed(&self, failure: &Failure) -> Response<Body> {
        failed(failure, self.pool)
    }

    /// The message of a request as the body of a call.
    fn message(&self, body: Body, encoding: Encoding) -> Body {
        let exact = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        if let (Codec::Proto, Encoding::Identity, Some(size)) = (self.codec, encoding, exact) {
            return streamed(body, size, self.max);
        }
        let (codec, max, input) = (self.codec, self.max, self.procedure.input.clone());
        let framed = async move {
            let message = encoding.unpack(collect(body, max).await?, max)?;
            Ok::<_, Status>(Frame::data(call::frame(&codec.read(&input, message)?)))
        };
        Body::new(StreamBody::new(stream::once(framed)))
    }
}

/// The answer of a call that has failed: its status is of HTTP too, and its metadata are headers.
pub(super) fn failed(failure: &Failure, pool: &DescriptorPool) -> Response<Body> {
    let json = error(&failure.status, pool).to_string();
    let mut response = Response::new(Body::new(Full::new(Bytes::from(json))));
    *response.status_mut() = call::http_status(failure.status.code());
    response.extensions_mut().insert(AnswerCode(failure.status.code()));
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    *headers = failure.metadata.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if is_unauthorized {
        // HTTP asks for it (RFC 9110, section 15.5.2).
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A message whose `size` is known passes as it comes: nothing is held of it here.
fn streamed(body: Body, size: usize, max: usize) -> Body {
    if size > max {
        return Body::new(StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(message_too_large(max))])));
    }
    let prefix = stream::iter([Ok::<_, Status>(Frame::data(prefix(0, size)))]);
    let rest = BodyStream::new(body).try_filter(|frame| future::ready(frame.is_data()));
    Body::new(StreamBody::new(prefix.chain(rest)))
}

/// All of a body.
async fn collect(mut body: Body, max: usize) -> Result<Bytes, Status> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers of a request mean nothing.
        let Ok(data) = frame?.into_data() else { continue };
        if data.len() > max - all.len() {
            return Err(message_too_large(max));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::adapters::http::prefix::prefixed;

    #[test]
    fn a_query_has_a_message_and_how_it_is_written() {
        let query = |codec: &str, message: &'static [u8], encoding: &str| Query {
            codec: codec.to_owned(),
            message: Bytes::from_static(message),
            encoding: encoding.to_owned(),
        };
        for (text, expected) in [
            ("connect=v1&encoding=json&message=%7B%7D&other=1", query("json", b"{}", "")),
            ("encoding=proto&base64=1&message=-_8=&compression=gzip", query("proto", b"\xfb\xff", "gzip")),
            ("encoding=proto&base64=1&message=-_8", query("proto", b"\xfb\xff", "")),
            ("encoding=proto&message=", query("proto", b"", "")),
        ] {
            assert_eq!(Query::of(text).unwrap(), expected, "{text}");
        }
        for text in ["", "encoding=json", "message=%7B%7D", "connect=v2&encoding=json&message=%7B%7D"] {
            assert_eq!(Query::of(text).unwrap_err().code(), Code::InvalidArgument, "{text}");
        }
        let wrong = Query::of("encoding=proto&base64=1&message=+/8=").unwrap_err();
        assert_eq!(wrong.code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let body = || Body::new(Full::new(Bytes::from_static(b"12345")));
        assert_eq!(collect(body(), 5).await.unwrap(), b"12345".as_slice());
        assert_eq!(collect(body(), 4).await.unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!(streamed(body(), 5, 5).collect().await.unwrap().to_bytes(), prefixed(0, b"12345"));
        assert_eq!(streamed(body(), 5, 4).collect().await.unwrap_err().code(), Code::ResourceExhausted);
    }
}
