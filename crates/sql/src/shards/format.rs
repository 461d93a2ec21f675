//! How a shard map is written: JSON, with runs of slots of one owner and version in one entry.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::map::{MapError, Owner, Pieces, Range, ShardMap, ShardName, Space};
use super::place::ShardId;
use super::slots::SLOTS;

/// The format that is written, and the only one so far.
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u64,
    system: String,
    shards: Vec<(ShardId, String)>,
    spaces: Vec<WrittenSpace>,
}

/// First and last slot, shard and version.
type SlotsRow = (u16, u16, ShardId, i64);
/// First key, end, shard and version.
type RangeRow = (String, Option<String>, ShardId, i64);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSpace {
    id: i16,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slots: Option<Vec<SlotsRow>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ranges: Option<Vec<RangeRow>>,
}

impl ShardMap {
    /// The map that [`ShardMap::to_json`] wrote.
    ///
    /// # Errors
    /// When the text is no map: of an unknown format, with gaps or overlaps, with owners that it doesn't know.
    pub fn from_json(text: &str) -> Result<Self, MapError> {
        read(serde_json::from_str(text).map_err(unreadable)?)
    }

    /// The map as one line; equal maps are written the same.
    pub fn to_json(&self) -> String {
        // Numbers and texts in lists: there is nothing that JSON can't hold.
        serde_json::to_string(&write(self)).unwrap_or_default()
    }

    /// A number that is equal where the maps are equal, to compare those of several databases.
    pub fn mark(&self) -> i64 {
        i64::from_be_bytes(xxh3_64(self.to_json().as_bytes()).to_be_bytes())
    }
}

impl Serialize for ShardMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.check().map_err(S::Error::custom)?;
        write(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShardMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn unreadable(error: serde_json::Error) -> MapError {
    MapError::Unreadable(error.to_string())
}

fn write(map: &ShardMap) -> Written {
    let space = |space: &Space| {
        let (slots, ranges) = match &space.pieces {
            Pieces::Slots(slots) => (Some(runs(slots)), None),
            Pieces::Ranges(ranges) => (None, Some(bounded(ranges))),
        };
        WrittenSpace { id: space.id, name: space.name.clone(), slots, ranges }
    };
    let shards = map.shards.iter().map(|shard| (shard.id, shard.name.clone())).collect();
    let spaces = map.spaces.iter().map(space).collect();
    Written { format: FORMAT, system: map.system.to_string(), shards, spaces }
}

fn runs(slots: &[Owner]) -> Vec<(u16, u16, ShardId, i64)> {
    let mut runs: Vec<(u16, u16, ShardId, i64)> = Vec::new();
    for (slot, owner) in (0..).zip(slots) {
        match runs.last_mut() {
            Some(run) if (run.2, run.3) == (owner.shard, owner.version) => run.1 = slot,
            _ => runs.push((slot, slot, owner.shard, owner.version)),
        }
    }
    runs
}

fn bounded(ranges: &[Range]) -> Vec<(String, Option<String>, ShardId, i64)> {
    let high = |at: usize| ranges.get(at + 1).map(|next| next.low.clone());
    let range = |(at, range): (usize, &Range)| (range.low.clone(), high(at), range.owner.shard, range.owner.version);
    ranges.iter().enumerate().map(range).collect()
}

fn read(value: Value) -> Result<ShardMap, MapError> {
    // Before anything else is looked at: another format may look like anything.
    match value.get("format").and_then(Value::as_u64) {
        Some(FORMAT) => {}
        Some(format) => return Err(MapError::Format(format)),
        None => return Err(MapError::Unreadable("it doesn't say its format".to_owned())),
    }
    let written: Written = serde_json::from_value(value).map_err(unreadable)?;
    let system = Uuid::try_parse(&written.system)
        .map_err(|error| MapError::Unreadable(format!("its system {:?} is no UUID: {error}", written.system)))?;
    let shards = written.shards.into_iter().map(|(id, name)| ShardName { id, name }).collect();
    let spaces = written.spaces.into_iter().map(read_space).collect::<Result<_, _>>()?;
    let map = ShardMap { system, shards, spaces };
    map.check()?;
    Ok(map)
}

fn read_space(written: WrittenSpace) -> Result<Space, MapError> {
    let pieces = match (written.slots, written.ranges) {
        (Some(runs), None) => read_slots(runs),
        (None, Some(ranges)) => read_ranges(ranges),
        _ => Err("it must have either slots or ranges".to_owned()),
    };
    let pieces = pieces.map_err(|problem| MapError::Space { space: written.id, problem })?;
    Ok(Space { id: written.id, name: written.name, pieces })
}

fn read_slots(runs: Vec<(u16, u16, ShardId, i64)>) -> Result<Pieces, String> {
    let mut slots = Vec::with_capacity(usize::from(SLOTS));
    for (first, last, shard, version) in runs {
        if usize::from(first) != slots.len() || last < first || last >= SLOTS {
            return Err(format!(
                "the slots {first} to {last} leave a gap or overlap; those from {} on come next, up to {}",
                slots.len(),
                SLOTS - 1
            ));
        }
        slots.resize(usize::from(last) + 1, Owner { shard, version });
    }
    // Whether any are missing at the end is checked with the map.
    Ok(Pieces::Slots(slots))
}

fn read_ranges(written: Vec<(String, Option<String>, ShardId, i64)>) -> Result<Pieces, String> {
    let mut ranges: Vec<Range> = Vec::with_capacity(written.len());
    let mut end = Some(String::new());
    for (low, high, shard, version) in written {
        if end.as_ref() != Some(&low) {
            return Err(format!("the range from {low:?} on leaves a gap or overlaps; the one before ends at {end:?}"));
        }
        ranges.push(Range::new(low, Owner { shard, version }));
        end = high;
    }
    match end {
        None => Ok(Pieces::Ranges(ranges)),
        Some(end) => Err(format!("no range holds the keys from {end:?} on")),
    }
}
