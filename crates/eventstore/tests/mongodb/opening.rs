//! Opening: what a store keeps from when it was made.

use meshwork_eventstore::mongodb::{DatabaseRange, MongoOptions, MongoServer, OpenError};
use meshwork_eventstore::testing::command;
use meshwork_eventstore::{EventStore, Expected, partition_of};
use meshwork_sql::Migrations;

use crate::World;

#[tokio::test]
async fn a_store_keeps_its_partitions_and_its_commits() {
    let world = World::new(4);
    let made = world.store().await.append(command("kept", Expected::NoStream, "a", 2)).await.unwrap();
    let other = MongoOptions { partitions: 16, ..world.options.clone() };
    let store = MongoServer::open(&other).await.unwrap();
    assert_eq!(store.partitions(), 4);
    assert_eq!(store.read("kept", 0).await.unwrap(), [made.commit]);
}

#[tokio::test]
async fn partitions_live_in_the_databases_that_they_were_given_and_are_not_lost_by_a_setting() {
    let world = World::new(4);
    let name = |suffix: &str| format!("{}_{suffix}", world.options.database);
    let range = |first, last, suffix: &str| DatabaseRange { first, last, database: name(suffix) };
    let spread = MongoOptions { databases: vec![range(0, 1, "a"), range(2, 2, "b")], ..world.options.clone() };
    let store = MongoServer::open(&spread).await.unwrap();
    let client = mongodb::Client::with_uri_str(world.mongo.uri()).await.unwrap();
    for stream in 0..12 {
        let stream = format!("stream-{stream}");
        store.append(command(&stream, Expected::NoStream, "a", 1)).await.unwrap();
        let database = match partition_of(&stream, 4) {
            0 | 1 => name("a"),
            2 => name("b"),
            _ => world.options.database.clone(),
        };
        let commits = client.database(&database).collection::<mongodb::bson::Document>("commits");
        let found = commits.find_one(mongodb::bson::doc! { "s": &stream }).await.unwrap();
        assert!(found.is_some(), "{stream} is not in {database}");
    }
    match MongoServer::open(&world.options).await.map(drop) {
        Err(OpenError::Settings(problem)) => assert!(problem.contains("partition 0"), "{problem}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(MongoServer::open(&spread).await.unwrap().partitions(), 4);
}

#[tokio::test]
async fn mg_5_what_the_server_can_do_is_found_by_trying() {
    let world = World::new(1);
    let store = world.store().await;
    let capabilities = store.server().capabilities();
    assert!(!capabilities.server.is_empty() && !capabilities.topology.is_empty());
    let told = capabilities.to_string();
    assert!(told.contains("unique indexes: enforced"), "{told}");
    if world.mongo.kind() == "FerretDB" {
        assert!(!capabilities.transactions && !capabilities.change_streams, "{told}");
    }
    // Nothing is left behind.
    let client = mongodb::Client::with_uri_str(world.mongo.uri()).await.unwrap();
    let names = client.database(&world.options.database).list_collection_names().await.unwrap();
    assert!(names.iter().all(|name| !name.starts_with("probe")), "{names:?}");
}

#[tokio::test]
async fn who_waits_makes_nothing_and_goes_on_once_the_store_is_there() {
    let world = World::new(4);
    let waiting = MongoOptions { migrations: Migrations::Wait, ..world.options.clone() };
    let pending = async || match MongoServer::open(&waiting).await.map(drop) {
        Err(OpenError::Pending(what)) => what,
        other => panic!("{other:?}"),
    };
    assert!(pending().await.contains(&world.options.database));
    let client = mongodb::Client::with_uri_str(world.mongo.uri()).await.unwrap();
    let database = client.database(&world.options.database);
    assert_eq!(database.list_collection_names().await.unwrap(), Vec::<String>::new());

    let made = world.store().await.append(command("kept", Expected::NoStream, "a", 2)).await.unwrap();
    let before = database.list_collection_names().await.unwrap().len();
    let store = MongoServer::open(&waiting).await.unwrap();
    assert_eq!((store.partitions(), store.read("kept", 0).await.unwrap()), (4, vec![made.commit]));
    assert!(!store.server().capabilities().server.is_empty());
    assert_eq!(database.list_collection_names().await.unwrap().len(), before);

    // An index that a release adds is waited for as well.
    let snapshots = database.collection::<mongodb::bson::Document>("snapshots");
    snapshots.drop_index("latest").await.unwrap();
    assert!(pending().await.contains("latest"));
    MongoServer::open(&world.options).await.unwrap();
    MongoServer::open(&waiting).await.unwrap();
}

#[tokio::test]
async fn a_connection_string_that_is_none_is_told_from_a_server_that_is_away() {
    let options = MongoOptions { migrations: Migrations::Wait, ..MongoOptions::new("mongodb://host:port:port/") };
    assert!(matches!(MongoServer::open(&options).await.map(drop), Err(OpenError::Settings(_))));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_within_bounds() {
    let options = MongoOptions {
        server_selection_timeout: std::time::Duration::from_millis(200),
        ..MongoOptions::new("mongodb://127.0.0.1:1/?directConnection=true")
    };
    assert!(matches!(MongoServer::open(&options).await.map(drop), Err(OpenError::Server(_))));
}
