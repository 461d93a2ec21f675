//! What is dropped when its time is over, and isn't while it is being moved.

use meshwork_sql::Postgres;
use meshwork_sql::replay::postgres as replay;
use meshwork_sql::replay::{RETENTION, Request};
use meshwork_sql::shards::COMPONENT;
use sqlx::{AssertSqlSafe, Row as _};

use crate::worlds::{KEYS, World, hash, range};

async fn answer(db: &Postgres, id: &str, slot: i64, key: &str) {
    let request = Request { principal: "anna".to_owned(), method: "Add", id: id.to_owned(), hash: [1; 32] };
    let stored = db.write((request, slot, key.to_owned()), |connection, (request, slot, key)| {
        Box::pin(async move { replay::store_placed(connection, request, b"1", KEYS, *slot, key).await })
    });
    stored.await.unwrap();
}

async fn execute(db: &Postgres, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(db.reader()).await.unwrap();
}

async fn kept(db: &Postgres) -> Vec<String> {
    let rows = sqlx::query("SELECT request_id FROM replay ORDER BY request_id").fetch_all(db.reader()).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn sh_answers_that_are_being_moved_here_are_left_to_their_owner() {
    for (strategy, foreign) in [
        (hash(), "(space, piece, slot) VALUES (0, 7, 7)"),
        (range(), "(space, piece, low, high) VALUES (0, 7, 'key-2', 'key-4')"),
    ] {
        let world = World::new(strategy, 1);
        let components = [COMPONENT, replay::COMPONENT, replay::PLACED];
        let db = Postgres::open(&world.options[0].postgres, &components).await.unwrap();
        execute(&db, format!("INSERT INTO shard_foreign {foreign}")).await;
        answer(&db, "moving", 7, "key-30").await;
        answer(&db, "own", 8, "key-50").await;
        execute(&db, format!("UPDATE replay SET stored_at = stored_at - {} - 10", RETENTION.as_secs())).await;
        answer(&db, "next", 8, "key-50").await;
        assert_eq!(kept(&db).await, ["moving", "next"]);
        execute(&db, "DELETE FROM shard_foreign".to_owned()).await;
        answer(&db, "the one after", 8, "key-50").await;
        assert_eq!(kept(&db).await, ["next", "the one after"]);
    }
}
