//! The mover is killed at every step in turn, under load, and resumed.

use meshwork_sql::shards::Strategy;
use meshwork_sql::shards::moving::{MoveError, MoveSpec, NothingToDrain, Step};

use crate::load::{Load, check, fill, keys, touch};
use crate::worlds::{World, hash, ranges};

const STEPS: [Step; 9] = [
    Step::Prepare,
    Step::Copy,
    Step::Follow,
    Step::Fence,
    Step::Rest,
    Step::Compare,
    Step::Drain,
    Step::Give,
    Step::Delete,
];

/// In the order in which a move comes to them.
const POINTS: [&str; 16] = [
    "moving::journaled",
    "moving::cleaned",
    "moving::prepared",
    "moving::brought",
    "moving::chunk",
    "moving::copied",
    "moving::followed",
    "moving::fenced",
    "moving::rested",
    "moving::compared",
    "moving::drained",
    "moving::given",
    "moving::installed",
    "moving::unlogged",
    "moving::deleting",
    "moving::deleted",
];

/// Ranges go the way of slots; they are killed at every step too in the long run, and moved in `ranges.rs` in each.
fn is_full() -> bool {
    std::env::var("MESHWORK_TEST_FULL").is_ok_and(|full| !full.is_empty())
}

async fn killed_at_every_step(strategy: Strategy) {
    let world = World::new(strategy).await;
    let accounts = fill(&world, 8).await;
    let spec = world.spec(&keys(), 0, 1);
    let load = Load::start(&world, &accounts);
    let before = load.written();
    for step in STEPS {
        assert!(world.kill_at(&spec, step).await, "the move did not come to {step}");
    }
    let report = world.run(&spec).await.unwrap();
    assert!(report.copied > 0 && report.deleted > 0, "{report:?}");
    assert!(load.written() > before, "nobody has written meanwhile");
    check(&world, &load.stop().await).await;
    assert!(world.mover(&NothingToDrain).pending().await.is_empty());
    for piece in world.shards.map().pieces(0).filter(|info| spec.pieces.contains(&info.piece)) {
        assert_eq!((piece.shard, piece.version), (1, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_slots_move_under_load_with_a_kill_at_every_step() {
    killed_at_every_step(hash()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_ranges_move_under_load_with_a_kill_at_every_step() {
    if is_full() {
        killed_at_every_step(ranges()).await;
    }
}

async fn stopped_at_every_point(strategy: Strategy) {
    // The build of `cargo xtask test` has crash points.
    if !fail::has_failpoints() {
        return;
    }
    let world = World::new(strategy).await;
    let accounts = fill(&world, 8).await;
    let spec = world.spec(&keys(), 0, 1);
    let load = Load::start(&world, &accounts);
    for point in POINTS {
        fail::cfg(point, "1*return").unwrap();
        let ended = world.run(&spec).await;
        fail::remove(point);
        assert!(matches!(ended, Err(MoveError::Stopped)), "{point}: {ended:?}");
    }
    world.run(&spec).await.unwrap();
    check(&world, &load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_slots_move_under_load_with_a_failure_between_any_two_side_effects() {
    stopped_at_every_point(hash()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_ranges_move_under_load_with_a_failure_between_any_two_side_effects() {
    if is_full() {
        stopped_at_every_point(ranges()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_pieces_move_on_and_back_and_all_events_go_along() {
    let world = World::new(hash()).await;
    let accounts = fill(&world, 8).await;
    let spec = world.spec(&keys(), 0, 1);
    let load = Load::start(&world, &accounts);
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
        let spec = MoveSpec { from, to, ..spec.clone() };
        let report = world.run(&spec).await.unwrap();
        assert!(report.fences >= 1 && report.fenced.is_some(), "{report:?}");
    }
    check(&world, &load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_pieces_that_were_given_have_an_owner_again_though_nobody_resumes_the_move() {
    if !fail::has_failpoints() {
        return;
    }
    let world = World::new(hash()).await;
    let mut accounts = fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    fail::cfg("moving::given", "1*return").unwrap();
    let ended = world.run(&spec).await;
    fail::remove("moving::given");
    assert!(matches!(ended, Err(MoveError::Stopped)), "{ended:?}");
    // Whoever writes reads the maps of all, and brings the newest to the new owner.
    touch(&world, &mut accounts).await;
    world.run(&spec).await.unwrap();
    check(&world, &accounts).await;
}
