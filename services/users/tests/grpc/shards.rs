//! A service whose accounts lie in three databases.

use std::collections::{BTreeMap, HashMap};

use meshwork_api::meshwork::users::v1::{ListUsersRequest, UpdateUserRequest, User};
use meshwork_chassis::config::{Migrations, Secret, ShardConfig, ShardsConfig};
use meshwork_chassis::{CancellationToken, Health};
use meshwork_events::SqliteBus;
use meshwork_events::testing::{lane, read_all};
use meshwork_testkit::Postgres;
use meshwork_users::{Config, migrate, serve};

use crate::world::{World, config_in, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_two_instances_serve_the_accounts_of_three_databases_and_publish_what_happens() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let database = |(id, name): (u16, &str)| {
        let url = tokio::task::block_in_place(|| server.database());
        ShardConfig { id, name: name.to_owned(), url: Secret::new(url), replicas: Vec::new() }
    };
    let databases: Vec<_> = [(0, "a"), (1, "b"), (2, "c")].into_iter().map(database).collect();
    let shards = ShardsConfig { databases, ..ShardsConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let settings = || {
        let mut config = Config { shards: shards.clone(), ..config_in(folder.path()) };
        config.postgres.max_connections = 6;
        config
    };
    // Both have the keys and the bus of one folder.
    let (first, second) = tokio::join!(
        World::start_as(tempfile::tempdir().unwrap(), settings()),
        World::start_as(tempfile::tempdir().unwrap(), settings())
    );

    let mut people = Vec::new();
    for _ in 0..6 {
        people.push(first.customer().await);
    }
    let staff = first.staff().await;
    for person in &people {
        let new = User { name: person.name(), display_name: "New".to_owned(), ..User::default() };
        let update = UpdateUserRequest { user: Some(new), ..UpdateUserRequest::default() };
        // Whoever signed them up, both know them.
        second.users.clone().update_user(person.asks(update)).await.unwrap();
    }
    let request = ListUsersRequest { page_size: 3, ..ListUsersRequest::default() };
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListUsersRequest { page_token: token, ..request.clone() };
        let page = second.users.clone().list_users(staff.asks(request)).await.unwrap().into_inner();
        assert_eq!(page.unreachable, Vec::<String>::new());
        listed.extend(page.users.into_iter().map(|user| user.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed.len(), 10, "four first accounts and six people: {listed:?}");
    let mut unique = listed.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 10, "{listed:?}");

    let lanes = HashMap::from([("users".to_owned(), 12)]);
    let bus = SqliteBus::open_with(&first.config.bus, &lanes).await.unwrap();
    let published = async || {
        let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for partition in 0..12 {
            for event in read_all(bus.as_ref(), &lane("users", partition)).await {
                versions.entry(event.subject).or_default().push(event.version);
            }
        }
        versions
    };
    let expected: Vec<_> = people.iter().map(|person| (person.name(), vec![1, 2])).collect();
    eventually("all that happened to be published", async || {
        let published = published().await;
        expected.iter().all(|(name, versions)| published.get(name) == Some(versions))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_one_that_waits_serves_once_its_databases_have_tables_and_a_map() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let database = |(id, name): (u16, &str)| {
        let url = tokio::task::block_in_place(|| server.database());
        ShardConfig { id, name: name.to_owned(), url: Secret::new(url), replicas: Vec::new() }
    };
    let databases: Vec<_> = [(0, "a"), (1, "b")].into_iter().map(database).collect();
    let shards = ShardsConfig { databases, ..ShardsConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { shards, migrations: Migrations::Wait, ..config_in(folder.path()) };
    config.postgres.max_connections = 6;
    let (health, shutdown) = (Health::new(), CancellationToken::new());
    let served = tokio::spawn(serve(config.clone(), health.clone(), shutdown.clone()));
    let told = async || health.report().unmet.iter().any(|what| what.contains("not at this release yet"));
    eventually("what it waits for", told).await;
    // It applies, though the settings say that who serves waits.
    assert!(!migrate(&config).await.unwrap().is_empty());
    eventually("the service", async || health.is_ready()).await;
    shutdown.cancel();
    served.await.unwrap().unwrap();
}
