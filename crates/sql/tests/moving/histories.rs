//! Histories that are long: callers don't wait for them.

use std::time::Duration;

use meshwork_sql::shards::moving::{MoveOptions, MovedTable, Mover, NothingToDrain, Rows, Step};

use crate::load::{fill, keys};
use crate::tables::TABLES;
use crate::worlds::{World, hash};

/// How many events the history has.
const LONG: i64 = 1_500;

/// The tables, whose events are found by their accounts, each within a millisecond.
fn slow() -> &'static [MovedTable] {
    let mut tables = TABLES;
    let events = tables.iter_mut().find(|table| table.table == "events").unwrap();
    events.rows = Rows::Through {
        condition: "t.account IN (SELECT a.id FROM accounts a WHERE {piece}) AND pg_sleep(0.001) IS NOT NULL",
        slot: "a.slot",
        key: "a.id",
    };
    Box::leak(Box::new(tables))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_history_that_takes_longer_than_the_fence_moves() {
    let world = World::new(hash()).await;
    fill(&world, 2).await;
    let spec = world.spec(&keys(), 0, 1);
    let written = format!(
        "INSERT INTO events (account, version, slot, data) SELECT a.id, 1000 + n, a.slot, '\\x01' \
         FROM (SELECT id, slot FROM accounts ORDER BY id LIMIT 1) AS a, generate_series(1, {LONG}) AS n"
    );
    world.sql(0, &written);
    let long = "SELECT count(*) FROM events WHERE version > 1000";
    assert_eq!(world.number(0, long), LONG);
    // All of it takes 1.5 s at the least, and half a second of the fence is left for it.
    let options = MoveOptions { chunk: 200, fence: Duration::from_secs(1), ..MoveOptions::default() };
    let mover = Mover::new(&world.shards, slow(), &NothingToDrain).options(options);
    let report = mover.run(spec, &mut |_| {}).await.unwrap();
    assert!(report.copied >= LONG, "{report:?}");
    let history = "SELECT count(*) FROM events_history WHERE version > 1000";
    assert_eq!(world.number(1, history), LONG);
    assert_eq!(world.number(0, long), LONG, "what the old owner has announced stays there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_history_row_that_gets_another_key_while_it_moves_arrives() {
    let world = World::new(hash()).await;
    fill(&world, 4).await;
    let spec = world.spec(&keys(), 0, 1);
    assert!(world.kill_at(&spec, Step::Follow).await);
    let copied = world.mover(&NothingToDrain).pending().await[0].copied;
    world.sql(
        0,
        "INSERT INTO events (account, version, slot, data) SELECT id, 5000, slot, '\\x02' FROM accounts; \
         UPDATE events SET version = 6000 WHERE version = 5000",
    );
    let renamed = world.number(0, "SELECT count(*) FROM events WHERE version = 6000");
    assert!(renamed > 0);
    let report = world.run(&spec).await.unwrap();
    assert_eq!(report.copied, copied, "it was not followed, and all was copied again");
    assert_eq!(world.number(1, "SELECT count(*) FROM events_history WHERE version = 6000"), renamed);
}
