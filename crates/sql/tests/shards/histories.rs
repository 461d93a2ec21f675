//! Maps of several databases whose owners change them, each knowing what it knows.

use meshwork_sql::shards::{PieceInfo, ShardMap, SpaceSpec, Strategy};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

const SHARDS: [(u16, &str); 4] = [(0, "a"), (1, "b"), (2, "c"), (3, "d")];

/// What one database does.
#[derive(Clone, Debug)]
enum Act {
    /// Gives one of its pieces away. The new owner hears of it later.
    Give { space: i16, from: usize, which: usize, to: usize },
    /// Splits the range around a key, if it owns that.
    Split { at: String, by: usize },
    /// Hears what another one knows.
    Hear { by: usize, of: usize },
}

fn act() -> impl proptest::strategy::Strategy<Value = Act> {
    prop_oneof![
        (0_i16..2, 0_usize..4, 0_usize..2000, 0_usize..4).prop_map(|(space, from, which, to)| Act::Give {
            space,
            from,
            which,
            to
        }),
        ("[a-z]{1,2}", 0_usize..4).prop_map(|(at, by)| Act::Split { at, by }),
        (0_usize..4, 0_usize..4).prop_map(|(by, of)| Act::Hear { by, of }),
    ]
}

/// The maps of the four databases after what they have done.
fn after(acts: &[Act]) -> Vec<ShardMap> {
    let splits = vec!["g".to_owned(), "n".to_owned()];
    let spaces = [
        SpaceSpec { id: 0, name: "hashed", strategy: Strategy::Hash },
        SpaceSpec { id: 1, name: "ranges", strategy: Strategy::Range { splits } },
    ];
    let mut maps = vec![ShardMap::seed(&SHARDS, &spaces).unwrap(); 4];
    for act in acts {
        match act {
            Act::Give { space, from, which, to } => {
                let own = SHARDS[*from].0;
                let owned: Vec<PieceInfo> = maps[*from].pieces(*space).filter(|info| info.shard == own).collect();
                if !owned.is_empty() {
                    let piece = owned[which % owned.len()].piece;
                    maps[*from] = maps[*from].with_owner(*space, piece, SHARDS[*to].0).unwrap();
                }
            }
            Act::Split { at, by } => {
                let is_own = maps[*by].locate(1, at).unwrap().shard == SHARDS[*by].0;
                // A point that is there already is refused.
                if is_own && let Ok(split) = maps[*by].with_split(1, at) {
                    maps[*by] = split;
                }
            }
            Act::Hear { by, of } => {
                let of = maps[*of].clone();
                let merged = maps[*by].reconcile(&of);
                assert!(merged.disagreements.is_empty(), "{merged:?}");
            }
        }
    }
    maps
}

fn merged(one: &ShardMap, other: &ShardMap) -> ShardMap {
    let mut merged = one.clone();
    let outcome = merged.reconcile(other);
    assert!(outcome.disagreements.is_empty(), "{outcome:?}");
    assert_eq!(outcome.changed, merged != *one);
    merged.check().unwrap();
    merged
}

proptest! {
    #[test]
    fn sh_maps_merge_in_any_order(acts in proptest::collection::vec(act(), 0..60)) {
        let maps = after(&acts);
        let (a, b, c) = (&maps[0], &maps[1], &maps[2]);
        prop_assert_eq!(merged(a, a), a.clone());
        prop_assert_eq!(merged(a, b), merged(b, a));
        prop_assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
        prop_assert_eq!(merged(&merged(a, b), b), merged(a, b));
    }

    /// Whoever has given a piece away knows it, and whoever owns it by all that is known is the only one who may think so.
    #[test]
    fn sh_no_two_databases_own_a_key(
        acts in proptest::collection::vec(act(), 0..60),
        keys in proptest::collection::vec("[a-z]{1,3}", 1..20),
    ) {
        let maps = after(&acts);
        let all = maps.iter().skip(1).fold(maps[0].clone(), |all, map| merged(&all, map));
        for key in &keys {
            for space in [0, 1] {
                let owners: Vec<u16> = (0..4)
                    .filter(|&at| maps[at].locate(space, key).unwrap().shard == SHARDS[at].0)
                    .map(|at| SHARDS[at].0)
                    .collect();
                prop_assert!(owners.len() <= 1, "{} is owned by {:?}", key, owners);
                if let [owner] = owners[..] {
                    prop_assert_eq!(all.locate(space, key).unwrap().shard, owner);
                }
            }
        }
    }
}

#[test]
fn maps_that_disagree_say_so_and_keep_their_own() {
    let map = after(&[]).remove(0);
    let piece = map.pieces(0).find(|info| info.shard == 0).unwrap().piece;
    let (mut one, other) = (map.with_owner(0, piece, 1).unwrap(), map.with_owner(0, piece, 2).unwrap());
    let before = one.clone();
    let outcome = one.reconcile(&other);
    assert!(!outcome.changed);
    assert_eq!(outcome.disagreements.len(), 1, "{outcome:?}");
    assert!(outcome.disagreements[0].contains(&format!("slot {piece}")), "{outcome:?}");
    assert_eq!(one, before);
    assert!(!one.merge(&other));
}

#[test]
fn sh_maps_of_two_systems_never_merge() {
    let (mut one, other) = (after(&[]).remove(0), after(&[]).remove(0));
    let piece = other.pieces(0).find(|info| info.shard == 0).unwrap().piece;
    let (before, newer) = (one.clone(), other.with_owner(0, piece, 1).unwrap());
    let outcome = one.reconcile(&newer);
    assert!(!outcome.changed);
    assert_eq!(outcome.disagreements.len(), 1, "{outcome:?}");
    assert_eq!(one, before);
    assert_ne!(one.mark(), other.mark());
}

#[test]
fn maps_of_one_epoch_that_differ_have_different_marks() {
    let map = after(&[]).remove(0);
    let of = |shard: u16| map.pieces(0).find(|info| info.shard == shard).unwrap().piece;
    let (one, other) = (map.with_owner(0, of(0), 3).unwrap(), map.with_owner(0, of(1), 3).unwrap());
    assert_eq!(one.epoch(), other.epoch());
    assert_ne!(one.mark(), other.mark());
}
