//! Request ids (AIP-155), by which a server knows a call again: they make it safe to repeat what has side effects.

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;

use super::field::{framed_with, has_text, single_message};
use crate::policy::RequestIdField;

/// Whether a channel gives an id to a request that has none, where it may repeat the call and its contract has a field
/// for the id ([`Builder::descriptors`](crate::Builder::descriptors)). In the extensions of a request it overrides the
/// channel's [`Builder::request_ids`](crate::Builder::request_ids).
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshwork::retry::RequestIds::Require);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestIds {
    /// It appends one: a UUID (version 4, in lower case), the same for all attempts of the call.
    #[default]
    Fill,
    /// It leaves requests as they are, and what must have an id is repeated only if its caller gave it one: what
    /// proxies do, since the one who makes a call knows alone what is the same call again.
    Require,
}

/// What is done about the request id of one call that may be repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestIdRule {
    field: RequestIdField,
    ids: RequestIds,
    limit: usize,
}

impl RequestIdRule {
    /// `limit` is that of a message of the request, in bytes, if there is one.
    pub(crate) fn new(field: RequestIdField, ids: RequestIds, limit: Option<usize>) -> Self {
        Self { field, ids, limit: limit.unwrap_or(usize::MAX) }
    }

    /// The `frame` of a request with a new id at the end of its message; none where it stays as it is.
    pub(super) fn filled(&self, frame: &[u8]) -> Option<Bytes> {
        if self.ids != RequestIds::Fill {
            return None;
        }
        let message = single_message(frame)?;
        if has_text(message, self.field.number)? {
            return None;
        }
        framed_with(message, self.field.number, &uuid(), self.limit)
    }

    /// Whether the policy repeats the call only if its request has an id.
    pub(super) fn is_required(&self) -> bool {
        self.field.required
    }

    /// Whether an id can be seen in `frame`, which is what there is of the request.
    pub(super) fn is_in(&self, frame: &[u8]) -> bool {
        single_message(frame).and_then(|message| has_text(message, self.field.number)).unwrap_or(false)
    }
}

/// Where in a UUID its version and its variant are, and those of a random one (RFC 9562, section 5.4).
const VERSION: u128 = 0xf << 76;
const VERSION_4: u128 = 0x4 << 76;
const VARIANT: u128 = 0x3 << 62;
const VARIANT_RFC: u128 = 0x2 << 62;

/// A random UUID: version 4, in lower case.
fn uuid() -> String {
    // Its keys are 128 bits from the system, made into others at each call. The source of jitter has 64 bits of state,
    // which is too little for what no two calls of all clients may share.
    let keys = RandomState::new();
    let bits = (u128::from(keys.hash_one(0_u8)) << 64) | u128::from(keys.hash_one(1_u8));
    let bits = (bits & !(VERSION | VARIANT)) | VERSION_4 | VARIANT_RFC;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        (bits >> 80) & 0xffff,
        (bits >> 64) & 0xffff,
        (bits >> 48) & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const FIELD: RequestIdField = RequestIdField { number: 3, required: true };

    #[test]
    fn e4_ids_are_random_uuids_in_lower_case() {
        let ids: HashSet<String> = (0..1000).map(|_| uuid()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert!(id.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f')), "{id}");
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }

    #[test]
    fn e4_an_id_is_given_to_a_request_that_has_none_and_to_no_other() {
        let fill = RequestIdRule::new(FIELD, RequestIds::Fill, None);
        let filled = fill.filled(&[0, 0, 0, 0, 2, 0x08, 1]).unwrap();
        assert_eq!(filled[..7], [0, 0, 0, 0, 40, 0x08, 1]);
        assert!(fill.is_in(&filled));
        assert_eq!(fill.filled(&filled), None, "it has one");
        let compressed = [1, 0, 0, 0, 2, 0x08, 1];
        let malformed = [0, 0, 0, 0, 2, 0x08, 0x80];
        for frame in [&compressed[..], &malformed, &[]] {
            assert_eq!(fill.filled(frame), None, "{frame:?}");
            assert!(!fill.is_in(frame), "{frame:?}");
        }
    }

    #[test]
    fn e4_no_id_is_given_beyond_the_limit_of_messages_or_where_callers_give_them() {
        let frame = [0, 0, 0, 0, 2, 0x08, 1];
        assert!(RequestIdRule::new(FIELD, RequestIds::Fill, Some(40)).filled(&frame).is_some());
        assert_eq!(RequestIdRule::new(FIELD, RequestIds::Fill, Some(39)).filled(&frame), None);
        assert_eq!(RequestIdRule::new(FIELD, RequestIds::Require, None).filled(&frame), None);
    }
}
