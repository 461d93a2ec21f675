//! Maps by themselves: where keys are, and what is refused.

use meshwork_sql::shards::{Located, MapError, PieceRange, SLOTS, ShardMap, SpaceSpec, Strategy};
use proptest::prelude::*;

const SHARDS: [(u16, &str); 3] = [(0, "north"), (1, "east"), (7, "south")];

fn hashed(id: i16) -> SpaceSpec {
    SpaceSpec { id, name: "hashed", strategy: Strategy::Hash }
}

fn ranges(id: i16, splits: &[&str]) -> SpaceSpec {
    let splits = splits.iter().map(|&split| split.to_owned()).collect();
    SpaceSpec { id, name: "ranges", strategy: Strategy::Range { splits } }
}

fn map() -> ShardMap {
    ShardMap::seed(&SHARDS, &[hashed(0), ranges(1, &["g", "n", "t"])]).unwrap()
}

fn holds(range: &PieceRange, key: &str) -> bool {
    match range {
        PieceRange::Slot(slot) => meshwork_sql::shards::slot_of(key) == *slot,
        PieceRange::Keys { low, high } => low.as_str() <= key && high.as_ref().is_none_or(|high| key < high.as_str()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sh_locate_agrees_with_the_pieces(
        splits in proptest::collection::btree_set("[a-z]{1,6}", 0..20),
        keys in proptest::collection::vec("\\PC{0,12}", 1..50),
    ) {
        let splits: Vec<&str> = splits.iter().map(String::as_str).collect();
        let map = ShardMap::seed(&SHARDS, &[hashed(0), ranges(1, &splits)]).unwrap();
        for key in keys.iter().map(String::as_str).chain(splits.iter().copied()) {
            for space in [0, 1] {
                let holding: Vec<_> = map.pieces(space).filter(|info| holds(&info.range, key)).collect();
                prop_assert_eq!(holding.len(), 1, "{} is in one piece", key);
                let Located { shard, place } = map.locate(space, key).unwrap();
                prop_assert_eq!((place.space, place.piece, place.version), (space, holding[0].piece, holding[0].version));
                prop_assert_eq!(shard, holding[0].shard);
            }
        }
    }

    #[test]
    fn a_map_is_read_as_it_was_written(
        splits in proptest::collection::btree_set("\\PC{1,6}", 0..20),
        moves in proptest::collection::vec((0_i32..1024, 0_usize..3), 0..40),
    ) {
        let splits: Vec<&str> = splits.iter().map(String::as_str).collect();
        let mut map = ShardMap::seed(&SHARDS, &[hashed(0), ranges(1, &splits)]).unwrap();
        for (piece, to) in moves {
            map = map.with_owner(0, piece, SHARDS[to].0).unwrap();
        }
        let read = ShardMap::from_json(&map.to_json()).unwrap();
        prop_assert_eq!(&read, &map);
        prop_assert_eq!(read.mark(), map.mark());
        let by_serde: ShardMap = serde_json::from_str(&serde_json::to_string(&map).unwrap()).unwrap();
        prop_assert_eq!(by_serde, map);
    }
}

#[test]
fn each_change_of_an_owner_raises_the_version_and_the_epoch() {
    let map = map();
    let before = map.locate(0, "somebody").unwrap();
    let to = SHARDS.iter().map(|shard| shard.0).find(|id| *id != before.shard).unwrap();
    let moved = map.with_owner(0, before.place.piece, to).unwrap();
    let after = moved.locate(0, "somebody").unwrap();
    assert_eq!((after.shard, after.place.version), (to, before.place.version + 1));
    assert_eq!(moved.epoch(), map.epoch() + 1);
    let others = |map: &ShardMap| map.pieces(0).filter(|info| info.piece != before.place.piece).collect::<Vec<_>>();
    assert_eq!(others(&moved), others(&map));
}

#[test]
fn a_split_keeps_the_owner_and_raises_both_halves() {
    let map = map();
    let split = map.with_split(1, "p").unwrap();
    let (low, high) = (split.locate(1, "o").unwrap(), split.locate(1, "p").unwrap());
    let before = map.locate(1, "o").unwrap();
    assert_eq!((low.shard, high.shard), (before.shard, before.shard));
    assert_eq!((low.place.version, high.place.version), (2, 2));
    assert_eq!(low.place.piece, before.place.piece);
    assert_ne!(high.place.piece, before.place.piece);
    assert_eq!(split.locate(1, "t").unwrap(), map.locate(1, "t").unwrap());
}

#[test]
fn what_can_not_be_changed_is_refused() {
    let map = map();
    assert_eq!(map.with_owner(0, 3, 99), Err(MapError::UnknownShard(99)));
    assert_eq!(map.with_owner(9, 3, 0), Err(MapError::UnknownSpace(9)));
    for piece in [-1, i32::from(SLOTS)] {
        assert_eq!(map.with_owner(0, piece, 1), Err(MapError::UnknownPiece { space: 0, piece }));
    }
    assert_eq!(map.with_owner(1, 12345, 1), Err(MapError::UnknownPiece { space: 1, piece: 12345 }));
    assert!(map.locate(9, "key").is_none());
    assert_eq!(map.pieces(9).count(), 0);
    let long = "x".repeat(257);
    for (space, at) in [(0, "k"), (1, ""), (1, "g"), (1, "a\0"), (1, long.as_str())] {
        assert!(matches!(map.with_split(space, at), Err(MapError::Space { .. })), "{space} {at:?}");
    }
}

#[test]
fn sh_shards_and_splits_that_can_not_be_are_refused() {
    let many: Vec<(u16, String)> = (0..65).map(|id| (id, format!("shard {id}"))).collect();
    let many: Vec<(u16, &str)> = many.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let long = "n".repeat(64);
    let lists: [Vec<(u16, &str)>; 6] =
        [vec![], vec![(0, "a"), (0, "b")], vec![(0, "a"), (1, "a")], vec![(0, "")], vec![(0, long.as_str())], many];
    for shards in lists {
        assert!(matches!(ShardMap::seed(&shards, &[hashed(0)]), Err(MapError::Shards(_))), "{shards:?}");
    }
    for splits in [&["n", "g"][..], &["g", "g"], &["", "g"], &["g\0"]] {
        assert!(matches!(ShardMap::seed(&SHARDS, &[ranges(1, splits)]), Err(MapError::Space { .. })), "{splits:?}");
    }
    let negative = ShardMap::seed(&SHARDS, &[hashed(-1)]).unwrap_err();
    assert!(negative.to_string().contains("negative"), "{negative}");
}

fn written(space: &str) -> String {
    written_of("a6c0d3b2-5d1e-4c53-9f0f-6d1c1c8a2e11", space)
}

fn written_of(system: &str, space: &str) -> String {
    format!(r#"{{"format":1,"system":"{system}","shards":[[0,"a"],[1,"b"]],"spaces":[{{"id":0,"name":"s",{space}}}]}}"#)
}

#[test]
fn sh_a_map_keeps_its_system_and_is_none_without_one() {
    let slots = r#""slots":[[0,1023,0,1]]"#;
    let map = ShardMap::from_json(&written(slots)).unwrap();
    let moved = map.with_owner(0, 5, 1).unwrap();
    assert!(moved.to_json().contains(r#""system":"a6c0d3b2-5d1e-4c53-9f0f-6d1c1c8a2e11""#), "{}", moved.to_json());
    for text in [written_of("", slots), written_of("shop", slots), written(slots).replace("system", "other")] {
        assert!(matches!(ShardMap::from_json(&text), Err(MapError::Unreadable(_))), "{text}");
    }
    let without = r#"{"format":1,"shards":[[0,"a"]],"spaces":[]}"#;
    assert!(matches!(ShardMap::from_json(without), Err(MapError::Unreadable(_))));
}

#[test]
fn sh_gaps_and_overlaps_are_refused() {
    let whole = [
        r#""slots":[[0,511,0,1],[512,1023,1,4]]"#,
        r#""ranges":[["",null,0,1]]"#,
        r#""ranges":[["","g",0,1],["g",null,1,3]]"#,
    ];
    for space in whole {
        ShardMap::from_json(&written(space)).unwrap();
    }
    for (space, says) in [
        (r#""slots":[[0,511,0,1],[513,1023,1,1]]"#, "gap"),
        (r#""slots":[[0,511,0,1],[511,1023,1,1]]"#, "overlap"),
        (r#""slots":[[512,1023,0,1],[0,511,1,1]]"#, "gap"),
        (r#""slots":[[0,1022,0,1]]"#, "1023 slots"),
        (r#""slots":[[0,1024,0,1]]"#, "gap"),
        (r#""slots":[[0,1023,0,0]]"#, "version"),
        (r#""slots":[[0,1023,2,1]]"#, "no shard 2"),
        (r#""ranges":[]"#, "no range"),
        (r#""ranges":[["a",null,0,1]]"#, "gap"),
        (r#""ranges":[["","g",0,1]]"#, "no range"),
        (r#""ranges":[["","g",0,1],["h",null,0,1]]"#, "gap"),
        (r#""ranges":[["","g",0,1],["f",null,0,1]]"#, "overlap"),
        (r#""ranges":[["","n",0,1],["n","g",0,1],["g",null,1,1]]"#, "sorted"),
        (r#""ranges":[["",null,0,1],["g",null,1,1]]"#, "gap"),
        (r#""slots":[[0,1023,0,1]],"ranges":[["",null,0,1]]"#, "either"),
        (r#""other":1"#, "unknown field"),
    ] {
        let refused = ShardMap::from_json(&written(space)).unwrap_err().to_string();
        assert!(refused.contains(says), "{space}: {refused}");
    }
}

#[test]
fn another_format_is_refused_by_its_name() {
    let newer = r#"{"format":2,"anything":{}}"#;
    assert_eq!(ShardMap::from_json(newer), Err(MapError::Format(2)));
    for text in ["", "[]", "{}", r#"{"format":"1"}"#] {
        assert!(matches!(ShardMap::from_json(text), Err(MapError::Unreadable(_))), "{text}");
    }
}

#[test]
fn a_space_keeps_its_strategy_and_a_shard_its_name() {
    let map = map();
    assert_eq!(map.with_space(&hashed(0)).unwrap(), map);
    let other = map.with_space(&ranges(0, &["g"])).unwrap_err().to_string();
    assert!(other.contains("by hash in the databases and by range in the configuration"), "{other}");
    assert_eq!(map.with_shard(7, "south").unwrap(), map);
    assert!(map.with_shard(7, "west").is_err());
    assert!(map.with_shard(8, "south").is_err());
    let more = map.with_shard(3, "west").unwrap();
    assert_eq!(more.shards().iter().map(|shard| shard.id).collect::<Vec<_>>(), [0, 1, 3, 7]);
    assert!(more.pieces(0).all(|info| info.shard != 3));
}
