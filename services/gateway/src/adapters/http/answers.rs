//! Messages of answers on their way to HTTP: read within bounds, written as JSON apart from what serves where they are large,
//! and handed to the connection in pieces.
//!
//! A connection counts what its client hasn't read, and ends an answer that is too much for that. Written as JSON a message may
//! be several times as large as it came: the connection gets a piece of it when the one before is taken, and what waits
//! meanwhile counts here, before the head of the answer has gone.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use http_body::{Frame, SizeHint};
use meshwork_chassis::errors::internal;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::Serialize;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;

use super::values::{self, Uncounted};
use crate::adapters::errors::{DOMAIN, answer_too_large, answer_too_many_values, answer_unreadable, too_many_answers};

/// The largest message that is written where it was read, in bytes.
const SMALL: usize = 64 << 10;
/// How many others are written at once, and how long one waits for that.
const WRITING: usize = 2;
const WAIT: Duration = Duration::from_secs(10);

/// The most bytes of the JSON of a message: four times those of the message.
const MAX_JSON: usize = 16 << 20;

/// The most bytes that the connection gets at once.
const PIECE: usize = 64 << 10;
/// What the connection may have of an answer at a time: as much counts there, and not here.
const COUNTED: usize = 2 * PIECE;

/// The most bytes that wait in answers, of one network and of all.
const MOST_OF_NETWORK: usize = 64 << 20;
const MOST: usize = 256 << 20;

static TURNS: Semaphore = Semaphore::const_new(WRITING);
static SHARED: LazyLock<Room> = LazyLock::new(Room::default);

/// The message of an answer.
///
/// # Errors
/// OUT_OF_RANGE when it has too many values, INTERNAL when it isn't one of `descriptor`.
pub(super) fn read(descriptor: &MessageDescriptor, message: Bytes) -> Result<DynamicMessage, Status> {
    let unreadable = || answer_unreadable("it is not what the contract of its method says");
    values::count_message(descriptor, &message).map_err(|uncounted| match uncounted {
        Uncounted::TooMany => answer_too_many_values(values::MAX_VALUES),
        Uncounted::Malformed => unreadable(),
    })?;
    DynamicMessage::decode(descriptor.clone(), message).map_err(|_| unreadable())
}

/// The JSON of a message, or of a part of one.
///
/// # Errors
/// OUT_OF_RANGE when it has more than [`MAX_JSON`] bytes, INTERNAL when it can't be shown as JSON.
pub(super) fn write(value: &impl Serialize) -> Result<Bytes, Status> {
    let mut text = Text { bytes: Vec::with_capacity(256), is_full: false };
    let written = value.serialize(&mut serde_json::Serializer::new(&mut text));
    match written {
        Ok(()) => Ok(text.bytes.into()),
        Err(_) if text.is_full => Err(answer_too_large(MAX_JSON)),
        Err(_) => Err(answer_unreadable("it can't be shown as JSON")),
    }
}

/// What `make` makes of a message. Large ones are made on threads that serve nobody, few at once: whoever asks for many of them
/// waits, and others don't.
///
/// # Errors
/// Those of `make`; RESOURCE_EXHAUSTED when its turn doesn't come in time.
pub(super) async fn made<T, F>(message: Bytes, make: F) -> Result<T, Status>
where
    T: Send + 'static,
    F: FnOnce(Bytes) -> Result<T, Status> + Send + 'static,
{
    if message.len() <= SMALL {
        return make(message);
    }
    let turn = tokio::time::timeout(WAIT, TURNS.acquire()).await;
    let Ok(Ok(turn)) = turn else { return Err(too_many_answers()) };
    // Whoever asked may have gone: its turn lasts as long as its work.
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        make(message)
    });
    made.await.unwrap_or_else(|error| Err(internal(DOMAIN, &error)))
}

/// Text of at most [`MAX_JSON`] bytes.
struct Text {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Text {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > MAX_JSON.saturating_sub(self.bytes.len()) {
            self.is_full = true;
            return Err(io::Error::other("the text is full"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Room for what waits in answers. Clones are the same room, for the same network. Its default is a room of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    held: Arc<Mutex<Held>>,
    network: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    networks: HashMap<Option<IpAddr>, usize>,
}

impl Room {
    /// The part of this process's room that the answers to a network have.
    pub(super) fn of_network(network: Option<IpAddr>) -> Self {
        SHARED.of(network)
    }

    /// Where the answer to the request waits that has these extensions.
    pub(super) fn among(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    fn of(&self, network: Option<IpAddr>) -> Self {
        Self { held: Arc::clone(&self.held), network }
    }

    /// Counts an answer of so many bytes.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when there is no room for it.
    fn take(&self, bytes: usize) -> Result<Taken, Status> {
        if bytes <= COUNTED {
            return Ok(Taken { room: self.clone(), bytes: 0 });
        }
        let mut held = self.held();
        let own = held.networks.get(&self.network).copied().unwrap_or(0);
        if bytes > MOST_OF_NETWORK.saturating_sub(own) || bytes > MOST.saturating_sub(held.total) {
            return Err(too_many_answers());
        }
        held.total += bytes;
        held.networks.insert(self.network, own + bytes);
        drop(held);
        Ok(Taken { room: self.clone(), bytes })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No count is left half changed by a panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one answer has of the room.
#[derive(Debug)]
struct Taken {
    room: Room,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.room.held();
        held.total = held.total.saturating_sub(self.bytes);
        if let Some(own) = held.networks.get_mut(&self.room.network) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                held.networks.remove(&self.room.network);
            }
        }
    }
}

/// Bytes of an answer, piece by piece.
#[derive(Debug)]
pub(super) struct Pieces {
    rest: Bytes,
    _taken: Taken,
}

impl Pieces {
    /// Those of `bytes`, which wait in `room`.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when there is no room for them.
    pub(super) fn of(bytes: Bytes, room: &Room) -> Result<Self, Status> {
        Ok(Self { _taken: room.take(bytes.len())?, rest: bytes })
    }

    /// The body that consists of them, of a known length.
    pub(super) fn into_body(self) -> Body {
        Body::new(self)
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn an_answer_comes_in_pieces_and_whole() {
        let bytes: Bytes = (0..5_000_000_u32).map(|number| number.to_le_bytes()[0]).collect::<Vec<_>>().into();
        let mut body = Pieces::of(bytes.clone(), &Room::default()).unwrap().into_body();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(5_000_000));
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, bytes);
    }

    #[test]
    fn what_waits_is_bounded_by_network_and_in_all_and_leaves_nothing_behind() {
        let at = |number: u32| Some(IpAddr::from(std::net::Ipv4Addr::from_bits(number)));
        let (room, bytes) = (Room::default(), Bytes::from(vec![0; MAX_JSON]));
        let take = |number: u32| Pieces::of(bytes.clone(), &room.of(at(number)));
        let own: Vec<_> = (0..MOST_OF_NETWORK / MAX_JSON).map(|_| take(1).unwrap()).collect();
        assert_eq!(take(1).unwrap_err().code(), Code::ResourceExhausted);
        assert!(Pieces::of(bytes.slice(..COUNTED), &room.of(at(1))).is_ok(), "small ones count elsewhere");
        let networks = 2..=u32::try_from(MOST / MOST_OF_NETWORK).unwrap();
        let others: Vec<_> = networks
            .flat_map(|number| (0..MOST_OF_NETWORK / MAX_JSON).map(move |_| number))
            .map(|number| take(number).unwrap())
            .collect();
        assert_eq!(take(99).unwrap_err().code(), Code::ResourceExhausted);
        drop((own, others));
        let held = room.held();
        assert_eq!((held.total, held.networks.len()), (0, 0));
    }

    #[test]
    fn json_is_written_up_to_its_limit() {
        assert_eq!(write(&"a").unwrap(), b"\"a\"".as_slice());
        // Each of them is six characters of JSON.
        let status = write(&"\u{1}".repeat(MAX_JSON / 6 + 1)).unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(write(&"\u{1}".repeat(MAX_JSON / 6)).is_ok());
    }

    #[tokio::test]
    async fn large_messages_are_written_elsewhere_and_few_at_once() {
        let here = std::thread::current().id();
        let thread = |_: Bytes| Ok(std::thread::current().id());
        assert_eq!(made(Bytes::from(vec![0; SMALL]), thread).await.unwrap(), here);
        assert_ne!(made(Bytes::from(vec![0; SMALL + 1]), thread).await.unwrap(), here);
    }
}
