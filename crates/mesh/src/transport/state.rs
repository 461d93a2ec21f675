//! What all handles and streams of a connection share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use http::uri::Authority;
use tokio::sync::Notify;

use super::TransportError;
use super::abandonment::Abandonment;
use super::header_list::fields_size;
use super::options::Http2Options;
use super::queue::WaitQueue;

/// What all handles and streams of a connection share. While there is one, the connection stays.
pub(super) struct ConnectionState {
    sender: Mutex<SendRequest<Bytes>>,
    /// Streams that are open or reserved.
    pub(super) active: AtomicUsize,
    /// The peer's limit of streams.
    pub(super) limit: AtomicUsize,
    life: AtomicU8,
    /// Notified when a place for a stream becomes free, and at the end: for streams beside the calls.
    pub(super) room: Notify,
    /// Whether such a stream was ever waited for: to notify nobody takes a lock.
    pub(super) room_awaited: AtomicBool,
    /// The calls that wait for a place.
    pub(super) queue: Arc<WaitQueue>,
    /// The authority of the server, where it has one of its own.
    pub(super) authority: Option<Authority>,
    /// The largest list of headers that a call takes.
    max_header_list_size: usize,
    /// Notified at GOAWAY and at the end, and never else.
    pub(super) going: Notify,
    abandonment: Arc<Abandonment>,
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        self.abandonment.abandon();
    }
}

const LIVE: u8 = 0;
const DRAINING: u8 = 1;
const CLOSED: u8 = 2;

impl ConnectionState {
    pub(super) fn new(
        sender: SendRequest<Bytes>,
        options: &Http2Options,
        queue: Arc<WaitQueue>,
        authority: Option<Authority>,
        abandonment: Arc<Abandonment>,
    ) -> Self {
        Self {
            sender: Mutex::new(sender),
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            life: AtomicU8::new(LIVE),
            room: Notify::new(),
            room_awaited: AtomicBool::new(false),
            queue,
            authority,
            max_header_list_size: options.max_header_list_size as usize,
            going: Notify::new(),
            abandonment,
        }
    }

    /// Held only for one call of `h2`, which locks for itself as well; never over an await.
    pub(super) fn sender(&self) -> MutexGuard<'_, SendRequest<Bytes>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        let before = self.limit.swap(limit, Ordering::SeqCst);
        if limit > before {
            self.room.notify_waiters();
            self.queue.changed();
        }
    }

    pub(super) fn drain(&self) {
        self.life.fetch_max(DRAINING, Ordering::Release);
        self.room.notify_waiters();
        self.going.notify_waiters();
    }

    pub(super) fn close(&self) {
        self.life.store(CLOSED, Ordering::Release);
        self.room.notify_waiters();
        self.going.notify_waiters();
    }

    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn is_live(&self) -> bool {
        self.life.load(Ordering::Acquire) == LIVE
    }

    /// Why a call can't have these headers or trailers `of` its request or response, if it can't; `path` is the length of
    /// the request's, which is a header too.
    pub(super) fn too_large(&self, of: &str, headers: &HeaderMap, path: usize) -> Option<TransportError> {
        let size = fields_size(headers) + path;
        (size > self.max_header_list_size)
            .then(|| TransportError::headers_too_large(of, size, self.max_header_list_size))
    }
}
