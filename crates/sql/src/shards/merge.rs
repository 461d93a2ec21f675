//! Two maps made one: piece by piece, the higher version counts.

use super::map::{MAX_RANGES, Owner, Pieces, Range, ShardMap, ShardName, Space};

/// What a merge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Whether anything was taken over.
    pub changed: bool,
    /// What the maps say differently at the same version, in sentences. There ours was kept. It can't be, unless a database was
    /// put back to an older copy. Of a map of another system nothing is taken over.
    pub disagreements: Vec<String>,
}

impl ShardMap {
    /// Takes over what `other` knows at a higher version, and the shards, spaces and splits that it has more. Returns whether
    /// anything has changed.
    pub fn merge(&mut self, other: &ShardMap) -> bool {
        self.reconcile(other).changed
    }

    /// As [`ShardMap::merge`], and says what they disagree on.
    pub fn reconcile(&mut self, other: &ShardMap) -> Merged {
        let mut merged = Merged::default();
        if self.system != other.system {
            let sentence = format!("they are of different systems, {} and {}", self.system, other.system);
            merged.disagreements.push(sentence);
            return merged;
        }
        for theirs in &other.shards {
            self.take_shard(theirs, &mut merged);
        }
        for theirs in &other.spaces {
            self.take_space(theirs, &mut merged);
        }
        merged
    }

    fn take_shard(&mut self, theirs: &ShardName, merged: &mut Merged) {
        match self.shards.binary_search_by_key(&theirs.id, |shard| shard.id) {
            Ok(at) if self.shards[at].name != theirs.name => {
                let (id, ours) = (theirs.id, &self.shards[at].name);
                merged.disagreements.push(format!("the shard {id} is {ours:?} and {:?}", theirs.name));
            }
            Ok(_) => {}
            Err(at) => {
                self.shards.insert(at, theirs.clone());
                merged.changed = true;
            }
        }
    }

    fn take_space(&mut self, theirs: &Space, merged: &mut Merged) {
        let at = match self.spaces.binary_search_by_key(&theirs.id, |space| space.id) {
            Ok(at) => at,
            Err(at) => {
                self.spaces.insert(at, theirs.clone());
                merged.changed = true;
                return;
            }
        };
        let id = theirs.id;
        match (&mut self.spaces[at].pieces, &theirs.pieces) {
            (Pieces::Slots(ours), Pieces::Slots(theirs)) => {
                for (slot, (ours, theirs)) in ours.iter_mut().zip(theirs).enumerate() {
                    take_owner(ours, theirs, merged, || format!("slot {slot} of the space {id}"));
                }
            }
            (Pieces::Ranges(ours), Pieces::Ranges(theirs)) => {
                let united = unite(ours, theirs, id, merged);
                if united.len() > MAX_RANGES {
                    merged.disagreements.push(format!("the space {id} would have more than {MAX_RANGES} ranges"));
                } else if united != *ours {
                    *ours = united;
                    merged.changed = true;
                }
            }
            _ => merged.disagreements.push(format!("the space {id} is hashed and split into ranges")),
        }
    }
}

fn take_owner(ours: &mut Owner, theirs: &Owner, merged: &mut Merged, piece: impl Fn() -> String) {
    if theirs.version > ours.version {
        *ours = *theirs;
        merged.changed = true;
    } else if theirs.version == ours.version && theirs.shard != ours.shard {
        merged.disagreements.push(disagree(&piece(), ours, theirs));
    }
}

fn disagree(piece: &str, ours: &Owner, theirs: &Owner) -> String {
    format!("at version {}, {piece} is owned by the shards {} and {}", ours.version, ours.shard, theirs.shard)
}

/// Walks over the split points of both. A split raises the versions of both halves, so that whoever knows of it is ahead in
/// both, and a range that isn't split never gets the better of a part of it.
fn unite(ours: &[Range], theirs: &[Range], space: i16, merged: &mut Merged) -> Vec<Range> {
    let mut united: Vec<Range> = Vec::with_capacity(ours.len().max(theirs.len()));
    // Where the range that was taken last begins, in the map that it is of.
    let mut taken: Option<(bool, &str)> = None;
    let (mut at_ours, mut at_theirs) = (0, 0);
    let mut low = "";
    while let (Some(our), Some(their)) = (ours.get(at_ours), theirs.get(at_theirs)) {
        let is_theirs = their.owner.version > our.owner.version;
        if their.owner.version == our.owner.version && their.owner.shard != our.owner.shard {
            merged.disagreements.push(disagree(
                &format!("the key {low:?} of the space {space}"),
                &our.owner,
                &their.owner,
            ));
        }
        let winner = if is_theirs { their } else { our };
        // The same range goes on behind a split point that only the other one has.
        if taken != Some((is_theirs, winner.low.as_str())) {
            united.push(Range::new(low.to_owned(), winner.owner));
            taken = Some((is_theirs, winner.low.as_str()));
        }
        let next_ours = ours.get(at_ours + 1).map(|range| range.low.as_str());
        let next_theirs = theirs.get(at_theirs + 1).map(|range| range.low.as_str());
        let Some(next) = [next_ours, next_theirs].into_iter().flatten().min() else { break };
        at_ours += usize::from(next_ours == Some(next));
        at_theirs += usize::from(next_theirs == Some(next));
        low = next;
    }
    united
}
