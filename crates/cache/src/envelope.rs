//! What surrounds a value in the remote tier (CA-1, CA-9): times, versions of tags, codec and schema.
//!
//! The stored text is the version as 20 decimal digits, one byte of codec (`A`: there is none), two of schema, and a small prost
//! message. A tombstone that a script wrote is the version and the one byte `T`.

use bytes::Bytes;
use prost::Message;

use crate::position::Position;

/// The most bytes that a value may have, encoded.
pub(crate) const MAX_VALUE: usize = 256 << 10;
/// From how many bytes on a value is compressed.
const COMPRESS_FROM: usize = 1 << 10;
/// What is longer was written by nobody of ours.
const MAX_STORED: usize = MAX_VALUE + (16 << 10);
/// How many digits the version has.
const DIGITS: usize = 20;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// A plain one of an absence: scripts treat it as they do a tombstone.
const ABSENT: u8 = b'A';
const TOMBSTONE: u8 = b'T';

/// A value with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// By which writes are ordered.
    pub(crate) version: u64,
    /// When its load began, in milliseconds of Unix time.
    pub(crate) created_ms: u64,
    /// Until when it is fresh.
    pub(crate) soft_ms: u64,
    /// Until when it may stand in while the source of truth fails.
    pub(crate) hard_ms: u64,
    /// How long its load took, in microseconds.
    pub(crate) load_us: u32,
    /// The place in the source's log that was taken before its load.
    pub(crate) position: Option<Position>,
    /// Its tags, and their versions of before its load.
    pub(crate) tags: Vec<(String, u64)>,
    /// The number of the value's encoding.
    pub(crate) schema: u16,
    /// The value itself.
    pub(crate) content: Content,
}

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The bytes of a value.
    Value(Vec<u8>),
    /// There is none of that key.
    Absent,
    /// What is older than the version must not be answered.
    Tombstone,
}

/// The bytes are none that this release can read: a miss, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    #[error("it does not begin with a version of 20 digits")]
    Version,
    #[error("its codec or its schema is of another release")]
    Foreign,
    #[error("it is damaged")]
    Damaged,
    #[error("it is too big")]
    Oversized,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(uint64, tag = "1")]
    created_ms: u64,
    #[prost(uint64, tag = "2")]
    soft_ms: u64,
    #[prost(uint64, tag = "3")]
    hard_ms: u64,
    #[prost(uint32, tag = "4")]
    load_us: u32,
    /// 16 bytes; empty without a position.
    #[prost(bytes = "vec", tag = "5")]
    history: Vec<u8>,
    #[prost(uint64, tag = "6")]
    at: u64,
    #[prost(message, repeated, tag = "7")]
    tags: Vec<TagVersion>,
    #[prost(bytes = "vec", tag = "8")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TagVersion {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(uint64, tag = "2")]
    version: u64,
}

impl Envelope {
    /// A tombstone of a version.
    pub(crate) fn tombstone(version: u64) -> Self {
        Self {
            version,
            created_ms: 0,
            soft_ms: 0,
            hard_ms: 0,
            load_us: 0,
            position: None,
            tags: Vec::new(),
            schema: 0,
            content: Content::Tombstone,
        }
    }

    /// The version of a stored text, if it is a tombstone.
    pub(crate) fn tombstone_version(stored: &[u8]) -> Option<u64> {
        let digits = stored.strip_suffix(&[TOMBSTONE]).filter(|digits| digits.len() == DIGITS)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The bytes that follow the version; `None` when the value is too big.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        let (codec, content) = match &self.content {
            Content::Tombstone => return Some(Bytes::from_static(&[TOMBSTONE])),
            Content::Absent => (ABSENT, Vec::new()),
            Content::Value(bytes) if bytes.len() > MAX_VALUE => return None,
            Content::Value(bytes) => compressed(bytes).map_or_else(|| (PLAIN, bytes.clone()), |small| (ZSTD, small)),
        };
        let tag = |(tag, version): &(String, u64)| TagVersion { tag: tag.clone(), version: *version };
        let head = Head {
            created_ms: self.created_ms,
            soft_ms: self.soft_ms,
            hard_ms: self.hard_ms,
            load_us: self.load_us,
            history: self.position.map_or_else(Vec::new, |position| position.history.to_be_bytes().to_vec()),
            at: self.position.map_or(0, |position| position.at),
            tags: self.tags.iter().map(tag).collect(),
            content,
        };
        let mut bytes = Vec::with_capacity(3 + head.encoded_len());
        bytes.push(codec);
        bytes.extend_from_slice(&self.schema.to_be_bytes());
        bytes.extend_from_slice(&head.encode_to_vec());
        Some(bytes.into())
    }

    /// Reads a stored text, version and all.
    ///
    /// # Errors
    /// When it was written by another release, or by nobody of ours.
    pub(crate) fn decode(stored: &[u8], schema: u16) -> Result<Self, Undecodable> {
        if stored.len() > MAX_STORED {
            return Err(Undecodable::Oversized);
        }
        let (digits, envelope) = stored.split_at_checked(DIGITS).ok_or(Undecodable::Version)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Undecodable::Version);
        }
        let digits = std::str::from_utf8(digits).map_err(|_| Undecodable::Version)?;
        let version = digits.parse().map_err(|_| Undecodable::Version)?;
        if envelope == [TOMBSTONE] {
            return Ok(Self::tombstone(version));
        }
        let [codec, high, low, head @ ..] = envelope else { return Err(Undecodable::Damaged) };
        if ![PLAIN, ZSTD, ABSENT].contains(codec) || u16::from_be_bytes([*high, *low]) != schema {
            return Err(Undecodable::Foreign);
        }
        let head = Head::decode(head).map_err(|_| Undecodable::Damaged)?;
        let history = <[u8; 16]>::try_from(head.history.as_slice()).map(u128::from_be_bytes);
        let position = match history {
            Ok(history) => Some(Position { history, at: head.at }),
            Err(_) if head.history.is_empty() => None,
            Err(_) => return Err(Undecodable::Damaged),
        };
        let content = match *codec {
            ABSENT => Content::Absent,
            // The frame says how long it is; what says more than the bound isn't unpacked.
            ZSTD => Content::Value(zstd::bulk::decompress(&head.content, MAX_VALUE).map_err(|_| Undecodable::Damaged)?),
            _ => Content::Value(head.content),
        };
        if matches!(&content, Content::Value(bytes) if bytes.len() > MAX_VALUE) {
            return Err(Undecodable::Oversized);
        }
        Ok(Self {
            version,
            created_ms: head.created_ms,
            soft_ms: head.soft_ms,
            hard_ms: head.hard_ms,
            load_us: head.load_us,
            position,
            tags: head.tags.into_iter().map(|tag| (tag.tag, tag.version)).collect(),
            schema,
            content,
        })
    }
}

/// The bytes compressed, when that is worth it. What can't be compressed is stored as it is.
fn compressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let small = if bytes.len() > COMPRESS_FROM { zstd::bulk::compress(bytes, 1).ok() } else { None };
    small.filter(|small| small.len() < bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(envelope: &Envelope) -> Vec<u8> {
        let mut stored = format!("{:020}", envelope.version).into_bytes();
        stored.extend_from_slice(&envelope.encode().unwrap());
        stored
    }

    fn of(content: Content) -> Envelope {
        Envelope {
            created_ms: 1,
            soft_ms: 2,
            hard_ms: 3,
            load_us: 4,
            position: Some(Position { history: 5, at: 6 }),
            tags: vec![("kind:users".to_owned(), 7)],
            schema: 1,
            content,
            ..Envelope::tombstone(8)
        }
    }

    fn contents() -> impl Strategy<Value = Content> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..3_000).prop_map(Content::Value),
            (any::<u8>(), 0..20_000_usize).prop_map(|(byte, length)| Content::Value(vec![byte; length])),
            Just(Content::Absent),
        ]
    }

    fn envelopes() -> impl Strategy<Value = Envelope> {
        let position = proptest::option::of((any::<u128>(), any::<u64>()));
        let tags = proptest::collection::vec(("[a-z:]{0,20}", any::<u64>()), 0..4);
        (any::<[u64; 4]>(), any::<u32>(), position, tags, any::<u16>(), contents()).prop_map(
            |([version, created_ms, soft_ms, hard_ms], load_us, position, tags, schema, content)| Envelope {
                version,
                created_ms,
                soft_ms,
                hard_ms,
                load_us,
                position: position.map(|(history, at)| Position { history, at }),
                tags,
                schema,
                content,
            },
        )
    }

    proptest! {
        #[test]
        fn ca_9_what_was_encoded_is_decoded(envelope in envelopes()) {
            prop_assert_eq!(Envelope::decode(&stored(&envelope), envelope.schema), Ok(envelope));
        }

        #[test]
        fn ca_9_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), schema: u16) {
            _ = Envelope::decode(&bytes, schema);
            let mut behind_a_version = b"00000000000000000007".to_vec();
            behind_a_version.extend_from_slice(&bytes);
            _ = Envelope::decode(&behind_a_version, schema);
        }

        #[test]
        fn ca_9_a_damaged_envelope_is_read_or_refused(envelope in envelopes(), at: usize, bits: u8, cut: usize) {
            let mut bytes = stored(&envelope);
            let at = at % bytes.len();
            bytes[at] ^= bits;
            _ = Envelope::decode(&bytes, envelope.schema);
            bytes.truncate(cut % bytes.len());
            _ = Envelope::decode(&bytes, envelope.schema);
        }
    }

    #[test]
    fn ca_1_another_schema_or_codec_is_a_miss() {
        let mut bytes = stored(&of(Content::Absent));
        assert_eq!(Envelope::decode(&bytes, 2), Err(Undecodable::Foreign));
        bytes[DIGITS] = 9;
        assert_eq!(Envelope::decode(&bytes, 1), Err(Undecodable::Foreign));
        assert_eq!(Envelope::decode(b"hello", 1), Err(Undecodable::Version));
        assert_eq!(Envelope::decode(&[b'9'; 40], 1), Err(Undecodable::Version));
    }

    #[test]
    fn ca_2_a_tombstone_of_a_script_is_read() {
        let tombstone = Envelope::decode(b"00000000000000000042T", 1).unwrap();
        assert_eq!(tombstone, Envelope::tombstone(42));
        assert_eq!(stored(&tombstone), b"00000000000000000042T");
        assert_eq!(Envelope::tombstone_version(b"00000000000000000042T"), Some(42));
        for other in [stored(&of(Content::Absent)), b"42T".to_vec(), b"0000000000000000004xT".to_vec(), Vec::new()] {
            assert_eq!(Envelope::tombstone_version(&other), None);
        }
    }

    #[test]
    fn ca_9_big_values_are_compressed_and_too_big_ones_refused() {
        let big = of(Content::Value(vec![7; MAX_VALUE]));
        assert!(stored(&big).len() < 2_000);
        assert_eq!(Envelope::decode(&stored(&big), 1), Ok(big));
        assert_eq!(of(Content::Value(vec![7; MAX_VALUE + 1])).encode(), None);
        assert_eq!(Envelope::decode(&vec![b'0'; MAX_STORED + 1], 1), Err(Undecodable::Oversized));
    }

    #[test]
    fn ca_9_a_small_frame_that_unpacks_to_much_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let head = Head { content: bomb, ..Head::default() };
        let mut bytes = b"00000000000000000001\x01\x00\x01".to_vec();
        bytes.extend_from_slice(&head.encode_to_vec());
        assert_eq!(Envelope::decode(&bytes, 1), Err(Undecodable::Damaged));
    }
}
