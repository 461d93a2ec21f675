//! The shard map: who owns which piece of which space of keys, at which version.

use uuid::Uuid;

use super::place::{Place, ShardId};
use super::slots::{SLOTS, range_piece, slot_of};
use crate::identity::digits;

/// How many shards there are at most.
pub const MAX_SHARDS: usize = 64;
/// How many ranges a space is split into at most.
pub const MAX_RANGES: usize = 4096;
/// How long a split point may be, in bytes.
pub const MAX_SPLIT: usize = 256;

/// How the keys of a space are dealt out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By a hash of the key, to 1024 slots.
    Hash,
    /// By the order of the keys' bytes.
    Range {
        /// Where one range ends and the next begins: sorted, unique, none of them empty. n of them make n + 1 ranges. They
        /// count when a space is seeded; afterwards the map has its own.
        splits: Vec<String>,
    },
}

/// A space of keys, as a service declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceSpec {
    /// Its stable number, from 0.
    pub id: i16,
    /// What people call it.
    pub name: &'static str,
    /// How its keys are dealt out.
    pub strategy: Strategy,
}

/// A shard that a map knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardName {
    /// Its number.
    pub id: ShardId,
    /// What people call it.
    pub name: String,
}

/// Why a shard map is none, or can't be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The list of shards.
    #[error("the list of shards can't be used: {0}")]
    Shards(String),
    /// A space of keys.
    #[error("the space {space} of the shard map can't be used: {problem}")]
    Space {
        /// The space's number.
        space: i16,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// There is no such space.
    #[error("the shard map has no space {0}; the spaces are those that the service declares")]
    UnknownSpace(i16),
    /// There is no such piece.
    #[error("the space {space} of the shard map has no piece {piece}; list its pieces and choose one of them")]
    UnknownPiece {
        /// The space's number.
        space: i16,
        /// The piece that was asked for.
        piece: i32,
    },
    /// There is no such shard.
    #[error("the shard map knows no shard {0}; add it to the configuration first")]
    UnknownShard(ShardId),
    /// It was written in a form that this release doesn't know.
    #[error(
        "the shard map has the format {0}, which this release doesn't know; use the release that wrote it, or a newer one"
    )]
    Format(u64),
    /// It isn't written as a shard map is.
    #[error("the shard map can't be read: {0}")]
    Unreadable(String),
}

/// Who owns which piece of which space of keys.
///
/// Ownership is per piece and versioned: only the owner of a piece at version v makes v + 1, in a transaction of its own
/// database. So maps merge piece by piece by the higher version, in any order, and anybody may bring a newer map to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    /// Made at random with the first map, and never changed: databases of another one hold other rows, whatever they are called.
    pub(super) system: Uuid,
    /// Sorted by number.
    pub(super) shards: Vec<ShardName>,
    /// Sorted by number.
    pub(super) spaces: Vec<Space>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub id: i16,
    pub name: String,
    pub pieces: Pieces,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// One owner for each slot.
    Slots(Vec<Owner>),
    /// Sorted by `low`; the first begins at the empty text, and each ends where the next begins.
    Ranges(Vec<Range>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub shard: ShardId,
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub low: String,
    pub piece: i32,
    pub owner: Owner,
}

impl Range {
    pub fn new(low: String, owner: Owner) -> Self {
        Self { piece: range_piece(&low), low, owner }
    }
}

/// Where a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The shard that owns its piece.
    pub shard: ShardId,
    /// The piece, at the version that the map knows.
    pub place: Place,
}

/// Which keys a piece holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceRange {
    /// Those of a slot.
    Slot(u16),
    /// Those from `low` on, below `high`.
    Keys {
        /// The first.
        low: String,
        /// The end, which is not among them; `None` for the last range.
        high: Option<String>,
    },
}

/// A piece and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceInfo {
    /// Its number: the slot, or that of the range.
    pub piece: i32,
    /// How often its ownership has changed, from 1.
    pub version: i64,
    /// Its owner.
    pub shard: ShardId,
    /// Its keys.
    pub range: PieceRange,
}

impl ShardMap {
    /// A random name of the databases together, as [`identity`](crate::identity) is of one: 12 hexadecimal digits that were made with
    /// the first map. Each of the databases knows it.
    pub fn identity(&self) -> String {
        digits(self.system)
    }

    /// The shards, sorted by number. A shard may own nothing.
    pub fn shards(&self) -> &[ShardName] {
        &self.shards
    }

    /// The numbers and names of the spaces, sorted by number.
    pub fn spaces(&self) -> impl Iterator<Item = (i16, &str)> {
        self.spaces.iter().map(|space| (space.id, space.name.as_str()))
    }

    /// Whether a space is hashed (and not split into ranges); `None` when there is no such space.
    pub fn is_hashed(&self, space: i16) -> Option<bool> {
        self.space(space).map(|space| matches!(space.pieces, Pieces::Slots(_)))
    }

    /// The sum of all versions, for people: it grows with each change of an owner. Two maps of one epoch may differ, when
    /// changes were made at different shards and neither knows of the other's; [`ShardMap::mark`] tells them apart.
    pub fn epoch(&self) -> u64 {
        let versions = self.spaces.iter().map(|space| match &space.pieces {
            Pieces::Slots(slots) => sum(slots.iter()),
            Pieces::Ranges(ranges) => sum(ranges.iter().map(|range| &range.owner)),
        });
        versions.fold(0, u64::saturating_add)
    }

    /// The shard and the place of a key; `None` when there is no such space. It takes an index or a binary search, and no
    /// memory.
    pub fn locate(&self, space: i16, key: &str) -> Option<Located> {
        let (piece, owner) = match &self.space(space)?.pieces {
            Pieces::Slots(slots) => {
                let slot = slot_of(key);
                (i32::from(slot), slots.get(usize::from(slot))?)
            }
            Pieces::Ranges(ranges) => {
                // The first begins at the empty text, so that each key is in one.
                let after = ranges.partition_point(|range| range.low.as_str() <= key);
                let range = ranges.get(after.checked_sub(1)?)?;
                (range.piece, &range.owner)
            }
        };
        Some(Located { shard: owner.shard, place: Place { space, piece, version: owner.version } })
    }

    /// The pieces of a space in the order of their keys or slots; none when there is no such space.
    pub fn pieces(&self, space: i16) -> impl Iterator<Item = PieceInfo> {
        let pieces = self.space(space).map(|space| &space.pieces);
        let count = match pieces {
            Some(Pieces::Slots(slots)) => slots.len(),
            Some(Pieces::Ranges(ranges)) => ranges.len(),
            None => 0,
        };
        (0..count).filter_map(move |at| piece_at(pieces?, at))
    }

    /// The map in which `to` owns the piece, at the next version.
    ///
    /// # Errors
    /// When there is no such space, piece or shard.
    pub fn with_owner(&self, space: i16, piece: i32, to: ShardId) -> Result<Self, MapError> {
        if !self.knows(to) {
            return Err(MapError::UnknownShard(to));
        }
        let mut map = self.clone();
        let found = match &mut map.space_mut(space)?.pieces {
            Pieces::Slots(slots) => match usize::try_from(piece) {
                Ok(slot) => slots.get_mut(slot),
                Err(_) => None,
            },
            Pieces::Ranges(ranges) => {
                ranges.iter_mut().find(|range| range.piece == piece).map(|range| &mut range.owner)
            }
        };
        let owner = found.ok_or(MapError::UnknownPiece { space, piece })?;
        *owner = Owner { shard: to, version: next(space, owner.version)? };
        Ok(map)
    }

    /// The map in which the range around `at` is two, the second of which begins at `at`. Both keep the owner and get the next
    /// version.
    ///
    /// # Errors
    /// When there is no such space, it is hashed, or it can't be split there.
    pub fn with_split(&self, space: i16, at: &str) -> Result<Self, MapError> {
        let problem = |problem: String| MapError::Space { space, problem };
        let mut map = self.clone();
        let Pieces::Ranges(ranges) = &mut map.space_mut(space)?.pieces else {
            return Err(problem("it is hashed, and only a space of ranges is split".to_owned()));
        };
        let after = ranges.partition_point(|range| range.low.as_str() < at);
        let Some(half) = after.checked_sub(1).and_then(|before| ranges.get_mut(before)) else {
            return Err(problem("a split point must not be empty".to_owned()));
        };
        let owner = Owner { shard: half.owner.shard, version: next(space, half.owner.version)? };
        half.owner = owner;
        // A point that is there already, is too long or has a number that is taken is refused by the check.
        ranges.insert(after, Range::new(at.to_owned(), owner));
        map.check()?;
        Ok(map)
    }

    /// The map that knows one more shard, which owns nothing; the same when it knows it.
    ///
    /// # Errors
    /// When the number or the name is taken, or there are too many.
    pub fn with_shard(&self, id: ShardId, name: &str) -> Result<Self, MapError> {
        let mut map = self.clone();
        let at = match map.shards.binary_search_by_key(&id, |shard| shard.id) {
            Ok(at) if map.shards[at].name == name => return Ok(map),
            Ok(at) => {
                return Err(MapError::Shards(format!(
                    "the number {id} is {:?} in the shard map and {name:?} in the configuration; a shard keeps both for ever",
                    map.shards[at].name
                )));
            }
            Err(at) => at,
        };
        map.shards.insert(at, ShardName { id, name: name.to_owned() });
        check_shards(&map.shards)?;
        Ok(map)
    }

    /// Whether the map is one: each key has one owner, which is known.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), MapError> {
        check_shards(&self.shards)?;
        if let Some(pair) = self.spaces.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            let problem = "the spaces must be sorted by number, each once".to_owned();
            return Err(MapError::Space { space: pair[1].id, problem });
        }
        self.spaces.iter().try_for_each(|space| self.check_space(space))
    }

    fn check_space(&self, space: &Space) -> Result<(), MapError> {
        let problem = |problem: String| Err(MapError::Space { space: space.id, problem });
        if space.id < 0 {
            return problem("its number must not be negative".to_owned());
        }
        let owners: Vec<Owner> = match &space.pieces {
            Pieces::Slots(slots) if slots.len() != usize::from(SLOTS) => {
                return problem(format!("it has {} slots and must have {SLOTS}", slots.len()));
            }
            Pieces::Slots(slots) => slots.clone(),
            Pieces::Ranges(ranges) => {
                if let Err(sentence) = check_ranges(ranges) {
                    return problem(sentence);
                }
                ranges.iter().map(|range| range.owner).collect()
            }
        };
        for owner in owners {
            if owner.version < 1 {
                return problem(format!("a piece has the version {}; versions begin at 1", owner.version));
            }
            if !self.knows(owner.shard) {
                return Err(MapError::UnknownShard(owner.shard));
            }
        }
        Ok(())
    }

    /// Whether a shard owns anything.
    pub(super) fn is_owner(&self, shard: ShardId) -> bool {
        self.spaces().any(|(space, _)| self.pieces(space).any(|info| info.shard == shard))
    }

    pub(super) fn knows(&self, shard: ShardId) -> bool {
        self.shards.binary_search_by_key(&shard, |known| known.id).is_ok()
    }

    pub(super) fn space(&self, id: i16) -> Option<&Space> {
        self.spaces.iter().find(|space| space.id == id)
    }

    fn space_mut(&mut self, id: i16) -> Result<&mut Space, MapError> {
        self.spaces.iter_mut().find(|space| space.id == id).ok_or(MapError::UnknownSpace(id))
    }
}

fn sum<'a>(owners: impl Iterator<Item = &'a Owner>) -> u64 {
    owners.map(|owner| u64::try_from(owner.version).unwrap_or_default()).fold(0, u64::saturating_add)
}

fn next(space: i16, version: i64) -> Result<i64, MapError> {
    version.checked_add(1).ok_or_else(|| MapError::Space { space, problem: "a version is too large".to_owned() })
}

fn piece_at(pieces: &Pieces, at: usize) -> Option<PieceInfo> {
    let (piece, owner, range) = match pieces {
        Pieces::Slots(slots) => {
            let slot = u16::try_from(at).ok()?;
            (i32::from(slot), slots.get(at)?, PieceRange::Slot(slot))
        }
        Pieces::Ranges(ranges) => {
            let range = ranges.get(at)?;
            let high = ranges.get(at + 1).map(|next| next.low.clone());
            (range.piece, &range.owner, PieceRange::Keys { low: range.low.clone(), high })
        }
    };
    Some(PieceInfo { piece, version: owner.version, shard: owner.shard, range })
}

fn check_shards(shards: &[ShardName]) -> Result<(), MapError> {
    let refuse = |problem: String| Err(MapError::Shards(problem));
    if shards.is_empty() {
        return refuse("there is none; name at least one".to_owned());
    }
    if shards.len() > MAX_SHARDS {
        return refuse(format!("there are {}, and at most {MAX_SHARDS} are possible", shards.len()));
    }
    if let Some(pair) = shards.windows(2).find(|pair| pair[0].id >= pair[1].id) {
        return refuse(format!("the number {} comes twice or out of order", pair[1].id));
    }
    for (at, shard) in shards.iter().enumerate() {
        if shard.name.is_empty() || shard.name.len() > 63 || shard.name.chars().any(char::is_control) {
            return refuse(format!("{:?} is no name; give shard {} one of 1 to 63 bytes", shard.name, shard.id));
        }
        if shards[..at].iter().any(|other| other.name == shard.name) {
            return refuse(format!("the name {:?} comes twice; give each shard its own", shard.name));
        }
    }
    Ok(())
}

fn check_ranges(ranges: &[Range]) -> Result<(), String> {
    if ranges.first().is_none_or(|first| !first.low.is_empty()) {
        return Err("its first range must begin at the empty key".to_owned());
    }
    if ranges.len() > MAX_RANGES {
        return Err(format!("it has {} ranges, and at most {MAX_RANGES} are possible", ranges.len()));
    }
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].low >= pair[1].low) {
        return Err(format!(
            "its split points must be sorted and unique; {:?} isn't after {:?}",
            pair[1].low, pair[0].low
        ));
    }
    if let Some(range) = ranges.iter().find(|range| range.low.len() > MAX_SPLIT || range.low.contains('\0')) {
        return Err(format!("the split point {:?} must have at most {MAX_SPLIT} bytes, none of them NUL", range.low));
    }
    let mut numbers: Vec<_> = ranges.iter().map(|range| range.piece).collect();
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two of its split points have the same number; move the newer one by a character".to_owned());
    }
    Ok(())
}
