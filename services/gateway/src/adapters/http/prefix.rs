//! The five bytes in front of a message, which gRPC, gRPC-Web and Connect have in common: flags and a length.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The bytes of a prefix.
const PREFIX: usize = 5;

/// A message that is longer than it may be; its length, as its prefix says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub u32);

/// `data` behind its prefix.
pub(super) fn prefixed(flags: u8, data: &[u8]) -> Bytes {
    let mut all = BytesMut::with_capacity(PREFIX + data.len());
    put(&mut all, flags, data.len());
    all.put_slice(data);
    all.freeze()
}

/// The prefix of a message of so many bytes.
pub(super) fn prefix(flags: u8, size: usize) -> Bytes {
    let mut prefix = BytesMut::with_capacity(PREFIX);
    put(&mut prefix, flags, size);
    prefix.freeze()
}

fn put(buffer: &mut BytesMut, flags: u8, size: usize) {
    buffer.put_u8(flags);
    // What comes here has been held to a few MiB.
    buffer.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
}

/// Takes the first message off `buffer`, with its flags; `None` while it isn't whole.
///
/// # Errors
/// When its prefix says more than `max` bytes, however few of them are there.
pub(super) fn take(buffer: &mut BytesMut, max: usize) -> Result<Option<(u8, Bytes)>, TooLong> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [flags, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length);
    let size = usize::try_from(length).map_err(|_| TooLong(length))?;
    if size > max {
        return Err(TooLong(length));
    }
    if rest.len() < size {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some((flags, buffer.split_to(size).freeze())))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_found_wherever_their_bytes_are_cut(
            messages in vec((any::<u8>(), vec(any::<u8>(), 0..40)), 0..8),
            size in 1_usize..50,
        ) {
            let all: Vec<u8> = messages.iter().flat_map(|(flags, data)| prefixed(*flags, data)).collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in all.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some((flags, data)) = take(&mut buffer, 40).unwrap() {
                    found.push((flags, data.to_vec()));
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_prefix() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 0, 9][..]);
        assert_eq!(take(&mut buffer, 8), Err(TooLong(9)));
        assert_eq!(take(&mut buffer, 9), Ok(None));
        let mut buffer = BytesMut::from(&[1, 0xff, 0xff, 0xff][..]);
        assert_eq!(take(&mut buffer, 8), Ok(None));
    }
}
