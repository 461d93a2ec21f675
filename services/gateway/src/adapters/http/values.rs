//! How many values the JSON of a caller may have, and a message that is to become JSON.

use std::cell::Cell;
use std::fmt;

use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use prost_types::Any;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How many levels a message may have, those within `google.protobuf.Any` among them.
const LEVELS: usize = 100;

/// The most values of a JSON text, or of a message, those within others among them. In memory each has a multiple of the two
/// bytes that it may have as text, and reading it costs accordingly.
pub(super) const MAX_VALUES: usize = 1 << 16;

/// Makes sure that a JSON text has no more than [`MAX_VALUES`] values. No more than those are looked at, and none is kept.
///
/// # Errors
/// When it has more, or is no JSON as far as it was looked at.
pub(super) fn count(text: &[u8]) -> Result<(), serde_json::Error> {
    // Its own limit is that of levels.
    Counted(&Cell::new(MAX_VALUES)).deserialize(&mut serde_json::Deserializer::from_slice(text))
}

/// Why the values of a message can't be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uncounted {
    /// There are more than [`MAX_VALUES`].
    TooMany,
    /// It is no message, or one of too many levels.
    Malformed,
}

/// Makes sure that a message has no more than [`MAX_VALUES`] values, each field of it, element of a list and entry of a map
/// being one, also those that `message` doesn't know. None is kept.
///
/// # Errors
/// When it has more, or is no message as far as it was looked at.
pub(super) fn count_message(message: &MessageDescriptor, bytes: &[u8]) -> Result<(), Uncounted> {
    MessageCount { left: MAX_VALUES }.message(message, bytes, LEVELS)
}

/// What is left of the values of a message.
struct MessageCount {
    left: usize,
}

impl MessageCount {
    fn take(&mut self, values: usize) -> Result<(), Uncounted> {
        self.left = self.left.checked_sub(values).ok_or(Uncounted::TooMany)?;
        Ok(())
    }

    fn message(&mut self, message: &MessageDescriptor, bytes: &[u8], levels: usize) -> Result<(), Uncounted> {
        let levels = levels.checked_sub(1).ok_or(Uncounted::Malformed)?;
        self.fields(Some(message), &mut { bytes }, levels, None)?;
        if message.full_name() != "google.protobuf.Any" {
            return Ok(());
        }
        // As JSON it is the message within.
        let any = Any::decode(bytes).map_err(|_| Uncounted::Malformed)?;
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        let inner = message.parent_pool().get_message_by_name(name);
        inner.map_or(Ok(()), |inner| self.message(&inner, &any.value, levels))
    }

    /// The fields of a message, or of the group of this number. What a group within has is of no message that is known.
    fn fields(
        &mut self,
        message: Option<&MessageDescriptor>,
        bytes: &mut &[u8],
        levels: usize,
        group: Option<u32>,
    ) -> Result<(), Uncounted> {
        while !bytes.is_empty() {
            let (number, wire) = decode_key(bytes).map_err(|_| Uncounted::Malformed)?;
            match wire {
                WireType::Varint => {
                    varint(bytes)?;
                    self.take(1)?;
                }
                WireType::SixtyFourBit => {
                    split(bytes, 8)?;
                    self.take(1)?;
                }
                WireType::ThirtyTwoBit => {
                    split(bytes, 4)?;
                    self.take(1)?;
                }
                WireType::LengthDelimited => {
                    let length = usize::try_from(varint(bytes)?).map_err(|_| Uncounted::Malformed)?;
                    let inner = split(bytes, length)?;
                    self.take(1)?;
                    if let Some(field) = message.and_then(|message| message.get_field(number)) {
                        self.within(&field, inner, levels)?;
                    }
                }
                WireType::StartGroup => {
                    let levels = levels.checked_sub(1).ok_or(Uncounted::Malformed)?;
                    self.take(1)?;
                    let kind = message.and_then(|message| message.get_field(number)).map(|field| field.kind());
                    self.fields(kind.as_ref().and_then(Kind::as_message), bytes, levels, Some(number))?;
                }
                WireType::EndGroup if group == Some(number) => return Ok(()),
                WireType::EndGroup => return Err(Uncounted::Malformed),
            }
        }
        if group.is_none() { Ok(()) } else { Err(Uncounted::Malformed) }
    }

    /// What a field with a length has within.
    fn within(&mut self, field: &FieldDescriptor, bytes: &[u8], levels: usize) -> Result<(), Uncounted> {
        match field.kind() {
            Kind::Message(inner) => self.message(&inner, bytes, levels),
            Kind::String | Kind::Bytes => Ok(()),
            // Elements that are packed.
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => self.take(bytes.len() / 8),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => self.take(bytes.len() / 4),
            _ => self.take(bytes.iter().filter(|byte| **byte < 0x80).count()),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Uncounted> {
    decode_varint(bytes).map_err(|_| Uncounted::Malformed)
}

fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Uncounted> {
    let (first, rest) = bytes.split_at_checked(length).ok_or(Uncounted::Malformed)?;
    *bytes = rest;
    Ok(first)
}

/// Takes one value off what is left.
///
/// # Errors
/// When nothing is left.
pub(super) fn take_one<E: Error>(left: &Cell<usize>) -> Result<(), E> {
    let less = left.get().checked_sub(1);
    left.set(less.ok_or_else(|| E::custom(format_args!("more than {MAX_VALUES} values")))?);
    Ok(())
}

/// Reads one value, counts it, and forgets it.
#[derive(Clone, Copy)]
struct Counted<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        take_one(self.0)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_wherever_they_are() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        let fields = |values: usize| format!(r#"{{"a": {{{}"b": ""}}}}"#, r#""b": "","#.repeat(values - 3));
        for (fits, more) in [(list(MAX_VALUES), list(MAX_VALUES + 1)), (fields(MAX_VALUES), fields(MAX_VALUES + 1))] {
            count(fits.as_bytes()).unwrap();
            assert!(count(more.as_bytes()).unwrap_err().to_string().contains("more than 65536 values"));
        }
        count(br#"{"a": [1, -2, 1.5, true, null, "\u00e9"], "b": {"c": {}}}"#).unwrap();
    }

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = prost_reflect::DescriptorPool::decode(meshwork_api::FILE_DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name(name).unwrap()
    }

    #[test]
    fn values_of_messages_are_counted_wherever_they_are() {
        let list = descriptor("meshwork.orders.v1.ListOrdersResponse");
        // An empty message each: of `orders`, and of a field that nobody knows.
        for empty in [[0x0a_u8, 0], [0x7a, 0]] {
            assert_eq!(count_message(&list, &empty.repeat(MAX_VALUES)), Ok(()));
            assert_eq!(count_message(&list, &empty.repeat(MAX_VALUES + 1)), Err(Uncounted::TooMany));
        }
        // A group that nobody knows, with a number each.
        let group = |values: usize| [vec![0x7b_u8], [0x08, 0].repeat(values), vec![0x7c]].concat();
        assert_eq!(count_message(&list, &group(MAX_VALUES - 1)), Ok(()));
        assert_eq!(count_message(&list, &group(MAX_VALUES)), Err(Uncounted::TooMany));
        for torn in [vec![0x0a_u8, 1], vec![0x7b], vec![0x7c], vec![0x80], vec![0x09, 0]] {
            assert_eq!(count_message(&list, &torn), Err(Uncounted::Malformed), "{torn:?}");
        }
    }

    #[test]
    fn messages_within_any_are_counted_to_their_depth() {
        let any = |name: &str, value: Vec<u8>| Any { type_url: format!("type.googleapis.com/{name}"), value };
        let status = descriptor("google.rpc.Status");
        let with = |any: Any| [vec![0x1a], any.encode_length_delimited_to_vec()].concat();
        let many = with(any("google.rpc.Status", [0x1a_u8, 0].repeat(MAX_VALUES)));
        assert_eq!(count_message(&status, &many), Err(Uncounted::TooMany));
        let nested = |levels: usize| (0..levels).fold(Vec::new(), |value, _| with(any("google.rpc.Status", value)));
        assert_eq!(count_message(&status, &nested(LEVELS / 2 - 1)), Ok(()));
        assert_eq!(count_message(&status, &nested(LEVELS)), Err(Uncounted::Malformed));
    }

    #[test]
    fn depth_is_bounded() {
        for deep in ["[".repeat(1 << 20), r#"{"a":"#.repeat(1 << 16)] {
            assert!(count(deep.as_bytes()).unwrap_err().to_string().contains("recursion limit exceeded"));
        }
    }
}
