//! Over shards: where things lie, and what one that is away costs (SH-).

use std::collections::BTreeSet;

use meshwork_chassis::config::{Secret, StrategyConfig};
use meshwork_chassis::request::RequestKey;
use meshwork_sql::Freshness;
use meshwork_testkit::Postgres;
use meshwork_users::adapters::sharded::ShardedStore;
use meshwork_users::adapters::store::{CLAIMS, USERS};
use meshwork_users::ports::{
    ApiKeyStore, Creation, KeyCreation, Renewal, SessionStore, StoreError, UserFilter, UserStore,
};
use meshwork_users::shards::{Space, piece_of, plan, split, status};

use crate::people::{NOW, account, key, name, presented, session, to_name, token, with_email};
use crate::rooms::{NAMES, Room, database, eventually, execute_at, server, shards_at};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_rows_lie_where_the_map_says_and_nowhere_else() {
    let server = server().await;
    for strategy in [StrategyConfig::Hash, StrategyConfig::Range] {
        let room = Room::three(&server, strategy).await;
        let store = room.sharded().await;
        let ids: Vec<_> = ["anna", "bert", "cleo", "nora", "otto", "zoe"].to_vec();
        for (n, id) in (1..).zip(ids.iter().copied()) {
            store.create(account(id), None).await.unwrap();
            assert!(store.open(session(id, n)).await.unwrap());
            assert_eq!(store.create_key(key(id, n)).await.unwrap(), KeyCreation::Created);
        }
        let urls = room.urls();
        let mut shards = BTreeSet::new();
        for id in ids.iter().copied() {
            let at = |space, key: &str| usize::from(store.shards().locate(space, key).unwrap().0.id);
            let (user, claim) = (at(USERS, id), at(CLAIMS, &format!("{id}@example.com")));
            shards.insert(user);
            for (shard, url) in urls.iter().enumerate() {
                // An UPDATE that changes nothing counts rows.
                let count = async |table: &str, column: &str, value: &str| {
                    let sql = format!("UPDATE users.{table} SET slot = slot WHERE {column} = '{value}'");
                    execute_at(url, &sql).await
                };
                for table in ["users", "sessions", "refresh_tokens", "api_keys"] {
                    let column = if table == "users" { "id" } else { "user_id" };
                    assert_eq!(count(table, column, id).await, u64::from(shard == user), "{id} in {table} of {shard}");
                }
                let email = format!("{id}@example.com");
                assert_eq!(count("email_claims", "email_key", &email).await, u64::from(shard == claim), "{email}");
            }
        }
        assert!(shards.len() > 1, "{shards:?}");
        if strategy == StrategyConfig::Range {
            // Neighbours stay together: a below b, c below o, the rest.
            assert_eq!(shards.len(), 3);
        }
    }
}

/// Three shards, the last of them on a server of its own, which can be killed.
async fn with_one_to_kill(strategy: StrategyConfig) -> (Room, Postgres) {
    let server = server().await;
    let own = tokio::task::spawn_blocking(Postgres::private).await.unwrap();
    let urls = [database(&server).await, database(&server).await, own.database()];
    let room = Room::of(Some(&server), |config| {
        config.shards = shards_at(&urls, strategy);
        config.postgres.acquire_timeout = std::time::Duration::from_secs(2);
    });
    (room, own)
}

/// Whether the last shard has the claim on an address.
fn lies_in_last(store: &ShardedStore, email: &str) -> bool {
    store.shards().locate(CLAIMS, email).unwrap().0.name == NAMES[2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_while_a_shard_is_down_accounts_elsewhere_are_served_and_lists_name_it() {
    let (room, mut own) = with_one_to_kill(StrategyConfig::Range).await;
    let store = room.sharded().await;
    // The ranges begin with "", "b" and "o".
    let mut ids = (0..).map(|n| format!("a-{n}"));
    let elsewhere = ids.find(|id| !lies_in_last(&store, &format!("{id}@example.com"))).unwrap();
    for id in [elsewhere.as_str(), "zoe"] {
        assert!(matches!(store.create(account(id), None).await.unwrap(), Creation::Created(_)));
    }
    tokio::task::block_in_place(|| own.kill());

    store.change(&name(&elsewhere), to_name("New")).await.unwrap();
    assert!(store.open(session(&elsewhere, 1)).await.unwrap());
    let renewed = store.renew(presented(&elsewhere, 1), token(2), NOW).await.unwrap();
    assert!(matches!(renewed, Renewal::Renewed(_)), "{renewed:?}");
    let listed = store.list(&UserFilter::default(), 10, None, Freshness::Latest).await.unwrap();
    assert_eq!(listed.unreachable, [NAMES[2]]);
    let ids: Vec<_> = listed.page.items.iter().map(|user| user.name.id()).collect();
    assert_eq!(ids, [elsewhere.as_str()]);
    let away = store.get(&name("zoe"), Freshness::Latest).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    store.prune(NOW, 10).await.unwrap_err();
    // One that starts now begins without it.
    let later = room.sharded().await;
    assert!(later.get(&name(&elsewhere), Freshness::Latest).await.unwrap().is_some());

    tokio::task::block_in_place(|| own.restart());
    for store in [store, later] {
        let back = async || matches!(store.get(&name("zoe"), Freshness::Latest).await, Ok(Some(_)));
        eventually("the shard that came back", back).await;
        let is_whole = async || {
            let listed = store.list(&UserFilter::default(), 10, None, Freshness::Latest).await.unwrap();
            (listed.page.items.len(), listed.unreachable) == (2, Vec::new())
        };
        eventually("lists with the shard that came back", is_whole).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_while_a_shard_is_down_people_sign_up_elsewhere_and_no_address_is_stuck() {
    let (room, mut own) = with_one_to_kill(StrategyConfig::Hash).await;
    let store = room.sharded().await;
    let last = store.shards().shard(2).unwrap().clone();
    let is_of_last = |id: &str| store.shards().locate(USERS, id).unwrap().0.name == NAMES[2];
    let ids: Vec<_> = (0..40).map(|n| format!("id-{n}")).collect();
    let (away, there): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_of_last(id));
    let mut emails = (0..).map(|n| format!("p-{n}@example.com")).filter(|email| !lies_in_last(&store, email));
    let (plain, requested) = (emails.next().unwrap(), emails.next().unwrap());
    tokio::task::block_in_place(|| own.kill());

    // Who has chosen an id in the shard that is away waits for it; their address doesn't.
    let refused = store.create(with_email(&away[0], &plain), None).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let created = store.create(with_email(&there[0], &plain), None).await.unwrap();
    assert!(matches!(created, Creation::Created(_)), "{created:?}");

    // Nor does their request, of those whose own shard is there.
    let request = |n: u32, hash| RequestKey {
        principal: "anonymous".to_owned(),
        method: "CreateUser",
        id: format!("r-{n}"),
        hash: [hash; 32],
    };
    let mut n = 0;
    while store.find_creation(&request(n, 1)).await.is_err() {
        n += 1;
    }
    let refused = store.create(with_email(&away[0], &requested), Some(request(n, 1))).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let created = store.create(with_email(&there[1], &requested), Some(request(n, 2))).await.unwrap();
    assert!(matches!(created, Creation::Created(_)), "{created:?}");

    // Who hasn't chosen one gets one that is in reach.
    eventually("the shard to be known to be away", async || !last.is_reached()).await;
    for email in emails.take(12) {
        let name = store.new_name().unwrap();
        let created = store.create(with_email(name.id(), &email), None).await.unwrap();
        assert!(matches!(created, Creation::Created(_)), "{email}: {created:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_who_lies_elsewhere_signs_in_while_the_shard_of_their_address_is_down() {
    let (room, mut own) = with_one_to_kill(StrategyConfig::Range).await;
    let store = room.sharded().await;
    let email = |id: &str| format!("{id}@example.com");
    let ids: Vec<_> = (0..).map(|n| format!("a-{n}")).filter(|id| lies_in_last(&store, &email(id))).take(3).collect();
    let [anna, deleted, nobody] = ids.as_slice() else { panic!("{ids:?}") };
    for id in [anna, deleted] {
        assert!(matches!(store.create(account(id), None).await.unwrap(), Creation::Created(_)));
    }
    store.change(&name(deleted), Box::new(|user| user.delete(None, NOW).map(Some))).await.unwrap();
    tokio::task::block_in_place(|| own.kill());

    let found = store.find_to_sign_in(&email(anna).parse().unwrap()).await.unwrap();
    assert_eq!(found, Some(account(anna)));
    assert!(store.open(session(anna, 1)).await.unwrap());
    // Who isn't found may be where nobody answers.
    for id in [deleted, nobody] {
        let found = store.find_to_sign_in(&email(id).parse().unwrap()).await;
        assert!(matches!(found, Err(StoreError::Unavailable(_))), "{id}: {found:?}");
    }
    // Nothing else is decided by it.
    let found = store.find_by_email(&email(anna).parse().unwrap()).await;
    assert!(matches!(found, Err(StoreError::Unavailable(_))), "{found:?}");
    let created = store.create(with_email("bert", &email(nobody)), None).await;
    assert!(matches!(created, Err(StoreError::Unavailable(_))), "{created:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_people_are_told_how_the_shards_are_and_split_a_range() {
    let room = Room::three(&server().await, StrategyConfig::Range).await;
    let store = room.sharded().await;
    for id in ["anna", "cleo", "zoe"] {
        store.create(account(id), None).await.unwrap();
    }
    let shards = status(&room.config).await.unwrap();
    let names: Vec<_> = shards.iter().map(|shard| (shard.name.as_str(), shard.problem.clone())).collect();
    assert_eq!(names, NAMES.map(|name| (name, None)));
    // As many slots in each shard as can be, and one range.
    for shard in &shards {
        let counts: Vec<_> = shard.pieces.iter().map(|owned| (owned.space, owned.count)).collect();
        assert!(matches!(counts.as_slice(), [(USERS, 1), (CLAIMS, 341..=342)]), "{counts:?}");
    }
    let (cleo, nora) = ("cleo", "nora");
    let of = async |id: &str| piece_of(&room.config, Space::Users, id).await.unwrap();
    assert_eq!(of(cleo).await, of(nora).await);
    split(&room.config, "m").await.unwrap();
    assert_ne!(of(cleo).await, of(nora).await);
    let again = split(&room.config, "m").await.unwrap_err();
    assert!(again.to_string().contains('m'), "{again}");
    // What knows the map of before goes on.
    store.create(account(nora), None).await.unwrap();
    assert!(store.get(&name(cleo), Freshness::Latest).await.unwrap().is_some());
    let proposed = plan(&room.config).await.unwrap();
    assert_eq!(proposed.splits.len(), 2, "{proposed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_a_database_that_was_the_only_one_becomes_the_first_of_several() {
    let server = server().await;
    let mut room = Room::one(&server).await;
    room.open().await.users.create(account("anna"), None).await.unwrap();
    let urls = [room.urls().remove(0), database(&server).await];
    room.config.postgres.url = Secret::new("");
    room.config.shards = shards_at(&urls, StrategyConfig::Hash);
    let refused = meshwork_users::adapters::stores::open(&room.config).await.err().unwrap();
    assert!(refused.hint.contains("\"main\"") && refused.hint.contains("users.shards"), "{refused}, {}", refused.hint);
    "main".clone_into(&mut room.config.shards.databases[0].name);
    let stores = room.open().await;
    assert!(stores.users.get(&name("anna"), Freshness::Latest).await.unwrap().is_some());
    let planned = plan(&room.config).await.unwrap().moves;
    assert!(!planned.is_empty() && planned.iter().all(|planned| planned.from == "main" && planned.to == NAMES[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_of_a_folder_are_not_left_behind_for_empty_databases() {
    let server = server().await;
    let room = Room::three(&server, StrategyConfig::Hash).await;
    let begun = room.open().await;
    let file = meshwork_users::adapters::store::SqliteStore::open(&room.config.data).await.unwrap();
    drop(file);
    let refused = meshwork_users::adapters::stores::open(&room.config).await.err().unwrap();
    assert!(refused.sentence.contains("holds the accounts"), "{refused}");
    assert!(refused.hint.contains("users.db"), "{}", refused.hint);
    // Where there are accounts, it has moved before.
    begun.users.create(account("anna"), None).await.unwrap();
    let stores = room.open().await;
    assert_eq!(stores.announcing.len(), 3);
    let place = meshwork_users::place(&room.config);
    assert!(NAMES.iter().all(|name| place.contains(&format!("{name} at "))), "{place}");
    // And whoever leaves the databases out once doesn't begin anew.
    let config = meshwork_users::Config { data: room.config.data.clone(), ..Default::default() };
    let refused = meshwork_users::adapters::stores::open(&config).await.err().unwrap();
    assert!(refused.sentence.contains("no URL is set"), "{refused}");
}
