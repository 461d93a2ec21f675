//! A string field of a protobuf message, found and appended by the bytes of the message alone.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encode_length_delimiter;
use smallvec::SmallVec;

#[cfg(test)]
mod tests;

/// What precedes each message of gRPC: whether it is compressed, and its length in four bytes.
const PREFIX: usize = 5;
/// The most fields that are looked at, those within groups among them.
const MOST_FIELDS: usize = 16 << 10;
/// The most groups within each other, as decoders take them.
const MOST_GROUPS: usize = 100;
/// The highest number that a field can have.
const MOST_NUMBER: u64 = (1 << 29) - 1;

/// The wire types of protobuf.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const GROUP_BEGIN: u64 = 3;
const GROUP_END: u64 = 4;
const FIXED_32: u64 = 5;

/// The message in `frame`; none unless it is the only one there, is all there, and is not compressed.
pub(super) fn single_message(frame: &[u8]) -> Option<&[u8]> {
    let (&[flag, length @ ..], message) = frame.split_first_chunk::<PREFIX>()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    (flag == 0 && message.len() == length).then_some(message)
}

/// Whether the string field `number` of `message` has a text; the last such field counts, as for decoders. None where
/// that can't be said: the message is malformed, the field is no string, or there are more fields than are looked at.
pub(super) fn has_text(message: &[u8], number: u32) -> Option<bool> {
    let wanted = u64::from(number);
    let (mut rest, mut found) = (message, false);
    let mut groups: SmallVec<[u64; 4]> = SmallVec::new();
    for _ in 0..=MOST_FIELDS {
        if rest.is_empty() {
            return groups.is_empty().then_some(found);
        }
        let key = varint(&mut rest)?;
        let (number, wire_type) = (key >> 3, key & 7);
        let is_wanted = groups.is_empty() && number == wanted;
        if number == 0 || number > MOST_NUMBER || (is_wanted && wire_type != LENGTH_DELIMITED) {
            return None;
        }
        match wire_type {
            VARINT => {
                varint(&mut rest)?;
            }
            FIXED_64 => rest = rest.get(8..)?,
            LENGTH_DELIMITED => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
                if is_wanted {
                    found = length > 0;
                }
            }
            GROUP_BEGIN if groups.len() < MOST_GROUPS => groups.push(number),
            GROUP_END => {
                if groups.pop() != Some(number) {
                    return None;
                }
            }
            FIXED_32 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    None
}

/// A number of at most ten bytes, taken from the front of `bytes`.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        // Of the tenth byte one bit is left.
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The frame of `message` with `text` appended to it as the field `number`; none if the message would have more than
/// `limit` bytes, or more than a frame can have.
pub(super) fn framed_with(message: &[u8], number: u32, text: &str, limit: usize) -> Option<Bytes> {
    let key = (u64::from(number) << 3) | LENGTH_DELIMITED;
    let mut field = BytesMut::with_capacity(text.len() + 10);
    encode_length_delimiter(usize::try_from(key).ok()?, &mut field).ok()?;
    encode_length_delimiter(text.len(), &mut field).ok()?;
    field.put_slice(text.as_bytes());
    let length = message.len().checked_add(field.len()).filter(|length| *length <= limit)?;
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).ok()?);
    frame.put_slice(message);
    frame.put_slice(&field);
    Some(frame.freeze())
}
