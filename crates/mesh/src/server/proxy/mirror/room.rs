//! The room that the copies of a proxy's calls have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use tonic::Code;

use super::counts::{MirrorCounts, MirrorLimits};
use crate::server::proxy::failures::FailureLog;

/// What a piece of a request takes beside its bytes, so that many small ones count too.
const PIECE: usize = 128;

/// The room of all copies of a proxy, and their counts.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) limits: MirrorLimits,
    in_flight: AtomicUsize,
    bytes: AtomicUsize,
    mirrored: AtomicU64,
    skipped: AtomicU64,
    cut: AtomicU64,
    failed: AtomicU64,
    log: FailureLog,
}

impl Room {
    pub(super) fn new(limits: MirrorLimits) -> Self {
        Self {
            limits,
            in_flight: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            mirrored: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            log: FailureLog::default(),
        }
    }

    pub(super) fn counts(&self) -> MirrorCounts {
        MirrorCounts {
            mirrored: self.mirrored.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// The place of one copy, unless all are taken.
    pub(super) fn place(self: &Arc<Self>) -> Option<Arc<Place>> {
        if !take(&self.in_flight, 1, self.limits.calls) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.mirrored.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(Place { room: Arc::clone(self), bytes: AtomicUsize::new(0) }))
    }
}

/// The place of one copy among those in flight: until its task has ended and all of its bytes are let go.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    bytes: AtomicUsize,
}

impl Place {
    pub(super) fn limits(&self) -> &MirrorLimits {
        &self.room.limits
    }

    /// The copy of `data`, which counts until the last of it is dropped, wherever that is; `None` where it has no room.
    pub(super) fn copy(self: &Arc<Self>, data: &Bytes) -> Option<Bytes> {
        let size = data.len().saturating_add(PIECE);
        let MirrorLimits { bytes, bytes_per_call, .. } = self.room.limits;
        if !take(&self.bytes, size, bytes_per_call) {
            return None;
        }
        if !take(&self.room.bytes, size, bytes) {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return None;
        }
        // It may be a small part of what was read at once, all of which a mirror would hold as long as it doesn't take it.
        let data = Box::from(&data[..]);
        Some(Bytes::from_owner(Piece { data, size, place: Arc::clone(self) }))
    }

    /// A limit ended it.
    pub(super) fn cut(&self) {
        self.room.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Its mirror failed it, with `code` and for `cause`.
    pub(super) fn failed(&self, mirror: &str, code: Code, cause: &str) {
        self.room.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(unlogged) = self.room.log.count() {
            tracing::warn!(mirror, ?code, cause, unlogged, "a copy of a call has failed at its mirror");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece of a request that is held for a mirror.
struct Piece {
    data: Box<[u8]>,
    size: usize,
    place: Arc<Place>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.place.bytes.fetch_sub(self.size, Ordering::Relaxed);
        self.place.room.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// Adds `more` to what is `taken`, unless it would be more than `most`.
fn take(taken: &AtomicUsize, more: usize, most: usize) -> bool {
    let sum = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= most);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(calls: usize, bytes: usize, bytes_per_call: usize) -> Arc<Room> {
        Arc::new(Room::new(MirrorLimits { calls, bytes, bytes_per_call, ..MirrorLimits::default() }))
    }

    #[test]
    fn a_place_is_free_again_when_its_call_and_its_bytes_are_gone() {
        let room = room(1, 1 << 20, 1 << 20);
        let place = room.place().unwrap();
        assert!(room.place().is_none());
        let copy = place.copy(&Bytes::from_static(b"data")).unwrap();
        drop(place);
        assert!(room.place().is_none(), "a connection holds its bytes");
        assert_eq!(copy, b"data"[..]);
        drop(copy);
        assert_eq!((room.counts().in_flight, room.counts().bytes), (0, 0));
        assert!(room.place().is_some());
        assert_eq!((room.counts().mirrored, room.counts().skipped), (2, 2));
    }

    #[test]
    fn bytes_are_bounded_for_one_call_and_for_all() {
        let data = Bytes::from(vec![0; 1000]);
        let size = data.len() + PIECE;
        let room = room(10, 3 * size, 2 * size);
        let (first, second) = (room.place().unwrap(), room.place().unwrap());
        let held = [first.copy(&data).unwrap(), first.copy(&data).unwrap(), second.copy(&data).unwrap()];
        assert!(first.copy(&data).is_none() && second.copy(&data).is_none());
        assert_eq!(room.counts().bytes, 3 * size);
        // What is a part of a copy counts as long as that.
        let part = held[2].slice(..1);
        drop(held);
        assert_eq!(room.counts().bytes, size);
        assert!(second.copy(&data).is_some());
        drop(part);
        assert_eq!(room.counts().bytes, 0);
    }

    #[test]
    fn a_copy_holds_nothing_of_what_its_piece_was_read_with() {
        let room = room(1, 1 << 20, 1 << 20);
        let read = Bytes::from(vec![7; 16 << 10]);
        let copy = room.place().unwrap().copy(&read.slice(..1)).unwrap();
        assert!(read.is_unique() && copy == b"\x07"[..]);
    }

    #[test]
    fn small_pieces_count_for_more_than_their_bytes() {
        let room = room(1, 1 << 20, 100 * PIECE);
        let place = room.place().unwrap();
        let pieces: Vec<_> = std::iter::from_fn(|| place.copy(&Bytes::from_static(b"x"))).collect();
        assert!(pieces.len() < 100, "{}", pieces.len());
    }
}
