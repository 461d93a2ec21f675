//! A place in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use crate::shards::ShardId;

/// How long [`WalPosition::to_bytes`] is.
const BYTES: usize = 20;

/// A place in the write-ahead log of a primary: a replica of the same history that has replayed so far has seen every write that
/// was committed before the position was taken (RR-).
///
/// Positions of different systems or timelines can't be compared: a promoted replica begins a timeline of its own. Two primaries
/// that began as copies of one folder of data have the same system and timeline, and yet different logs: where what is read may
/// lie on either, as on shards, a position says of which it is ([`WalPosition::of_shard`]). Its text is 40 hexadecimal digits,
/// opaque to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalPosition {
    /// The identifier that `initdb` gave the database system; its replicas share it.
    pub system: u64,
    /// The timeline, from 1; each promotion begins the next.
    pub timeline: u32,
    /// The byte in the log of the timeline.
    pub lsn: u64,
}

impl WalPosition {
    /// A position that no replica has replayed: who reads with it reads from the primary.
    pub const UNKNOWN: WalPosition = WalPosition { system: 0, timeline: 0, lsn: u64::MAX };

    /// The position as bytes, for tokens: system, timeline and byte of the log, each with its highest byte first.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.system.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.timeline.to_be_bytes());
        bytes[12..].copy_from_slice(&self.lsn.to_be_bytes());
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) has made; `None` for bytes of another length. Whoever forges one reads from the primary,
    /// or from a replica that is fresh enough without it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (system, rest) = bytes.split_first_chunk()?;
        let (timeline, rest) = rest.split_first_chunk()?;
        Some(Self {
            system: u64::from_be_bytes(*system),
            timeline: u32::from_be_bytes(*timeline),
            lsn: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }

    /// A position of a shard's log as it is told to others, with which those of other shards can't be compared, even if their servers
    /// are copies of one folder of data or one server has both; and what others bring as that shard's log has it. That of shard 0 is
    /// as it was.
    #[must_use]
    pub fn of_shard(self, shard: ShardId) -> Self {
        if self == Self::UNKNOWN {
            return self;
        }
        // Timelines stay far below 65,536, so that the upper half of the number is free. Done twice, it is as before.
        Self { timeline: self.timeline ^ (u32::from(shard) << 16), ..self }
    }

    /// Whether a server that has replayed up to this position has seen what `asked` covers.
    pub(crate) fn covers(self, asked: WalPosition) -> bool {
        self.is_comparable(asked) && self.lsn >= asked.lsn
    }

    /// Whether both are of one history.
    pub(crate) fn is_comparable(self, other: WalPosition) -> bool {
        self.system == other.system && self.timeline == other.timeline
    }
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:08x}{:016x}", self.system, self.timeline, self.lsn)
    }
}

/// A text that is no [`WalPosition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position in the write-ahead log is 40 hexadecimal digits; take it as it was given out")]
pub struct InvalidPosition;

impl FromStr for WalPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        // `from_str_radix` would take a sign.
        if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidPosition);
        }
        let number = |part: &str| u64::from_str_radix(part, 16).map_err(|_| InvalidPosition);
        Ok(Self {
            system: number(&text[..16])?,
            timeline: u32::from_str_radix(&text[16..24], 16).map_err(|_| InvalidPosition)?,
            lsn: number(&text[24..])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_and_text_are_read_back(system in any::<u64>(), timeline in any::<u32>(), lsn in any::<u64>()) {
            let position = WalPosition { system, timeline, lsn };
            prop_assert_eq!(WalPosition::from_bytes(&position.to_bytes()), Some(position));
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn other_bytes_and_texts_are_refused(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            prop_assert_eq!(WalPosition::from_bytes(&bytes).is_some(), bytes.len() == BYTES);
            let is_hexadecimal = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<WalPosition>().is_ok(), is_hexadecimal);
        }
    }

    #[test]
    fn a_sign_is_no_digit() {
        let text = WalPosition { system: 1, timeline: 2, lsn: 3 }.to_string();
        assert_eq!(format!("+{}", &text[1..]).parse::<WalPosition>(), Err(InvalidPosition));
    }

    #[test]
    fn rr_positions_of_another_history_cover_nothing() {
        let asked = WalPosition { system: 7, timeline: 2, lsn: 100 };
        for (replayed, covers) in [
            (asked, true),
            (WalPosition { lsn: 101, ..asked }, true),
            (WalPosition { lsn: 99, ..asked }, false),
            (WalPosition { timeline: 1, lsn: 500, ..asked }, false),
            (WalPosition { timeline: 3, lsn: 500, ..asked }, false),
            (WalPosition { system: 8, lsn: 500, ..asked }, false),
        ] {
            assert_eq!(replayed.covers(asked), covers, "{replayed:?}");
        }
        assert!(!asked.covers(WalPosition::UNKNOWN));
    }

    #[test]
    fn sh_positions_of_one_shard_cover_nothing_of_another_though_both_began_as_copies() {
        let (early, late) =
            (WalPosition { system: 7, timeline: 2, lsn: 1 }, WalPosition { system: 7, timeline: 2, lsn: 9 });
        for one in [0, 1, 2, ShardId::MAX] {
            assert_eq!(late.of_shard(one).of_shard(one), late);
            assert_eq!(WalPosition::UNKNOWN.of_shard(one), WalPosition::UNKNOWN);
            for other in [0, 1, 2, ShardId::MAX] {
                assert_eq!(late.of_shard(one).covers(early.of_shard(other)), one == other, "{one} {other}");
                // As the servers of `other` see what `one` has told.
                assert_eq!(late.covers(early.of_shard(one).of_shard(other)), one == other, "{one} {other}");
            }
        }
        assert_eq!(late.of_shard(0), late);
    }
}
