//! Answers of many messages: a line of JSON each, or server-sent events.
//!
//! Each message is asked for when the one before has been taken, so that a slow caller holds one. The answer ends with
//! what tells how: lines with `{"error": …}` when the call failed, events with `event: error` then, and with `event:
//! end` otherwise.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::{Value, json};
use tonic::Status;
use tonic::body::Body;

use super::super::answers::{self, Pieces, Room};
use super::super::call::{Failure, Messages, http_status};
use super::conditions::{RESUME, text};
use super::error::object;

/// After how long without an event a comment says that there is none, so that nobody on the way gives it up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The type of lines.
const LINES: &str = "application/x-ndjson";
/// The type of events.
const EVENTS: &str = "text/event-stream";

/// How messages follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `{"result": …}` in a line each.
    Lines,
    /// Server-sent events, whose ids are the places to go on from.
    Events,
}

impl Format {
    /// What a request accepts: events when it names them, and doesn't name lines as what it likes better.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let events = quality(headers, EVENTS);
        if events > 0 && events >= quality(headers, LINES) { Self::Events } else { Self::Lines }
    }

    /// The type of the answer.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Lines => LINES,
            Self::Events => EVENTS,
        })
    }
}

/// How much a request likes a type that it names, in thousandths (RFC 9110, section 12.4.2); 0 where it doesn't name it.
fn quality(headers: &HeaderMap, name: &str) -> u16 {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let qualities = accepted.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(name) {
            return None;
        }
        let weight = parts.filter_map(|part| part.split_once('=')).find(|(key, _)| key.eq_ignore_ascii_case("q"));
        weight.map_or(Some(1000), |(_, weight)| thousandths(weight))
    });
    qualities.max().unwrap_or(0)
}

/// `None`: it is no weight.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match whole {
        "0" => format!("{fraction:0<3.3}").parse().ok(),
        "1" => fraction.bytes().all(|byte| byte == b'0').then_some(1000),
        _ => None,
    }
}

/// Writes messages and the end.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) format: Format,
    pub(super) pool: DescriptorPool,
    /// What each message is.
    pub(super) message: MessageDescriptor,
    /// Where messages wait to be taken.
    pub(super) room: Room,
}

impl Encoder {
    fn message(&self, bytes: Bytes) -> Result<Bytes, Status> {
        let message = answers::read(&self.message, bytes)?;
        let json = answers::write(&message)?;
        let framed = |start: &str, end: &str| Bytes::from([start.as_bytes(), &json[..], end.as_bytes()].concat());
        Ok(match self.format {
            Format::Lines => framed("{\"result\":", "}\n"),
            Format::Events => {
                let token = text(&self.message, RESUME).map(|field| message.get_field(&field).into_owned());
                let id = token.as_ref().and_then(|token| id(token.as_str()?));
                framed(&format!("{}data: ", id.map(|id| format!("id: {id}\n")).unwrap_or_default()), "\n\n")
            }
        })
    }

    /// The next message in pieces, or the error that ends the answer in its place.
    async fn pieces(self: &Arc<Self>, bytes: Bytes) -> Result<Pieces, Status> {
        let encoder = Arc::clone(self);
        let text = answers::made(bytes, move |bytes| encoder.message(bytes)).await?;
        Pieces::of(text, &self.room)
    }

    fn error(&self, status: &Status) -> String {
        let error = object(&self.pool, http_status(status.code()), status);
        match self.format {
            Format::Lines => format!("{error}\n"),
            Format::Events => event("event: error\n", &error),
        }
    }

    fn end(&self) -> Option<String> {
        match self.format {
            Format::Lines => None,
            Format::Events => Some(event("event: end\n", &json!({}))),
        }
    }
}

/// JSON has no line breaks, and so is one field.
fn event(fields: &str, json: &Value) -> String {
    format!("{fields}data: {json}\n\n")
}

/// A token as the id of an event. One with what would end the field is none, and neither is an empty one: an empty id
/// has browsers forget the last place, and begin again.
fn id(token: &str) -> Option<&str> {
    (!token.is_empty() && !token.contains(['\n', '\r', '\0'])).then_some(token)
}

/// The next message, with what the one after comes from.
type Pull = BoxFuture<'static, (Messages, Option<Result<Bytes, Failure>>)>;

fn pull(mut messages: Messages) -> Pull {
    Box::pin(async move {
        let next = messages.next().await;
        (messages, next)
    })
}

/// The body that has these messages.
pub(super) fn body(encoder: Encoder, messages: Messages) -> Body {
    let encoder = Arc::new(encoder);
    let parts = stream::unfold(Some(pull(messages)), move |state| part(Arc::clone(&encoder), state));
    let frames = parts.flat_map(|part| match part {
        Part::Message(pieces) => stream::iter(pieces).left_stream(),
        Part::Other(text) => stream::iter([Bytes::from(text)]).right_stream(),
    });
    Body::new(StreamBody::new(frames.map(|piece| Ok::<_, Infallible>(Frame::data(piece)))))
}

enum Part {
    Message(Pieces),
    /// An error, the end, or a sign of life.
    Other(String),
}

/// The next part of the body, and what follows it; `None` when nothing does.
async fn part(encoder: Arc<Encoder>, state: Option<Pull>) -> Option<(Part, Option<Pull>)> {
    let mut pulling = state?;
    let (messages, next) = match encoder.format {
        Format::Lines => pulling.await,
        Format::Events => match tokio::time::timeout(KEEP_ALIVE, &mut pulling).await {
            Ok(next) => next,
            Err(_) => return Some((Part::Other(": keep-alive\n\n".to_owned()), Some(pulling))),
        },
    };
    match next {
        Some(Ok(bytes)) => match encoder.pieces(bytes).await {
            Ok(pieces) => Some((Part::Message(pieces), Some(pull(messages)))),
            Err(status) => Some((Part::Other(encoder.error(&status)), None)),
        },
        Some(Err(failure)) => Some((Part::Other(encoder.error(&failure.status)), None)),
        None => encoder.end().map(|text| (Part::Other(text), None)),
    }
}

#[cfg(test)]
mod tests {
    use meshwork_api::meshwork::orders::v1::WatchOrderResponse;
    use prost::Message;

    use super::super::testing::{descriptor, pool};
    use super::*;

    fn encoder(format: Format) -> Encoder {
        Encoder {
            format,
            pool: pool(),
            message: descriptor("meshwork.orders.v1.WatchOrderResponse"),
            room: Room::default(),
        }
    }

    fn update(token: &str) -> Bytes {
        WatchOrderResponse { resume_token: token.to_owned(), ..Default::default() }.encode_to_vec().into()
    }

    #[test]
    fn events_have_their_token_as_id_and_lines_their_result() {
        let line = encoder(Format::Lines).message(update("7")).unwrap();
        assert_eq!(line, "{\"result\":{\"resumeToken\":\"7\"}}\n");
        let event = encoder(Format::Events).message(update("7")).unwrap();
        assert_eq!(event, "id: 7\ndata: {\"resumeToken\":\"7\"}\n\n");
        let forged = encoder(Format::Events).message(update("7\ndata: x")).unwrap();
        assert_eq!(forged, "data: {\"resumeToken\":\"7\\ndata: x\"}\n\n");
        assert_eq!(encoder(Format::Events).message(update("")).unwrap(), "data: {}\n\n", "the last place still holds");
        assert!(encoder(Format::Lines).message(Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn the_end_says_how() {
        let status = Status::aborted("gone\nnow");
        let line = encoder(Format::Lines).error(&status);
        assert!(line.starts_with("{\"error\":{\"code\":409,") && line.ends_with("}}\n"), "{line}");
        let event = encoder(Format::Events).error(&status);
        assert!(event.starts_with("event: error\ndata: {\"error\":{") && event.matches('\n').count() == 3, "{event}");
        assert_eq!(encoder(Format::Events).end().as_deref(), Some("event: end\ndata: {}\n\n"));
        assert_eq!(encoder(Format::Lines).end(), None);
    }

    #[test]
    fn events_come_to_who_asks_for_them() {
        let of = |accept: &'static str| Format::of(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]));
        assert_eq!(of("text/event-stream"), Format::Events);
        assert_eq!(of("application/json, Text/Event-Stream;q=0.5"), Format::Events);
        assert_eq!(of("*/*"), Format::Lines);
        assert_eq!(of("text/event-stream;q=0, application/x-ndjson"), Format::Lines);
        assert_eq!(of("text/event-stream; q=0.000"), Format::Lines);
        assert_eq!(of("text/event-stream;q=0.5, application/x-ndjson;q=0.75"), Format::Lines);
        assert_eq!(of("application/x-ndjson; Q=0.75, text/event-stream;q=0.8"), Format::Events);
        assert_eq!(of("application/x-ndjson, text/event-stream;q=1.0"), Format::Events);
        assert_eq!(of("text/event-stream;q=much"), Format::Lines);
        assert_eq!(Format::of(&HeaderMap::new()), Format::Lines);
    }
}
