//! The servers that tests stand on do what tests take for granted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use meshwork_testkit::{Mongo, Postgres, Redis};
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, IndexModel};

#[test]
fn a_private_postgres_has_databases_and_keeps_them_when_it_is_killed() {
    let mut postgres = Postgres::private();
    let (one, other) = (postgres.database(), postgres.database());
    assert_ne!(one, other);
    let name = one.rsplit('/').next().unwrap().to_owned();
    postgres.sql(&name, "CREATE TABLE t (x int); INSERT INTO t VALUES (7)");
    postgres.kill();
    postgres.restart();
    assert_eq!(postgres.sql(&name, "SELECT x FROM t"), "7");
}

#[test]
fn replicas_replay_what_the_primary_writes_unless_they_are_paused_and_can_be_promoted() {
    let mut cluster = Postgres::with_replicas(2, true);
    let url = cluster.database();
    let name = url.rsplit('/').next().unwrap().to_owned();
    assert!(cluster.replica_urls(&url).iter().all(|replica| replica.ends_with(&name) && *replica != url));
    cluster.primary().sql(&name, "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    cluster.wait_for_replay(0);
    cluster.pause_replay(0);
    cluster.primary().sql(&name, "INSERT INTO t VALUES (2)");
    cluster.wait_for_replay(1);
    let count = "SELECT count(*) FROM t";
    assert_eq!((cluster.replica(0).sql(&name, count), cluster.replica(1).sql(&name, count)), ("1".into(), "2".into()));
    cluster.resume_replay(0);
    cluster.wait_for_replay(0);
    assert_eq!(cluster.replica(0).sql(&name, count), "2");
    cluster.primary_mut().kill();
    let promoted = cluster.most_advanced();
    cluster.promote(promoted);
    cluster.follow(1 - promoted, promoted);
    cluster.replica(promoted).sql(&name, "INSERT INTO t VALUES (3)");
    assert_eq!(cluster.replica(promoted).sql(&name, count), "3");
}

#[tokio::test]
async fn a_private_mongo_enforces_unique_indexes_and_keeps_what_it_acknowledged() {
    let mut mongo = Mongo::private();
    assert!(!mongo.kind().is_empty());
    let database = mongo.database();
    {
        let client = Client::with_uri_str(mongo.uri()).await.unwrap();
        let things = client.database(&database).collection::<Document>("commits");
        let unique = IndexOptions::builder().unique(true).build();
        things.create_index(IndexModel::builder().keys(doc! { "p": 1, "n": 1 }).options(unique).build()).await.unwrap();
        mongo.index(&database);
        things.insert_one(doc! { "_id": "a", "p": 1, "n": 1 }).await.unwrap();
        things.insert_one(doc! { "_id": "b", "p": 1, "n": 1 }).await.unwrap_err();
    }
    mongo.kill();
    mongo.restart();
    let client = Client::with_uri_str(mongo.uri()).await.unwrap();
    let things = client.database(&database).collection::<Document>("commits");
    assert_eq!(things.find_one(doc! { "p": 1, "n": 1 }).await.unwrap(), Some(doc! { "_id": "a", "p": 1, "n": 1 }));
}

#[test]
fn a_private_redis_comes_back_with_what_it_has_saved_last() {
    let redis = Redis::private(&[]);
    redis.connection().command(&["SET", "key", "saved"]);
    redis.save_now();
    redis.connection().command(&["SET", "key", "lost"]);
    redis.connection().command(&["SET", "other", "lost"]);
    redis.kill();
    redis.start_again();
    assert_eq!(redis.connection().command(&["MGET", "key", "other"]).trim_end(), "saved");
}

#[test]
fn a_replica_that_falls_behind_is_promoted_with_what_it_has() {
    let (primary, replica) = (Redis::private(&[]), Redis::private(&[]));
    primary.connection().command(&["SET", "key", "old"]);
    replica.replica_of(&primary);
    replica.fall_behind();
    primary.connection().command(&["SET", "key", "new"]);
    assert!(replica.connection().try_command(&["SET", "key", "refused"]).is_err());
    replica.promote();
    assert_eq!(replica.connection().command(&["GET", "key"]), "old");
    primary.replica_of(&replica);
    assert_eq!(primary.connection().command(&["GET", "key"]), "old");
}
