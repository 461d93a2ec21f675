//! What to move so that the pieces are evened out.

use super::map::{PieceRange, Pieces, ShardMap, ShardName};
use super::place::ShardId;
use super::seed::evened_out;

pub use super::sample::{HotCause, HotRange, RangePlan, sample};

/// One piece that is to change its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The space of keys.
    pub space: i16,
    /// The piece.
    pub piece: i32,
    /// Who owns it.
    pub from: ShardId,
    /// Who is to own it.
    pub to: ShardId,
}

impl ShardMap {
    /// The fewest moves after which the shards of `target` own everything, and none more than one slot more than another: a new
    /// shard takes its part from all others, and one that isn't in `target` gives up everything. Ranges aren't evened out, since
    /// their sizes aren't known here ([`sample`]); they only leave who isn't in `target`, for who has the fewest. Shards that the
    /// map doesn't know count for nothing, and without a target nothing moves.
    pub fn plan(&self, target: &[ShardId]) -> Vec<Move> {
        let targets: Vec<&ShardName> = self.shards.iter().filter(|shard| target.contains(&shard.id)).collect();
        let mut moves = Vec::new();
        for space in &self.spaces {
            match &space.pieces {
                Pieces::Slots(slots) => {
                    let owners: Vec<ShardId> = slots.iter().map(|owner| owner.shard).collect();
                    for (slot, to) in evened_out(&owners, &targets) {
                        let from = owners.get(usize::from(slot)).copied().unwrap_or(to);
                        moves.push(Move { space: space.id, piece: i32::from(slot), from, to });
                    }
                }
                Pieces::Ranges(_) => moves.extend(self.leave_ranges(space.id, &targets)),
            }
        }
        moves
    }

    fn leave_ranges(&self, space: i16, targets: &[&ShardName]) -> Vec<Move> {
        let ranges: Vec<_> = self.pieces(space).filter(|info| matches!(info.range, PieceRange::Keys { .. })).collect();
        let owns = |id: ShardId| ranges.iter().filter(|range| range.shard == id).count();
        let mut counts: Vec<(usize, ShardId)> = targets.iter().map(|shard| (owns(shard.id), shard.id)).collect();
        let mut moves = Vec::new();
        for range in &ranges {
            if targets.iter().any(|shard| shard.id == range.shard) {
                continue;
            }
            if let Some(fewest) = counts.iter_mut().min() {
                fewest.0 += 1;
                moves.push(Move { space, piece: range.piece, from: range.shard, to: fewest.1 });
            }
        }
        moves
    }
}
