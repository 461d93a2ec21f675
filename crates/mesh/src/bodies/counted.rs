//! How many bytes of messages go by.

use std::sync::{Mutex, PoisonError};

use super::framing::Framing;

/// The bytes of a sequence of messages, and how many of them are prefixes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountedBytes {
    framing: Framing,
    all: u64,
}

impl CountedBytes {
    /// Reads on.
    pub fn read(&mut self, data: &[u8]) {
        // No message is longer than that.
        let _ = self.framing.read(data, usize::MAX);
        self.all += data.len() as u64;
    }

    /// All bytes, with the prefixes.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// The bytes of the messages alone, as they are sent: compressed, if they are.
    pub fn of_messages(&self) -> u64 {
        self.all.saturating_sub(self.framing.prefixes())
    }
}

/// [`CountedBytes`] that one counts and another asks for.
#[derive(Debug, Default)]
pub struct SharedBytes(Mutex<CountedBytes>);

impl SharedBytes {
    /// Reads on.
    pub fn read(&self, data: &[u8]) {
        // No count is left half changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(data);
    }

    /// What was counted so far.
    pub fn get(&self) -> CountedBytes {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_no_bytes_of_messages_however_the_bytes_are_cut() {
        let stream = [&[0, 0, 0, 0, 2, 7, 7][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 3, 7, 7, 7], &[0, 0, 0]].concat();
        for size in 1..=stream.len() {
            let shared = SharedBytes::default();
            stream.chunks(size).for_each(|piece| shared.read(piece));
            let bytes = shared.get();
            assert_eq!((bytes.all(), bytes.of_messages()), (23, 5), "{size}");
        }
    }
}
