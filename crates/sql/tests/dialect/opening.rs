//! Migrations: run by many at once, again, by an older release, and edited.

use std::sync::Arc;

use meshwork_sql::{Error, Kind};
use sqlx::Row as _;

use super::World;
use crate::tables;

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let world = World::new();
    for _ in 0..2 {
        assert_eq!(world.migrate(tables::ALL.as_slice()).await, 3);
    }
}

/// As the replicas of a service do that start at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_can_be_opened_by_many_at_once() {
    let world = Arc::new(World::new());
    let opens: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.open_with(tables::ALL.as_slice()).await.map(drop) })
        })
        .collect();
    for open in opens {
        open.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn e9_a_release_runs_on_the_tables_of_the_one_after_it() {
    let world = World::new();
    world.migrate(&tables::newer()).await;
    let db = world.open().await;
    let written = db.write((), |connection, ()| {
        Box::pin(async move {
            sqlx::query("INSERT INTO numbers (n) VALUES (1)").execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    written.await.unwrap();
    let row = sqlx::query("SELECT added FROM numbers").fetch_one(db.reader()).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 7);
}

#[tokio::test]
async fn an_edited_migration_stops_the_start() {
    let world = World::new();
    world.migrate(tables::ALL.as_slice()).await;
    let Err(error) = world.open_with(&tables::edited()).await.map(drop) else { panic!("it was opened") };
    assert!(matches!(error, Error::Migrate { component: "numbers", .. }), "{error}");
    assert_eq!(error.kind(), Kind::Damaged);
}
