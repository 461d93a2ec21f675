//! Streams of Connect: messages in envelopes, both ways, and the end of the answer in the last of them.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::{Map, Value};
use tonic::Status;
use tonic::body::Body;

use super::codec::Codec;
use super::encoding::Encoding;
use super::failure::error;
use super::head::head;
use super::procedure::Procedure;
use crate::adapters::errors::{compression_unnamed, malformed, message_too_large};
use crate::adapters::http::answers::{Pieces, Room};
use crate::adapters::http::call::{self, Failure, Messages};
use crate::adapters::http::linked::LinkedCalls;
use crate::adapters::http::prefix::{prefixed, take};

/// The flag of a message that is compressed.
const COMPRESSED: u8 = 1;
/// The flag of the end of an answer.
const END: u8 = 2;

/// Makes a call of `procedure`, whose messages are written by `codec` and have at most `max` bytes.
pub(super) async fn answer(
    procedure: &Procedure,
    codec: Codec,
    max: usize,
    pool: &DescriptorPool,
    request: Request<Body>,
    mut calls: LinkedCalls,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let room = Room::among(&parts.extensions);
    let head = head(&procedure.path, &parts.headers);
    let encoding = Encoding::of(&parts.headers, "connect-content-encoding");
    let started = match (head, encoding) {
        (Ok(head), Ok(encoding)) => {
            let input = procedure.input.clone();
            let request = Envelopes { body, buffer: BytesMut::new(), encoding, codec, input, max };
            call::start(&mut calls, head, request.into_body()).await
        }
        (Err(status), _) | (_, Err(status)) => Err(status.into()),
    };
    let (metadata, body) = match started {
        Ok(answer) => {
            let answer_body = StreamedAnswer {
                messages: answer.messages,
                codec,
                output: procedure.output.clone(),
                pool: pool.clone(),
                room,
            };
            (answer.metadata, answer_body.into_body())
        }
        // A stream has its errors at its end, even if it has nothing else.
        Err(failure) => (call::limits_of(&failure.metadata), Body::new(Full::new(end(Some(&failure), None, pool)))),
    };
    let mut response = Response::new(body);
    *response.headers_mut() = metadata;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(codec.stream_type()));
    response
}

/// The messages of a request.
struct Envelopes {
    body: Body,
    buffer: BytesMut,
    encoding: Encoding,
    codec: Codec,
    input: MessageDescriptor,
    max: usize,
}

impl Envelopes {
    /// The same messages, as the body of a call has them. After an error there is nothing more.
    fn into_body(self) -> Body {
        let messages = stream::unfold(Some(self), |envelopes| async move {
            let mut envelopes = envelopes?;
            match envelopes.next().await? {
                Ok(message) => Some((Ok(Frame::data(call::frame(&message))), Some(envelopes))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Body::new(StreamBody::new(messages))
    }

    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            match take(&mut self.buffer, self.max) {
                Ok(None) => {}
                Ok(Some((flags, message))) => return Some(self.read(flags, message)),
                Err(_) => return Some(Err(message_too_large(self.max))),
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    // Trailers of a request mean nothing.
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(status)) => return Some(Err(status)),
                None if self.buffer.is_empty() => return None,
                None => return Some(Err(malformed("the request ended in the middle of a message"))),
            }
        }
    }

    fn read(&self, flags: u8, message: Bytes) -> Result<Bytes, Status> {
        let message = match (flags, self.encoding) {
            (0, _) => message,
            (COMPRESSED, Encoding::Gzip) => self.encoding.unpack(message, self.max)?,
            (COMPRESSED, Encoding::Identity) => {
                return Err(compression_unnamed("connect-content-encoding"));
            }
            _ => return Err(malformed("a message begins with neither 0 nor 1: it has no envelope of Connect")),
        };
        self.codec.read(&self.input, message)
    }
}

/// An answer that has begun.
struct StreamedAnswer {
    messages: Messages,
    codec: Codec,
    output: MessageDescriptor,
    pool: DescriptorPool,
    /// Where messages wait to be taken.
    room: Room,
}

impl StreamedAnswer {
    fn into_body(self) -> Body {
        let envelopes = stream::unfold(Some(self), |answer| async move {
            let mut answer = answer?;
            let written = match answer.messages.next().await {
                Some(Ok(message)) => {
                    written(answer.codec, &answer.output, message, &answer.room).await.map(Some).map_err(Failure::from)
                }
                Some(Err(failure)) => Err(failure),
                None => Ok(None),
            };
            let (envelope, rest) = match written {
                Ok(Some(pieces)) => (Envelope::Message(pieces), Some(answer)),
                Ok(None) => (Envelope::End(end(None, answer.messages.trailers(), &answer.pool)), None),
                Err(failure) => (Envelope::End(end(Some(&failure), None, &answer.pool)), None),
            };
            Some((envelope, rest))
        });
        let pieces = envelopes.flat_map(|envelope| match envelope {
            Envelope::Message(pieces) => stream::iter(pieces).left_stream(),
            Envelope::End(end) => stream::iter([end]).right_stream(),
        });
        Body::new(StreamBody::new(pieces.map(|piece| Ok::<_, Status>(Frame::data(piece)))))
    }
}

/// A message of an answer in its envelope, in pieces.
async fn written(codec: Codec, output: &MessageDescriptor, message: Bytes, room: &Room) -> Result<Pieces, Status> {
    let message = codec.write(output, message).await?;
    Pieces::of(prefixed(0, &message), room)
}

/// What an answer consists of.
enum Envelope {
    Message(Pieces),
    End(Bytes),
}

/// The last envelope of an answer: the error, if it has failed, and the trailers.
fn end(failure: Option<&Failure>, trailers: Option<&HeaderMap>, pool: &DescriptorPool) -> Bytes {
    let mut end = Map::new();
    if let Some(failure) = failure {
        end.insert("error".to_owned(), error(&failure.status, pool));
    }
    let mut metadata = Map::new();
    for (name, value) in failure.map(|failure| &failure.metadata).or(trailers).into_iter().flatten() {
        let values = metadata.entry(name.as_str()).or_insert_with(|| Value::Array(Vec::new()));
        if let (Some(values), Ok(value)) = (values.as_array_mut(), value.to_str()) {
            values.push(value.into());
        }
    }
    if !metadata.is_empty() {
        end.insert("metadata".to_owned(), Value::Object(metadata));
    }
    prefixed(END, Value::Object(end).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use meshwork_api::FILE_DESCRIPTOR_SET;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;
    use tokio::runtime::Builder;
    use tonic::Code;

    use super::*;

    fn pool() -> DescriptorPool {
        static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap());
        POOL.clone()
    }

    /// The body of a call whose request has these pieces.
    fn read(pieces: Vec<Bytes>, encoding: Encoding) -> Result<Bytes, Status> {
        let body = Body::new(StreamBody::new(stream::iter(
            pieces.into_iter().map(|piece| Ok::<_, Status>(Frame::data(piece))),
        )));
        let input = pool().get_message_by_name("meshwork.orders.v1.WatchOrderRequest").unwrap();
        let request = Envelopes { body, buffer: BytesMut::new(), encoding, codec: Codec::Proto, input, max: 100 };
        let collected = Builder::new_current_thread().build().unwrap().block_on(request.into_body().collect());
        collected.map(http_body_util::Collected::to_bytes)
    }

    proptest! {
        #[test]
        fn messages_pass_however_the_request_is_cut(
            messages in vec(vec(any::<u8>(), 0..100), 0..6),
            size in 1_usize..150,
        ) {
            let all: Vec<u8> = messages.iter().flat_map(|message| prefixed(0, message)).collect();
            let pieces = all.chunks(size).map(Bytes::copy_from_slice).collect();
            prop_assert_eq!(read(pieces, Encoding::Identity).unwrap(), all);
        }
    }

    #[test]
    fn what_is_no_sequence_of_envelopes_is_refused() {
        for (piece, encoding, code) in [
            (prefixed(0, &[0; 101]), Encoding::Identity, Code::ResourceExhausted),
            (prefixed(0, b"cut").slice(..6), Encoding::Identity, Code::InvalidArgument),
            (prefixed(COMPRESSED, b"x"), Encoding::Identity, Code::Internal),
            (prefixed(COMPRESSED, b"x"), Encoding::Gzip, Code::InvalidArgument),
            (prefixed(END, b"{}"), Encoding::Identity, Code::InvalidArgument),
        ] {
            assert_eq!(read(vec![piece], encoding).unwrap_err().code(), code);
        }
    }

    #[test]
    fn the_end_has_the_error_and_the_trailers() {
        let mut trailers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-a", "2"), ("x-b-bin", "AA")] {
            trailers.append(name, HeaderValue::from_static(value));
        }
        let metadata = json!({ "x-a": ["1", "2"], "x-b-bin": ["AA"] });
        let told = |envelope: Bytes| serde_json::from_slice::<Value>(&envelope[5..]).unwrap();
        assert_eq!(told(end(None, None, &pool())), json!({}));
        assert_eq!(told(end(None, Some(&trailers), &pool())), json!({ "metadata": metadata }));
        let failure = Failure { status: Status::aborted("again"), metadata: trailers };
        let error = json!({ "code": "aborted", "message": "again" });
        let ended = end(Some(&failure), None, &pool());
        assert_eq!(ended[0], END);
        assert_eq!(told(ended), json!({ "error": error, "metadata": metadata }));
    }
}
