//! Accounts on a primary with replicas that are behind: what was written holds at once (RR-).

use std::time::Duration;

use meshwork_chassis::config::{Secret, StrategyConfig};
use meshwork_sql::Freshness;
use meshwork_testkit::Postgres;
use meshwork_testkit::postgres::Cluster;
use meshwork_users::adapters::stores::Stores;
use meshwork_users::domain::PasswordHash;
use meshwork_users::ports::{Creation, Renewal, UserFilter};

use crate::moving::{Relays, move_account};
use crate::people::{NOW, account, name, presented, session, to_email, to_name, to_password, token};
use crate::rooms::{NAMES, Room, database, eventually, server, shards_at};

/// A primary with two replicas, which count as close whatever they lack, and a store on them.
async fn on_replicas() -> (Cluster, Room, Stores) {
    let cluster = tokio::task::spawn_blocking(|| Postgres::with_replicas(2, false)).await.unwrap();
    let (url, replicas) = tokio::task::block_in_place(|| {
        let url = cluster.database();
        let replicas = cluster.replica_urls(&url);
        (url, replicas)
    });
    let room = Room::of(None, |config| {
        config.postgres.url = Secret::new(url);
        config.postgres.replicas = replicas.into_iter().map(Secret::new).collect();
        config.postgres.max_lag = Duration::from_secs(60);
        config.postgres.max_lag_bytes = 1 << 30;
    });
    let stores = room.open().await;
    (cluster, room, stores)
}

/// Stops both replicas where they are: they have anna as she was made, and are read from.
async fn stand_still(cluster: &Cluster, stores: &Stores) {
    stores.users.create(account("anna"), None).await.unwrap();
    tokio::task::block_in_place(|| {
        for replica in 0..2 {
            cluster.wait_for_replay(replica);
            cluster.pause_replay(replica);
        }
    });
    stores.users.change(&name("anna"), to_name("Changed")).await.unwrap();
    eventually("a replica to be read from", async || {
        let seen = stores.users.get(&name("anna"), Freshness::Bounded).await.unwrap();
        seen.is_some_and(|user| user.version == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_what_an_account_has_become_is_read_by_its_position_while_replicas_are_behind() {
    let (cluster, _room, stores) = on_replicas().await;
    stand_still(&cluster, &stores).await;
    for n in 0..20 {
        let changed = stores.users.change(&name("anna"), to_name(&format!("Anna {n}"))).await.unwrap();
        let position = stores.users.position(&name("anna")).await.expect("there are replicas");
        let seen = stores.users.get(&name("anna"), Freshness::AtLeast(position)).await.unwrap();
        assert_eq!(seen.as_ref(), Some(&changed), "{n}");
        let filter = UserFilter::default();
        let listed = stores.users.list(&filter, 10, None, Freshness::AtLeast(position)).await.unwrap();
        assert_eq!(listed.page.items, [changed], "{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_new_password_an_ended_session_and_a_claimed_address_hold_at_once_while_replicas_are_behind() {
    let (cluster, _room, stores) = on_replicas().await;
    stand_still(&cluster, &stores).await;
    assert!(stores.sessions.open(session("anna", 1)).await.unwrap());
    assert!(stores.sessions.open(session("anna", 2)).await.unwrap());
    stores.sessions.end(presented("anna", 1)).await.unwrap();
    assert_eq!(stores.sessions.renew(presented("anna", 1), token(3), NOW).await.unwrap(), Renewal::Unknown);
    stores.users.change(&name("anna"), to_password("$new")).await.unwrap();
    assert_eq!(stores.sessions.renew(presented("anna", 2), token(3), NOW).await.unwrap(), Renewal::Unknown);
    assert!(!stores.sessions.open(session("anna", 4)).await.unwrap(), "the old password is good no more");
    let anna = stores.users.find_by_email(&"anna@example.com".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(anna.password, PasswordHash::new("$new"));

    stores.users.change(&name("anna"), to_email("new@example.com")).await.unwrap();
    let filter = UserFilter { email: Some("new@example.com".parse().unwrap()), ..UserFilter::default() };
    let listed = stores.users.list(&filter, 10, None, Freshness::Bounded).await.unwrap();
    assert_eq!(listed.page.items.len(), 1, "an address is looked up by its claim");
    let taken = crate::people::with_email("other", "new@example.com");
    assert_eq!(stores.users.create(taken, None).await.unwrap(), Creation::EmailTaken);
    let request = meshwork_chassis::request::RequestKey {
        principal: "anonymous".to_owned(),
        method: "CreateUser",
        id: "r".to_owned(),
        hash: [1; 32],
    };
    let bert = account("bert");
    stores.users.create(bert.clone(), Some(request.clone())).await.unwrap();
    assert_eq!(stores.users.find_creation(&request).await.unwrap(), Some(Creation::Replayed(bert)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_an_account_that_has_moved_to_where_a_replica_is_behind_is_in_every_list() {
    let (server, cluster) = (server().await, tokio::task::spawn_blocking(|| Postgres::with_replicas(1, false)));
    let cluster = cluster.await.unwrap();
    let last = tokio::task::block_in_place(|| cluster.database());
    let urls = [database(&server).await, database(&server).await, last.clone()];
    let room = Room::of(Some(&server), |config| {
        config.shards = shards_at(&urls, StrategyConfig::Range);
        config.shards.databases[2].replicas = cluster.replica_urls(&last).into_iter().map(Secret::new).collect();
        config.postgres.max_lag = Duration::from_secs(60);
        config.postgres.max_lag_bytes = 1 << 30;
    });
    let stores = room.open().await;
    let users = stores.users.clone();
    let relays = Relays::run(&room.config, stores).await;
    // The ranges begin with "", "b" and "o".
    for id in ["anna", "zoe"] {
        users.create(account(id), None).await.unwrap();
    }
    tokio::task::block_in_place(|| {
        cluster.wait_for_replay(0);
        cluster.pause_replay(0);
    });
    users.change(&name("zoe"), to_name("Changed")).await.unwrap();
    eventually("the replica to be read from", async || {
        let seen = users.get(&name("zoe"), Freshness::Bounded).await.unwrap();
        seen.is_some_and(|user| user.version == 1)
    })
    .await;
    move_account(&room, "anna", NAMES[2]).await;
    for _ in 0..10 {
        let listed = users.list(&UserFilter::default(), 10, None, Freshness::Bounded).await.unwrap();
        let ids: Vec<_> = listed.page.items.iter().map(|user| user.name.id()).collect();
        assert_eq!(ids, ["anna", "zoe"]);
    }
    relays.end().await;
}
