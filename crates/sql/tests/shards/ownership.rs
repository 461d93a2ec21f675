//! Entering pieces: who waits for whom.

use std::sync::Arc;

use meshwork_sql::shards::Shards;
use meshwork_sql::{Error, Place};
use tokio::sync::Semaphore;

use crate::worlds::{
    KEYS, OTHERS, World, count, eventually, execute, fence, give, hash, install, number, other, put, stored, write,
};

/// How many sessions of the database wait for the lock of a piece.
const WAITING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
     WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";

#[tokio::test]
async fn sh_who_takes_a_piece_away_waits_for_who_has_entered_it() {
    let world = World::new(hash(), 2);
    let shards = world.open().await;
    let key = "key-05";
    let (from, place) = shards.locate(KEYS, key).unwrap();
    let go_on = Arc::new(Semaphore::new(0));
    let writer = tokio::spawn({
        let (from, go_on) = (from.clone(), go_on.clone());
        async move {
            let places = [place];
            let written = from.db.write_at(&places, go_on, |connection, go_on| {
                Box::pin(async move {
                    let sql = "INSERT INTO note (key, version, slot) VALUES ('key-05', 1, 0)";
                    sqlx::query(sql).execute(connection).await?;
                    go_on.acquire().await.unwrap().forget();
                    Ok::<_, Error>(())
                })
            });
            written.await
        }
    });
    let entered = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid = 19799 AND l.granted";
    eventually("the writer", async || number(&from, entered).await == 1).await;
    let giver = tokio::spawn({
        let (shards, to) = (shards.clone(), other(&shards, from.id).id);
        async move { give(&shards, key, to).await }
    });
    eventually("the wait", async || number(&from, WAITING).await == 1).await;
    // It is still the owner's.
    assert_eq!(stored(&from).await.unwrap(), *shards.map());
    go_on.add_permits(1);
    writer.await.unwrap().unwrap();
    let map = giver.await.unwrap();
    assert_eq!(count(&from, key).await, 1);
    assert_ne!(map.locate(KEYS, key).unwrap().shard, from.id);
    assert!(matches!(write(&from, place, key).await, Err(Error::StaleMap(_))));
}

/// Two places that the first shard owns, one in each space.
fn two_places(shards: &Shards<()>) -> [Place; 2] {
    [KEYS, OTHERS].map(|space| {
        let info = shards.map().pieces(space).find(|info| info.shard == 0).unwrap();
        Place { space, piece: info.piece, version: info.version }
    })
}

#[tokio::test]
async fn sh_all_places_of_a_write_must_be_owned() {
    let world = World::new(hash(), 2);
    let shards = world.open().await;
    let shard = shards.shard(0).unwrap();
    let [one, two] = two_places(&shards);
    let at = async |places: &[Place]| {
        let written = shard.db.write_at(places, (), |connection, ()| {
            Box::pin(async move {
                sqlx::query("INSERT INTO note (key, version, slot) VALUES ('k', 1, 0)").execute(connection).await?;
                Ok::<_, Error>(())
            })
        });
        written.await
    };
    at(&[two, one, two]).await.unwrap();
    at(&[]).await.unwrap();
    assert_eq!(count(shard, "k").await, 2);
    for places in [[one, Place { version: 2, ..two }], [Place { piece: -5, ..one }, two]] {
        assert!(matches!(at(&places).await, Err(Error::StaleMap(_))), "{places:?}");
    }
    fence(shard, two, 3_600_000_000).await;
    assert!(matches!(at(&[one, two]).await, Err(Error::Moving(_))));
    at(&[one]).await.unwrap();
    assert_eq!(count(shard, "k").await, 3, "what was refused has written nothing");
    let entered = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE d.datname = current_database() AND l.locktype = 'advisory'";
    assert_eq!(number(shard, entered).await, 0, "and has locked nothing");
}

#[tokio::test]
async fn a_refused_write_leaves_its_connection_fit_for_the_next() {
    let mut world = World::new(hash(), 2);
    world.options[0].postgres.max_connections = 1;
    let shards = world.open().await;
    let shard = shards.shard(0).unwrap();
    let [place, _] = two_places(&shards);
    let session = number(shard, "SELECT pg_backend_pid()::bigint").await;
    for version in 2..12 {
        assert!(matches!(write(shard, Place { version, ..place }, "k").await, Err(Error::StaleMap(_))));
    }
    write(shard, place, "k").await.unwrap();
    assert_eq!(count(shard, "k").await, 1);
    assert_eq!(number(shard, "SELECT pg_backend_pid()::bigint").await, session, "no connection was made anew");
}

#[tokio::test]
async fn sh_an_older_copy_loses_what_it_had_given_away() {
    let world = World::new(hash(), 2);
    let shards = world.open().await;
    let key = "key-05";
    let (from, place) = shards.locate(KEYS, key).unwrap();
    for table in ["shard_map", "shard_owned", "shard_foreign"] {
        execute(&from, &format!("CREATE TABLE old_{table} AS TABLE {table}")).await;
    }
    crate::worlds::hand_over(&shards, key, other(&shards, from.id).id).await;
    for table in ["shard_map", "shard_owned", "shard_foreign"] {
        execute(&from, &format!("DELETE FROM {table}")).await;
        execute(&from, &format!("INSERT INTO {table} SELECT * FROM old_{table}")).await;
    }
    write(&from, place, key).await.unwrap();
    shards.refresh().await.unwrap();
    assert!(matches!(write(&from, place, key).await, Err(Error::StaleMap(_))));
    assert_eq!(stored(&from).await.unwrap(), *shards.map());
    assert_eq!(put(&shards, key).await.unwrap(), other(&shards, from.id).id);
}

#[tokio::test]
async fn installing_what_is_known_changes_nothing() {
    let world = World::new(hash(), 2);
    let shards = world.open().await;
    let shard = shards.shard(0).unwrap();
    let [place, _] = two_places(&shards);
    fence(shard, place, 3_600_000_000).await;
    assert_eq!(install(shard, &shards.map()).await, *shards.map());
    assert!(matches!(write(shard, place, "k").await, Err(Error::Moving(_))), "the fence stands");
    let owned = shards.map().pieces(KEYS).chain(shards.map().pieces(OTHERS)).filter(|info| info.shard == 0).count();
    assert_eq!(number(shard, "SELECT count(*) FROM shard_owned").await, i64::try_from(owned).unwrap());
    assert_eq!(number(shard, "SELECT count(*) FROM shard_foreign").await, 0);
    assert_eq!(number(shard, "SELECT epoch FROM shard_map").await, 2048);
}
