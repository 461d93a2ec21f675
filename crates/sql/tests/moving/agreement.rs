//! Both sides agree before a piece changes its owner, whatever was written meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};

use meshwork_sql::shards::moving::{MoveError, NothingToDrain, Step};

use crate::load::{Load, check, fill, keys, touch};
use crate::worlds::{World, hash, ranges};

/// Changes a row at the new owner, such as nobody should, when a move comes to a step: of a history, before its long part is compared.
const TAMPER: [(Step, &str); 4] = [
    (
        Step::Fence,
        "UPDATE accounts SET name = name || '!' WHERE id = (SELECT min(id) FROM accounts JOIN shard_foreign f USING (slot))",
    ),
    (
        Step::Fence,
        "DELETE FROM notes WHERE session = (SELECT min(s.id) FROM sessions s JOIN shard_foreign f USING (slot))",
    ),
    (
        Step::Fence,
        "INSERT INTO sessions (id, account, slot) SELECT 'odd', min(a.id), min(a.slot) FROM accounts a \
     JOIN shard_foreign f USING (slot) HAVING min(a.id) IS NOT NULL",
    ),
    (
        Step::Follow,
        "UPDATE events_history SET data = '\\x00' WHERE (account, version) = (SELECT account, version FROM events_history \
     JOIN shard_foreign f USING (slot) ORDER BY account, version LIMIT 1)",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_row_that_was_tampered_with_is_found_and_copied_again() {
    for (step, tamper) in TAMPER {
        let world = World::new(hash()).await;
        let accounts = fill(&world, 8).await;
        let spec = world.spec(&keys(), 0, 1);
        let times = AtomicU32::new(0);
        let once = |world: &World| {
            if times.fetch_add(1, Ordering::SeqCst) == 0 {
                world.sql(1, tamper);
            }
        };
        let report = world.run_with(&spec, step, once).await.unwrap();
        assert!(report.fences >= 2, "it was not found: {tamper}: {report:?}");
        check(&world, &accounts).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_sides_that_never_agree_leave_the_pieces_with_their_owner() {
    let world = World::new(hash()).await;
    let mut accounts = fill(&world, 8).await;
    let spec = world.spec(&keys(), 0, 1);
    let always = |world: &World| _ = world.sql(1, TAMPER[1].1);
    let error = world.run_with(&spec, Step::Fence, always).await.unwrap_err();
    let MoveError::Differs { table, .. } = &error else { panic!("{error}") };
    assert_eq!(table, "notes");
    assert!(error.to_string().contains("The old owner keeps the pieces"), "{error}");
    touch(&world, &mut accounts).await;
    assert_eq!(world.spec(&keys(), 0, 1), spec, "they have moved all the same");
    world.run(&spec).await.unwrap();
    check(&world, &accounts).await;
}

/// Has changes follow that not every order of writing satisfies. `$a` and `$b` are two of the moved accounts, with sessions.
async fn follow_changes(changes: &[&str]) {
    let world = World::new(ranges()).await;
    fill(&world, 8).await;
    let spec = world.spec(&keys(), 0, 1);
    assert!(world.kill_at(&spec, Step::Follow).await);
    let with_sessions = "SELECT string_agg(account, ' ' ORDER BY account) FROM \
                         (SELECT DISTINCT account FROM sessions LIMIT 2) AS two";
    let ids = world.sql(0, with_sessions);
    let (a, b) = ids.split_once(' ').unwrap();
    let sql: Vec<_> = changes.iter().map(|sql| sql.replace("$a", a).replace("$b", b)).collect();
    world.sql(0, &format!("BEGIN; {}; COMMIT", sql.join("; ")));
    let all = "SELECT string_agg(concat_ws(',', a.id, a.name, s.id), ' ' ORDER BY a.id, s.id) FROM accounts a \
               LEFT JOIN sessions s ON s.account = a.id WHERE a.id < 'key-10'";
    let before = world.sql(0, all);
    world.run(&spec).await.unwrap();
    assert_eq!(world.sql(1, all), before);
    assert_eq!(world.number(0, "SELECT count(*) FROM accounts WHERE id < 'key-10'"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_value_is_exchanged_while_its_rows_move() {
    follow_changes(&[
        "UPDATE accounts SET name = 'between' WHERE id = '$a'",
        "UPDATE accounts SET name = '$a' WHERE id = '$b'",
        "UPDATE accounts SET name = '$b' WHERE id = '$a'",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_value_is_taken_over_from_a_row_that_is_deleted() {
    follow_changes(&[
        "DELETE FROM accounts WHERE id = '$a'",
        "INSERT INTO accounts (id, slot, version, name) SELECT '$b-new', slot, 1, '$a' FROM accounts WHERE id = '$b'",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_change_their_parent_before_it_is_deleted() {
    follow_changes(&[
        "UPDATE sessions SET account = '$b' WHERE account = '$a'",
        "DELETE FROM accounts WHERE id = '$a'",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_log_that_has_become_too_long_ends_and_the_move_copies_again() {
    let world = World::new(hash()).await;
    let mut accounts = fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    assert!(world.kill_at(&spec, Step::Follow).await);
    // The next number is so far from the first one that the log counts as too long.
    world.sql(0, "INSERT INTO shard_log (seq, tab, pk) VALUES (0, 'accounts', '{}')");
    world.sql(0, "SELECT setval('shard_log_seq_seq', 1999999)");
    touch(&world, &mut accounts).await;
    assert_eq!(world.number(0, "SELECT count(*) FROM shard_move WHERE overrun = generation"), 1);
    let logged = world.number(0, "SELECT count(*) FROM shard_log");
    touch(&world, &mut accounts).await;
    assert_eq!(world.number(0, "SELECT count(*) FROM shard_log"), logged, "it is logged on");
    assert!(world.mover(&NothingToDrain).pending().await[0].is_overrun);
    let load = Load::start(&world, &accounts);
    world.run(&spec).await.unwrap();
    check(&world, &load.stop().await).await;
}
