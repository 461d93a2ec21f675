//! How moves end that don't come to their end: refused, busy, given up.

use std::time::Duration;

use meshwork_sql::shards::moving::{
    MoveError, MoveOptions, MoveProgress, MoveSpec, MovedTable, Mover, Rows, Step, Target, status,
};

use crate::load::{check, fill, keys, touch};
use crate::tables::{ACCOUNTS, TABLES};
use crate::worlds::{Drained, World, eventually, hash};

/// With short fences.
fn options(attempts: u32) -> MoveOptions {
    MoveOptions { fence: Duration::from_secs(1), attempts, ..MoveOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_of_two_movers_one_is_refused() {
    let world = World::new(hash()).await;
    let accounts = fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    let drained = Drained::new(false);
    let first = {
        let (shards, spec, drained) = (world.shards.clone(), spec.clone(), drained.clone());
        tokio::spawn(async move {
            let mover = Mover::new(&shards, &TABLES, &drained).options(options(100));
            mover.run(spec, &mut |_| {}).await
        })
    };
    let fenced = "SELECT count(*) FROM shard_move WHERE phase = 'fence'";
    eventually("a fence", async || world.number(0, fenced) == 1).await;
    let second = world.run(&spec).await;
    assert!(matches!(second, Err(MoveError::Running(_))), "{second:?}");
    drained.release();
    first.await.unwrap().unwrap();
    check(&world, &accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_pieces_whose_events_are_not_out_stay_and_the_move_can_be_given_up() {
    let world = World::new(hash()).await;
    let mut accounts = fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    let never = Drained::new(false);
    let mover = Mover::new(&world.shards, &TABLES, &never).options(options(2));
    let error = mover.run(spec.clone(), &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, MoveError::Busy { fences: 2, .. }), "{error}");
    assert!(error.to_string().contains("events"), "{error}");

    let pending = mover.pending().await;
    assert_eq!(
        (pending.len(), pending[0].pieces.clone(), pending[0].to_name.as_str()),
        (1, spec.pieces.clone(), "east")
    );
    let other = MoveSpec { to: 2, ..spec.clone() };
    let refused = mover.run(other, &mut |_| {}).await;
    assert!(matches!(refused, Err(MoveError::Pending(_))), "{refused:?}");

    mover.abandon(0).await.unwrap();
    assert!(mover.pending().await.is_empty());
    assert!(matches!(mover.resume(0, &mut |_| {}).await, Err(MoveError::Refused(_))));
    touch(&world, &mut accounts).await;
    assert_eq!(world.spec(&keys(), 0, 1), spec);
    // Neither rows nor triggers are left.
    check(&world, &accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_the_fence_of_a_mover_that_is_gone_comes_down_by_itself() {
    let world = World::new(hash()).await;
    let mut accounts = fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    assert!(world.kill_at(&spec, Step::Drain).await);
    let fenced = "SELECT count(*) FROM shard_owned WHERE fenced_until IS NOT NULL";
    assert!(world.number(0, fenced) > 0, "it was killed before its fence was up");
    // Each waits no longer than the fence, and nobody resumes the move.
    touch(&world, &mut accounts).await;
    assert_eq!(world.spec(&keys(), 0, 1), spec);
    world.mover(&Drained::new(true)).resume(0, &mut |_| {}).await.unwrap();
    check(&world, &accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_no_lock_stays_while_a_move_pauses_after_a_fence_that_came_down() {
    let world = World::new(hash()).await;
    let accounts = fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    let drained = Drained::new(true);
    let mover = Mover::new(&world.shards, &TABLES, &drained).options(options(5));
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                 WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid = 19799";
    let (mut gives, mut held) = (0, Vec::new());
    let mut progress = |progress: &MoveProgress| match progress.step {
        Step::Give => {
            gives += 1;
            if gives == 1 {
                world.sql(0, "UPDATE shard_owned SET fenced_until = NULL");
            }
        }
        // It has paused, and sent nothing since.
        Step::Follow if gives == 1 && held.is_empty() => held.push(world.number(0, locks)),
        _ => {}
    };
    mover.run(spec, &mut progress).await.unwrap();
    assert_eq!((gives, held), (2, vec![0]));
    check(&world, &accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_that_can_not_be_made_are_refused_and_leave_nothing() {
    static UNHEARD_OF: [MovedTable; 1] = [MovedTable {
        table: "accounts",
        space: ACCOUNTS,
        primary_key: &["id"],
        rows: Rows::Columns { slot: "slot", key: "id" },
        target: Target::History { table: "events_history", select: "t.id AS account", primary_key: &["account"] },
    }];
    let world = World::new(hash()).await;
    let accounts = fill(&world, 1).await;
    let spec = world.spec(&keys(), 0, 1);
    let piece = spec.pieces[0];
    let drained = Drained::new(true);
    for (wrong, hint) in [
        (MoveSpec { to: 0, ..spec.clone() }, "its beginning and its end"),
        (MoveSpec { to: 9, ..spec.clone() }, "isn't configured"),
        (MoveSpec { from: 2, ..spec.clone() }, "belongs to shard 0"),
        (MoveSpec { pieces: vec![], ..spec.clone() }, "names no piece"),
        (MoveSpec { pieces: vec![piece, piece], ..spec.clone() }, "twice"),
        (MoveSpec { pieces: vec![4711], ..spec.clone() }, "has no piece 4711"),
        (MoveSpec { space: 7, ..spec.clone() }, "has no piece"),
    ] {
        let error = world.mover(&drained).run(wrong, &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, MoveError::Refused(_)), "{error}");
        assert!(error.to_string().contains(hint), "{error} lacks {hint:?}");
    }
    let mover = Mover::new(&world.shards, &UNHEARD_OF, &drained);
    let error = mover.run(spec.clone(), &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("must be a moved table itself"), "{error}");

    // A release that the new owner doesn't have yet.
    world.sql(1, "ALTER TABLE accounts DROP COLUMN name CASCADE");
    let error = world.run(&spec).await.unwrap_err();
    assert!(error.to_string().contains("lacks the column name"), "{error}");
    for shard in 0..3 {
        assert_eq!(world.number(shard, "SELECT count(*) FROM shard_move"), 0);
    }
    check(&world, &accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_move_whose_changes_were_not_all_logged_copies_again() {
    let world = World::new(hash()).await;
    let mut accounts = fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    assert!(world.kill_at(&spec, Step::Follow).await);
    let copied = world.mover(&Drained::new(true)).pending().await[0].copied;
    world.sql(0, "DROP TRIGGER shard_log_sessions ON sessions");
    touch(&world, &mut accounts).await;
    let report = world.run(&spec).await.unwrap();
    assert!(report.copied > copied, "{report:?} after {copied}");
    check(&world, &accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_what_each_shard_owns_and_what_moves() {
    let world = World::new(hash()).await;
    let accounts = fill(&world, 1).await;
    let spec = world.spec(&keys(), 0, 1);
    assert!(world.kill_at(&spec, Step::Follow).await);
    let before = status(&world.shards, &TABLES).await;
    assert_eq!(before.iter().map(|shard| shard.pieces[0].count).sum::<usize>(), 1024);
    assert_eq!(before.iter().map(|shard| shard.name.as_str()).collect::<Vec<_>>(), ["north", "east", "south"]);
    assert_eq!((before[0].moves.len(), before[1].moves.len()), (1, 0));
    assert_eq!((before[0].moves[0].to, before[0].moves[0].phase.as_str()), (1, "follow"));
    assert!(before.iter().all(|shard| shard.problem.is_none() && shard.rows.len() == 5));
    world.run(&spec).await.unwrap();
    let after = status(&world.shards, &TABLES).await;
    assert_eq!(after[0].pieces[0].count, before[0].pieces[0].count - spec.pieces.len());
    assert_eq!(after[1].pieces[0].count, before[1].pieces[0].count + spec.pieces.len());
    assert!(after.iter().all(|shard| shard.moves.is_empty()));
    check(&world, &accounts).await;
}
