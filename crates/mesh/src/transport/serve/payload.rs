//! The bytes of one DATA frame, and what is held until they are written.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::backlog::Load;

/// Bytes of an answer. `h2` drops them once they are written, or with their stream, and what they hold with them.
pub(super) struct Payload<G> {
    bytes: Bytes,
    _load: Option<Load>,
    _guard: Option<Arc<G>>,
}

impl<G> Payload<G> {
    pub(super) fn new(bytes: Bytes, load: Load, guard: Option<Arc<G>>) -> Self {
        Self { bytes, _load: Some(load), _guard: guard }
    }

    /// No bytes: the end of a stream.
    pub(super) fn end(guard: Option<Arc<G>>) -> Self {
        Self { bytes: Bytes::new(), _load: None, _guard: guard }
    }
}

impl<G> Buf for Payload<G> {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
