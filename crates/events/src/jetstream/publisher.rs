//! Publishing a lane, fenced by its tail.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::api::{Api, ApiError, Failure, bounded};
use super::locate::{self, Tail};
use super::names::{MAX_TOKEN_BYTES, Names, token};
use super::stream::{self as streams, Streams};
use crate::{BusError, Envelope, Lane, MAX_MESSAGE_BYTES, Publisher, cloudevents};

/// How many messages are published at once; the server takes 1,000.
const CHUNK: usize = 500;
/// From how many messages on a batch pays where there is one copy: its server makes a store for each batch, which takes
/// as long as twenty messages, and keeps the stream from everybody else meanwhile.
const BATCH_OF_ONE_COPY: usize = 20;
/// How many bytes are published at once.
const CHUNK_BYTES: usize = 2 * 1024 * 1024;
/// How many repairs wait for their acknowledgements.
const REPAIRS: usize = 64;
/// How many bytes the headers of a message may have for the server.
const MAX_HEADER_BYTES: usize = 65_535;
/// The server's error for a batch with a message that it has seen.
const DUPLICATE_IN_BATCH: u32 = 10_201;
/// What may be lost because of its age is not looked for.
const AGEING: Duration = Duration::from_secs(60 * 60);

/// Publishes a lane.
pub(super) struct JetStreamPublisher {
    api: Api,
    streams: Arc<Streams>,
    lane: Lane,
    names: Names,
    tail: Tail,
}

/// A message that fits.
#[derive(Clone)]
struct Outgoing {
    subject: String,
    headers: HeaderMap,
    data: Bytes,
    bytes: usize,
}

/// What has become of a chunk.
enum Sent {
    /// It is stored; the sequence of its last message.
    Stored(u64),
    /// The server takes it for one that it has stored. Which it may have, elsewhere or before it lost it.
    Duplicate,
}

/// What the server says of a publication.
#[derive(Debug, Default, Deserialize)]
struct Ack {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    batch: String,
    #[serde(default)]
    count: usize,
}

impl JetStreamPublisher {
    pub(super) async fn open(api: &Api, streams: &Arc<Streams>, lane: &Lane) -> Result<Self, Failure> {
        let tail = locate::tail(api, lane).await?;
        Ok(Self { api: api.clone(), streams: streams.clone(), lane: lane.clone(), names: Names::of(lane), tail })
    }

    /// An event as a message, without what fences it.
    fn outgoing(&self, event: &Envelope, subject: String, publication: &str) -> Result<Outgoing, BusError> {
        let too_large = |bytes, limit| Err(BusError::TooLarge { id: event.id.clone(), bytes, limit });
        let token = token(&event.event_type).len();
        if token > MAX_TOKEN_BYTES {
            return too_large(token, MAX_TOKEN_BYTES);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in cloudevents::encode(event) {
            headers.insert(name, header(&value)?);
        }
        headers.insert("Nats-Msg-Id", header(publication)?);
        headers.insert("Nats-Expected-Stream", header(&self.names.stream)?);
        // With room for what fences it.
        let head = wire_len(&headers) + 256;
        if head > MAX_HEADER_BYTES {
            return too_large(head, MAX_HEADER_BYTES);
        }
        let (bytes, limit) = (head + event.data.len(), MAX_MESSAGE_BYTES.min(self.api.client().max_payload()));
        if bytes > limit {
            return too_large(bytes, limit);
        }
        Ok(Outgoing { subject, headers, data: event.data.clone(), bytes })
    }

    /// The messages that are published at once, and what is wrong with the event behind them.
    fn chunk(&self, events: &[Envelope]) -> (Vec<Outgoing>, Option<BusError>) {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        let limit = if self.streams.replicas == 1 && events.len() < BATCH_OF_ONE_COPY { 1 } else { CHUNK };
        for event in events.iter().take(limit) {
            let subject = self.names.subject(&event.event_type);
            let outgoing = match self.outgoing(event, subject, &cloudevents::publication(event)) {
                Ok(outgoing) => outgoing,
                Err(error) => return (chunk, Some(error)),
            };
            bytes += outgoing.bytes;
            if bytes > CHUNK_BYTES && !chunk.is_empty() {
                break;
            }
            chunk.push(outgoing);
        }
        (chunk, None)
    }

    /// Publishes messages, all or none, if the lane's tail is still where we know it; returns the new tail's sequence.
    async fn send_fenced(&self, mut chunk: Vec<Outgoing>) -> Result<u64, BusError> {
        if let Sent::Stored(seq) = self.send(chunk.clone()).await? {
            return Ok(seq);
        }
        // By another name the fence decides, which knows better.
        tracing::warn!(lane = %self.lane, "the server has seen what is published, or its like; it is published by another name");
        let suffix = Uuid::new_v4().simple().to_string();
        for message in &mut chunk {
            let name = message.headers.get("Nats-Msg-Id").map(|name| format!("{}~{suffix}", name.as_str()));
            message.headers.insert("Nats-Msg-Id", header(&name.unwrap_or_default())?);
        }
        match self.send(chunk).await? {
            Sent::Stored(seq) => Ok(seq),
            Sent::Duplicate => Err(BusError::TailMoved),
        }
    }

    async fn send(&self, mut chunk: Vec<Outgoing>) -> Result<Sent, BusError> {
        let (count, batch) = (chunk.len(), Uuid::new_v4().simple().to_string());
        for (message, sequence) in chunk.iter_mut().zip(1_usize..) {
            // The same in all of a batch: the server compares each with what was there before the batch.
            message.headers.insert("Nats-Expected-Last-Subject-Sequence", HeaderValue::from(self.tail.seq));
            message.headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", header(&self.names.published)?);
            if count > 1 {
                message.headers.insert("Nats-Batch-Id", header(&batch)?);
                message.headers.insert("Nats-Batch-Sequence", HeaderValue::from(sequence));
                if sequence == count {
                    message.headers.insert("Nats-Batch-Commit", "1");
                }
            }
        }
        let Some(last) = chunk.pop() else { return Ok(Sent::Stored(self.tail.seq)) };
        self.api.online()?;
        bounded(async {
            for Outgoing { subject, headers, data, .. } in chunk {
                self.api.client().publish_with_headers(subject, headers, data).await?;
            }
            Ok::<_, async_nats::PublishError>(())
        })
        .await?
        .map_err(|error| BusError::Unavailable(error.to_string()))?;
        let Some(ack) = self.acknowledged(last).await? else { return Ok(Sent::Duplicate) };
        let whole = count == 1 || (ack.batch == batch && ack.count == count);
        match ack {
            Ack { duplicate: true, .. } => Ok(Sent::Duplicate),
            Ack { seq, .. } if whole && seq > self.tail.seq => Ok(Sent::Stored(seq)),
            ack => Err(BusError::Unavailable(format!("{} answers a publication with {ack:?}", self.names.stream))),
        }
    }

    /// Sends a message and reads what the server says of it; `None` when a batch has a message that it has seen.
    async fn acknowledged(&self, message: Outgoing) -> Result<Option<Ack>, BusError> {
        let Outgoing { subject, headers, data, bytes } = message;
        let answer = match self.api.request(subject, headers, data).await {
            Ok(answer) => answer,
            Err(failure) => {
                if matches!(failure, Failure::NoResponders) {
                    self.streams.forget(&self.lane.stream);
                }
                return Err(failure.into());
            }
        };
        let ack: Ack = serde_json::from_slice(&answer.payload)
            .map_err(|error| BusError::Unavailable(format!("an acknowledgement can't be read: {error}")))?;
        if let Some(error) = ack.error {
            return if error.err_code == DUPLICATE_IN_BATCH { Ok(None) } else { Err(self.refused(error, bytes)) };
        }
        if ack.stream != self.names.stream {
            return Err(BusError::Unavailable(format!(
                "{} was published to the stream {} instead of {}",
                self.lane, ack.stream, self.names.stream
            )));
        }
        Ok(Some(ack))
    }

    fn refused(&self, error: ApiError, bytes: usize) -> BusError {
        let text = error.description.to_ascii_lowercase();
        match error.err_code {
            // The tail is another, or is being changed; or what is published was published.
            10_071 | 10_164 | 10_158 => BusError::TailMoved,
            10_054 | 10_097 => BusError::TooLarge { id: String::new(), bytes, limit: MAX_MESSAGE_BYTES },
            // No room: of the account, of a server, of a tier, of the stream.
            10_002 | 10_023 | 10_028 | 10_047 => BusError::Full(error.to_string()),
            10_077 if text.contains("maximum bytes") || text.contains("maximum messages") => {
                BusError::Full(error.to_string())
            }
            _ => {
                if error.err_code == ApiError::STREAM_NOT_FOUND {
                    self.streams.forget(&self.lane.stream);
                }
                Failure::Refused(error).into()
            }
        }
    }

    async fn repair_one(&self, event: &Envelope) -> Result<(), BusError> {
        let publication = format!("repair/{}", cloudevents::publication(event));
        let outgoing = self.outgoing(event, self.names.repair_subject(&event.event_type), &publication)?;
        // A duplicate was repaired a moment ago.
        match self.acknowledged(outgoing).await.map_err(|error| named(error, event)) {
            // There is no tail: the same repair is under way from elsewhere.
            Err(BusError::TailMoved) => Err(BusError::Unavailable("the event is being repaired already".to_owned())),
            other => other.map(drop),
        }
    }
}

#[async_trait]
impl Publisher for JetStreamPublisher {
    fn tail(&self) -> Option<&Envelope> {
        self.tail.event.as_ref()
    }

    async fn publish(&mut self, mut events: &[Envelope]) -> Result<(), BusError> {
        while let Some(first) = events.first() {
            let (chunk, refused) = self.chunk(events);
            let Some((published, rest)) = events.split_at_checked(chunk.len()) else { return Ok(()) };
            if let Some(last) = published.last() {
                fail::fail_point!("jetstream::publish");
                let seq = self.send_fenced(chunk).await.map_err(|error| named(error, first))?;
                fail::fail_point!("jetstream::acknowledged");
                self.tail = Tail { event: Some(last.clone()), seq };
            }
            if let Some(error) = refused {
                return Err(error);
            }
            events = rest;
        }
        Ok(())
    }

    async fn repair(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        // Sent in order, and not waited for one by one.
        let mut sent = FuturesOrdered::new();
        for event in events {
            if sent.len() >= REPAIRS {
                sent.next().await.transpose()?;
            }
            sent.push_back(self.repair_one(event));
        }
        while sent.next().await.transpose()?.is_some() {}
        Ok(())
    }

    async fn losses(&mut self) -> Result<u64, BusError> {
        let state = streams::state(&self.api, &self.names.stream).await?;
        // Events before the first one: they have aged, unless they were too young for that.
        let young = self
            .streams
            .retention
            .checked_sub(AGEING)
            .zip(state.first_time())
            .is_some_and(|(age, first)| state.first_seq > 1 && OffsetDateTime::now_utc() - first < age);
        let cut = if young { state.first_seq } else { 0 };
        Ok(state.num_deleted.rotate_left(40) ^ cut)
    }
}

/// An event that is too large for the server has its id.
fn named(error: BusError, event: &Envelope) -> BusError {
    match error {
        BusError::TooLarge { id, bytes, limit } if id.is_empty() => {
            BusError::TooLarge { id: event.id.clone(), bytes, limit }
        }
        error => error,
    }
}

fn header(value: &str) -> Result<HeaderValue, BusError> {
    value.parse().map_err(|_| BusError::Unavailable(format!("{value:?} can't be sent in a header")))
}

/// How long headers are on the wire.
fn wire_len(headers: &HeaderMap) -> usize {
    let field = |name: &HeaderName, value: &HeaderValue| AsRef::<str>::as_ref(name).len() + value.as_str().len() + 4;
    let fields = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| field(name, value)));
    fields.sum::<usize>() + 14
}
