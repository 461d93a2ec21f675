//! The first map, and how owners are evened out.

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::map::{MapError, Owner, Pieces, Range, ShardMap, ShardName, Space, SpaceSpec, Strategy};
use super::place::ShardId;
use super::slots::SLOTS;

impl ShardMap {
    /// The first map. Slots go to the shards by rendezvous hashing, evened out so that none has more than one slot more than
    /// another; ranges go to them in order. Who owns what depends on the numbers and names of the shards alone, not on
    /// their order. Each first map is a system of its own: maps of two never merge.
    ///
    /// # Errors
    /// When the shards or the spaces can't be used.
    pub fn seed(shards: &[(ShardId, &str)], spaces: &[SpaceSpec]) -> Result<Self, MapError> {
        let mut names: Vec<_> = shards.iter().map(|&(id, name)| ShardName { id, name: name.to_owned() }).collect();
        names.sort_by_key(|shard| shard.id);
        let mut map = ShardMap { system: Uuid::new_v4(), shards: names, spaces: Vec::new() };
        map.check()?;
        for spec in spaces {
            map = map.with_space(spec)?;
        }
        Ok(map)
    }

    /// The map with one more space, seeded over all shards of the map; the same when it has that space.
    ///
    /// # Errors
    /// When the space can't be used, or is there with another strategy.
    pub fn with_space(&self, spec: &SpaceSpec) -> Result<Self, MapError> {
        let wants_hash = spec.strategy == Strategy::Hash;
        match self.is_hashed(spec.id) {
            Some(is_hashed) if is_hashed == wants_hash => return Ok(self.clone()),
            Some(is_hashed) => {
                let name = |hashed: bool| if hashed { "hash" } else { "range" };
                let problem = format!(
                    "{} is dealt out by {} in the databases and by {} in the configuration; a strategy can't be changed, so \
                     put the configuration back",
                    spec.name,
                    name(is_hashed),
                    name(wants_hash)
                );
                return Err(MapError::Space { space: spec.id, problem });
            }
            None => {}
        }
        let mut map = self.clone();
        let pieces = match &spec.strategy {
            Strategy::Hash => Pieces::Slots(deal_slots(&map.shards)),
            Strategy::Range { splits } => Pieces::Ranges(deal_ranges(&map.shards, splits)),
        };
        map.spaces.push(Space { id: spec.id, name: spec.name.to_owned(), pieces });
        map.spaces.sort_by_key(|space| space.id);
        map.check()?;
        Ok(map)
    }
}

/// How much a shard wants a slot: who wants it most gets it, and who comes or goes changes nothing between the others.
pub(super) fn weight(slot: u16, shard: &ShardName) -> u64 {
    xxh3_64_with_seed(shard.name.as_bytes(), u64::from(slot))
}

fn deal_slots(shards: &[ShardName]) -> Vec<Owner> {
    let wanted_most = |slot: u16| shards.iter().max_by_key(|shard| (weight(slot, shard), shard.id));
    let owners: Vec<ShardId> = (0..SLOTS).filter_map(wanted_most).map(|shard| shard.id).collect();
    let targets: Vec<&ShardName> = shards.iter().collect();
    let mut slots: Vec<_> = owners.iter().map(|&shard| Owner { shard, version: 1 }).collect();
    for (slot, shard) in evened_out(&owners, &targets) {
        if let Some(owner) = slots.get_mut(usize::from(slot)) {
            owner.shard = shard;
        }
    }
    slots
}

/// Contiguous blocks, as even as can be.
fn deal_ranges(shards: &[ShardName], splits: &[String]) -> Vec<Range> {
    let lows: Vec<&str> = std::iter::once("").chain(splits.iter().map(String::as_str)).collect();
    let deal = |(at, low): (usize, &&str)| {
        let shard = shards.get(at * shards.len() / lows.len())?;
        Some(Range::new((*low).to_owned(), Owner { shard: shard.id, version: 1 }))
    };
    lows.iter().enumerate().filter_map(deal).collect()
}

/// The fewest changes, as (slot, new owner), after which the targets alone own the slots, and none of them more than one more
/// than another. Of the slots that may go, those go that their new owners want most.
pub(super) fn evened_out(owners: &[ShardId], targets: &[&ShardName]) -> Vec<(u16, ShardId)> {
    if targets.is_empty() {
        return Vec::new();
    }
    let count = |id: ShardId| owners.iter().filter(|&&owner| owner == id).count();
    let mut sorted: Vec<(usize, &ShardName)> = targets.iter().map(|shard| (count(shard.id), *shard)).collect();
    sorted.sort_by_key(|(count, shard)| (std::cmp::Reverse(*count), shard.id));
    let (each, rest) = (owners.len() / sorted.len(), owners.len() % sorted.len());
    // Those that have most keep the one more.
    let quotas = (0..).zip(&sorted).map(|(at, &(count, shard))| (count, shard, each + usize::from(at < rest)));
    let mut surplus: Vec<(ShardId, usize)> = Vec::new();
    let mut lacking: Vec<(&ShardName, usize)> = Vec::new();
    for (count, shard, quota) in quotas {
        surplus.push((shard.id, count.saturating_sub(quota)));
        if count < quota {
            lacking.push((shard, quota - count));
        }
    }
    let mut wishes: Vec<(u64, u16, usize)> = Vec::new();
    for (slot, owner) in (0..).zip(owners) {
        // Who isn't among the targets gives everything.
        if surplus.iter().all(|(id, spare)| id != owner || *spare > 0) {
            wishes.extend((0..).zip(&lacking).map(|(at, (shard, _))| (weight(slot, shard), slot, at)));
        }
    }
    wishes.sort_unstable_by_key(|&(weight, slot, at)| (std::cmp::Reverse(weight), slot, at));
    let mut gone = vec![false; owners.len()];
    let mut moves = Vec::new();
    for (_, slot, at) in wishes {
        let (Some(gone), Some(owner)) = (gone.get_mut(usize::from(slot)), owners.get(usize::from(slot))) else {
            continue;
        };
        let spare = surplus.iter_mut().find(|(id, _)| id == owner).map(|(_, spare)| spare);
        if *gone || lacking[at].1 == 0 || spare.as_ref().is_some_and(|spare| **spare == 0) {
            continue;
        }
        if let Some(spare) = spare {
            *spare -= 1;
        }
        *gone = true;
        lacking[at].1 -= 1;
        moves.push((slot, lacking[at].0.id));
    }
    moves.sort_unstable();
    moves
}
