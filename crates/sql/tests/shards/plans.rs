//! How pieces are dealt out and evened out.

use std::collections::BTreeMap;

use meshwork_sql::shards::plan::{HotCause, sample};
use meshwork_sql::shards::{Move, ShardId, ShardMap, SpaceSpec, Strategy};
use proptest::prelude::*;

/// As many keys as the rules name, which a lookup of nanoseconds allows.
const KEYS: u32 = 1_000_000;

fn names(count: u16) -> Vec<(ShardId, String)> {
    (0..count).map(|id| (id, format!("shard-{id}"))).collect()
}

fn seed(count: u16) -> ShardMap {
    let names = names(count);
    let names: Vec<(ShardId, &str)> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    ShardMap::seed(&names, &[SpaceSpec { id: 0, name: "hashed", strategy: Strategy::Hash }]).unwrap()
}

fn slots(map: &ShardMap) -> BTreeMap<ShardId, usize> {
    let mut counts: BTreeMap<ShardId, usize> = map.shards().iter().map(|shard| (shard.id, 0)).collect();
    for info in map.pieces(0) {
        *counts.get_mut(&info.shard).unwrap() += 1;
    }
    counts
}

fn carried_out(map: &ShardMap, moves: &[Move]) -> ShardMap {
    moves.iter().fold(map.clone(), |map, it| {
        let owner = map.pieces(it.space).find(|info| info.piece == it.piece).unwrap().shard;
        assert_eq!(owner, it.from, "{it:?}");
        assert_ne!(it.from, it.to, "{it:?}");
        map.with_owner(it.space, it.piece, it.to).unwrap()
    })
}

fn spread(counts: impl Iterator<Item = usize>) -> usize {
    let counts: Vec<usize> = counts.collect();
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

/// How many of the keys lie elsewhere.
fn moved_keys(before: &ShardMap, after: &ShardMap) -> u32 {
    let is_moved = |n: &u32| {
        let key = format!("user-{n}");
        before.locate(0, &key).unwrap().shard != after.locate(0, &key).unwrap().shard
    };
    u32::try_from((0..KEYS).filter(is_moved).count()).unwrap()
}

#[test]
fn sh_the_first_map_is_even_and_the_same_for_all() {
    for count in 1..=64 {
        let map = seed(count);
        assert!(spread(slots(&map).into_values()) <= 1, "{count}: {:?}", slots(&map));
    }
    let mut names = names(5);
    names.reverse();
    let names: Vec<(ShardId, &str)> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let spaces = [SpaceSpec { id: 0, name: "hashed", strategy: Strategy::Hash }];
    let (one, other) = (ShardMap::seed(&names, &spaces).unwrap(), seed(5));
    assert_eq!(one.shards(), other.shards());
    assert!(one.pieces(0).eq(other.pieces(0)), "the order of the list counts for nothing");
}

#[test]
fn sh_sixteen_shards_have_about_as_many_keys() {
    let map = seed(16);
    let mut counts = [0_u32; 16];
    for n in 0..KEYS {
        counts[usize::from(map.locate(0, &format!("user-{n}")).unwrap().shard)] += 1;
    }
    let most = f64::from(*counts.iter().max().unwrap());
    let mean = f64::from(KEYS) / 16.0;
    assert!(most / mean <= 1.05, "{counts:?}");
}

#[test]
fn sh_an_eleventh_shard_moves_no_more_than_its_part() {
    let before = seed(10).with_shard(10, "shard-10").unwrap();
    let all: Vec<ShardId> = (0..11).collect();
    let moves = before.plan(&all);
    assert!(moves.iter().all(|it| it.to == 10), "nothing moves between the others");
    let after = carried_out(&before, &moves);
    assert!(spread(slots(&after).into_values()) <= 1, "{:?}", slots(&after));
    let (moved, most) = (f64::from(moved_keys(&before, &after)), 1.1 / 11.0 * f64::from(KEYS));
    assert!(moved > 0.0 && moved <= most, "{moved} of {most}");
}

#[test]
fn sh_a_shard_that_goes_moves_no_more_than_its_part() {
    let before = seed(11);
    let rest: Vec<ShardId> = (0..11).filter(|id| *id != 4).collect();
    let moves = before.plan(&rest);
    assert!(moves.iter().all(|it| it.from == 4), "nothing moves between the others");
    let after = carried_out(&before, &moves);
    assert_eq!(slots(&after)[&4], 0);
    assert!(spread(slots(&after).into_iter().filter(|(id, _)| *id != 4).map(|(_, count)| count)) <= 1);
    let (moved, most) = (f64::from(moved_keys(&before, &after)), 1.1 / 11.0 * f64::from(KEYS));
    assert!(moved > 0.0 && moved <= most, "{moved} of {most}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sh_plans_are_balanced_and_minimal(
        shards in 1_u16..12,
        scattered in proptest::collection::vec((0_i32..1024, 0_u16..12), 0..200),
        wanted in proptest::collection::btree_set(0_u16..12, 1..12),
    ) {
        let mut map = seed(shards);
        for (piece, to) in scattered {
            map = map.with_owner(0, piece, to % shards).unwrap();
        }
        let target: Vec<ShardId> = wanted.into_iter().filter(|id| *id < shards).collect();
        let moves = map.plan(&target);
        if target.is_empty() {
            prop_assert!(moves.is_empty());
            return Ok(());
        }
        let before = slots(&map);
        let after = slots(&carried_out(&map, &moves));
        let of_target = after.iter().filter(|(id, _)| target.contains(id)).map(|(_, count)| *count);
        prop_assert_eq!(of_target.clone().sum::<usize>(), 1024);
        prop_assert!(spread(of_target) <= 1, "{:?}", after);
        // Whoever ends with fewer has given them, and nobody who ends with more has.
        let given: usize = before.iter().map(|(id, count)| count.saturating_sub(after[id])).sum();
        prop_assert_eq!(moves.len(), given);
        // The fewest possible: those with most keep the one more.
        let mut counts: Vec<usize> = target.iter().map(|id| before[id]).collect();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let quota = |at: usize| 1024 / target.len() + usize::from(at < 1024 % target.len());
        let kept: usize = counts.iter().enumerate().map(|(at, count)| (*count).min(quota(at))).sum();
        prop_assert_eq!(moves.len(), 1024 - kept);
        prop_assert!(carried_out(&map, &moves).plan(&target).is_empty(), "what is even stays");
    }
}

#[test]
fn ranges_leave_who_goes_and_otherwise_stay() {
    let splits = ["c", "f", "i", "l", "o", "r"].map(str::to_owned).to_vec();
    let spaces = [SpaceSpec { id: 1, name: "ranges", strategy: Strategy::Range { splits } }];
    let map = ShardMap::seed(&[(0, "a"), (1, "b"), (2, "c")], &spaces).unwrap();
    let owners: Vec<ShardId> = map.pieces(1).map(|info| info.shard).collect();
    assert!(owners.is_sorted(), "ranges are dealt in blocks: {owners:?}");
    assert!(map.plan(&[0, 1, 2]).is_empty());
    let moves = map.plan(&[0, 2]);
    let of_one = owners.iter().filter(|owner| **owner == 1).count();
    assert_eq!(moves.len(), of_one);
    assert!(moves.iter().all(|it| it.from == 1 && [0, 2].contains(&it.to)), "{moves:?}");
    let after = carried_out(&map, &moves);
    let count = |shard: ShardId| after.pieces(1).filter(|info| info.shard == shard).count();
    assert!(count(0).abs_diff(count(2)) <= 1);
}

#[test]
fn a_sample_proposes_even_ranges() {
    // Scrambled, so that what comes last isn't what is greatest.
    let keys: Vec<String> = (0_u32..4000).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let plan = sample(&keys, 8);
    assert_eq!(plan.splits.len(), 7);
    assert!(plan.hot.is_empty(), "{:?}", plan.hot);
    let in_range = |at: usize| {
        let is_from = |key: &&String| at == 0 || plan.splits[at - 1] <= **key;
        keys.iter().filter(is_from).filter(|key| plan.splits.get(at).is_none_or(|high| *key < high)).count()
    };
    for at in 0..8 {
        assert!((400..=600).contains(&in_range(at)), "range {at} has {} of 4000", in_range(at));
    }
    let spaces = [SpaceSpec { id: 1, name: "ranges", strategy: Strategy::Range { splits: plan.splits } }];
    ShardMap::seed(&[(0, "a"), (1, "b")], &spaces).unwrap();
}

#[test]
fn a_sample_names_a_hot_tail_and_a_crowd() {
    let counted: Vec<String> = (0..1000).map(|n| format!("order-{n:06}")).collect();
    let plan = sample(&counted, 4);
    assert_eq!(plan.hot.len(), 1, "{:?}", plan.hot);
    assert_eq!((plan.hot[0].cause, &plan.hot[0].high), (HotCause::Tail, &None));

    let mut crowded: Vec<String> = (0_u32..900).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    crowded.extend((0..300).map(|n| format!("4b{n:04}")));
    let plan = sample(&crowded, 4);
    assert_eq!(plan.hot.len(), 1, "{:?}", plan.hot);
    let hot = &plan.hot[0];
    assert_eq!(hot.cause, HotCause::Crowd);
    // A split point lies where the crowd begins: most of it is behind that.
    assert!(
        hot.share > 0.5 && hot.low.starts_with("4b") && hot.high.as_deref().is_some_and(|high| "4b0299" < high),
        "{hot:?}"
    );

    assert_eq!(sample(&[], 4).splits, Vec::<String>::new());
    let same: Vec<String> = (0..100).map(|_| "same".to_owned()).collect();
    assert_eq!(sample(&same, 4).splits, ["same"]);
}
