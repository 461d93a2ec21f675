//! Servers that are none of the database's.

use meshwork_sql::{Freshness, Kind, Postgres};

use crate::worlds::{TABLES, World, eventually, find, insert, port, selected};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_replica_url_that_names_another_database_is_never_read_from_or_written_to() {
    let mut world = World::new(2, false);
    let other = world.cluster.database();
    world.options.replicas[1] = world.cluster.replica_url(1, &other);
    let db = Postgres::open(&world.options, TABLES.as_slice()).await.unwrap();
    insert(&db, 1).await.unwrap();
    world.cluster.wait_for_replay(0);
    world.cluster.wait_for_replay(1);
    eventually("the selection of the right one", async || selected(&db) == 1).await;
    eventually("the refusal of the other", async || {
        let problem = db.replicas()[1].problem.clone();
        problem.is_some_and(|problem| problem.contains("another database of the same server; look at its URL"))
    })
    .await;
    assert!(!db.replicas()[1].selected);
    for _ in 0..50 {
        assert_ne!(port(&db, Freshness::Bounded).await, world.replica_port(1));
    }
    assert_eq!(db.replicas()[1].reads, 0);

    world.cluster.primary_mut().kill();
    world.cluster.promote(1);
    let refused = Postgres::open(&world.options, TABLES.as_slice()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    let refused = insert(&db, 2).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    assert!(find(&db, Freshness::Bounded, 1).await.unwrap().0);
    let name = other.rsplit('/').next().unwrap();
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'numbers'";
    assert_eq!(world.cluster.replica(1).sql(name, tables), "0", "it was written to");
}
