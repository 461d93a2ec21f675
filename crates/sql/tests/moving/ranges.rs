//! Ranges are split, and one half moves.

use meshwork_sql::shards::moving::{MoveError, MoveSpec, Step, split};
use meshwork_sql::shards::{PieceRange, range_piece};

use crate::load::{Load, check, fill, keys};
use crate::tables::ACCOUNTS;
use crate::worlds::{World, hash, ranges};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_range_is_split_and_its_upper_half_moves_under_load() {
    let world = World::new(ranges()).await;
    let accounts = fill(&world, 8).await;
    let load = Load::start(&world, &accounts);
    split(&world.shards, ACCOUNTS, "key-03").await.unwrap();
    let piece = range_piece("key-03");
    let half = world.shards.map().pieces(ACCOUNTS).find(|info| info.piece == piece).unwrap();
    assert_eq!(half.range, PieceRange::Keys { low: "key-03".to_owned(), high: Some("key-05".to_owned()) });
    let spec = MoveSpec { space: ACCOUNTS, pieces: vec![piece], from: half.shard, to: 2 };
    world.run(&spec).await.unwrap();
    let map = world.shards.map();
    for (key, moved) in [("key-02", false), ("key-03", true), ("key-04", true), ("key-05", false)] {
        assert_eq!(map.locate(ACCOUNTS, key).unwrap().shard == 2, moved, "{key}");
    }
    check(&world, &load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_range_that_moves_is_not_split_and_a_slot_never_is() {
    let world = World::new(ranges()).await;
    let accounts = fill(&world, 2).await;
    let spec = world.spec(&keys(), 0, 1);
    assert!(world.kill_at(&spec, Step::Follow).await);
    let refused = split(&world.shards, ACCOUNTS, "key-03").await;
    assert!(matches!(refused, Err(MoveError::Pending(_))), "{refused:?}");
    world.run(&spec).await.unwrap();
    let twice = split(&world.shards, ACCOUNTS, "key-05").await;
    assert!(matches!(twice, Err(MoveError::Refused(_))), "{twice:?}");
    check(&world, &accounts).await;
    drop(world);

    let world = World::new(hash()).await;
    let hashed = split(&world.shards, ACCOUNTS, "key-03").await;
    assert!(matches!(hashed, Err(MoveError::Refused(_))), "{hashed:?}");
}
