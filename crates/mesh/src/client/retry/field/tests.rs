//! Messages whose field is found, and those in which it can't be.

use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// A message with a request id among other fields.
#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(string, tag = "3")]
    request_id: String,
    #[prost(fixed64, tag = "4")]
    long: u64,
    #[prost(fixed32, tag = "5")]
    short: u32,
    #[prost(message, repeated, tag = "6")]
    parts: Vec<Part>,
}

/// Its field of the same number is another one.
#[derive(Clone, PartialEq, prost::Message)]
struct Part {
    #[prost(string, tag = "3")]
    text: String,
}

const ID: u32 = 3;

fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

prop_compose! {
    fn put()(
        name in ".{0,20}", count in any::<u64>(), long in any::<u64>(), short in any::<u32>(),
        parts in prop::collection::vec(".{0,5}", 0..4), request_id in "[a-z]{0,3}",
    ) -> Put {
        Put { name, count, request_id, long, short, parts: parts.into_iter().map(|text| Part { text }).collect() }
    }
}

proptest! {
    #[test]
    fn e4_any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), number in 1_u32..20) {
        let _ = has_text(&bytes, number);
        let _ = single_message(&bytes);
    }

    #[test]
    fn e4_what_was_scanned_is_read_by_decoders(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        // A message of which nothing but the field is known: all else is skipped.
        #[derive(Clone, PartialEq, prost::Message)]
        struct OnlyId {
            #[prost(bytes, tag = "3")]
            id: Vec<u8>,
        }
        if let Ok(message) = OnlyId::decode(bytes.as_slice())
            && let Some(found) = has_text(&bytes, ID)
        {
            prop_assert_eq!(found, !message.id.is_empty());
        }
    }

    #[test]
    fn e4_a_field_is_found_and_an_appended_one_is_what_is_decoded(put in put()) {
        let message = put.encode_to_vec();
        prop_assert_eq!(has_text(&message, ID), Some(!put.request_id.is_empty()));
        let framed = framed_with(&message, ID, "an id", usize::MAX).unwrap();
        let message = single_message(&framed).unwrap();
        prop_assert_eq!(has_text(message, ID), Some(true));
        let expected = Put { request_id: "an id".to_owned(), ..put };
        prop_assert_eq!(Put::decode(message).unwrap(), expected);
    }
}

#[test]
fn e4_of_several_fields_the_last_counts() {
    assert_eq!(has_text(&[0x1a, 1, b'a', 0x1a, 0], ID), Some(false));
    assert_eq!(has_text(&[0x1a, 0, 0x1a, 1, b'a'], ID), Some(true));
    assert_eq!(has_text(&[], ID), Some(false));
}

#[test]
fn e4_groups_are_passed_over_with_what_is_in_them() {
    // Field 7 as a group that has a field 3, and a group within.
    assert_eq!(has_text(&[0x3b, 0x1a, 1, b'a', 0x43, 0x44, 0x3c], ID), Some(false));
    assert_eq!(has_text(&[0x3b, 0x3c, 0x1a, 1, b'a'], ID), Some(true));
    for unbalanced in [&[0x3b][..], &[0x3c], &[0x3b, 0x44], &[0x3b; MOST_GROUPS + 1]] {
        assert_eq!(has_text(unbalanced, ID), None, "{unbalanced:?}");
    }
}

#[test]
fn e4_nothing_is_said_of_a_message_that_is_malformed_or_has_too_many_fields() {
    let endless = [0xff; 11];
    for malformed in [
        &[0x1a, 2, b'a'][..],
        &[0x1a],
        &[0x80],
        &[0x00, 0],
        &[0x0e],
        &[0x0f, 1],
        &[0x0d, 1, 2, 3],
        &[0x09, 1, 2, 3, 4, 5, 6, 7],
        // The field, but a number.
        &[0x18, 1],
        &endless,
    ] {
        assert_eq!(has_text(malformed, ID), None, "{malformed:?}");
    }
    let many = |fields: usize| [0x08_u8, 1].repeat(fields);
    assert_eq!(has_text(&many(MOST_FIELDS), ID), Some(false));
    assert_eq!(has_text(&many(MOST_FIELDS + 1), ID), None);
}

#[test]
fn e4_a_frame_is_one_message_that_is_not_compressed() {
    assert_eq!(single_message(&frame(b"")), Some(&b""[..]));
    assert_eq!(single_message(&frame(b"abc")), Some(&b"abc"[..]));
    let whole = frame(b"abc");
    let two = [whole.clone(), whole.clone()].concat();
    let compressed = [&[1][..], &whole[1..]].concat();
    for other in [&b""[..], &whole[..4], &whole[..7], &two[..], &compressed[..]] {
        assert_eq!(single_message(other), None, "{other:?}");
    }
}

#[test]
fn e4_nothing_is_appended_beyond_the_limit() {
    assert_eq!(framed_with(b"\x08\x01", ID, "id", 6).unwrap(), &b"\0\0\0\0\x06\x08\x01\x1a\x02id"[..]);
    assert_eq!(framed_with(b"\x08\x01", ID, "id", 5), None);
    let far = framed_with(b"", (1 << 29) - 1, "id", 100).unwrap();
    assert_eq!(has_text(single_message(&far).unwrap(), (1 << 29) - 1), Some(true));
}
