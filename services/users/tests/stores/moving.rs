//! Accounts that move from one shard to another while they are used (SH-).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork_chassis::config::StrategyConfig;
use meshwork_chassis::{CancellationToken, bus};
use meshwork_events::{Bus, DeadLetter, Relay};
use meshwork_sql::Freshness;
use meshwork_sql::shards::moving::Handover as _;
use meshwork_users::Config;
use meshwork_users::adapters::handover::DrainedOutbox;
use meshwork_users::adapters::sharded::ShardedStore;
use meshwork_users::adapters::store::USERS;
use meshwork_users::adapters::stores::Stores;
use meshwork_users::domain::{Repeat, TokenSalt};
use meshwork_users::ports::{
    ApiKeyStore, Creation, KeyCreation, NewToken, Renewal, SessionStore, UserFilter, UserStore,
};
use meshwork_users::shards::{MoveRequest, Space, piece_of, run_move};
use tokio::task::JoinHandle;

use crate::people::{NOW, account, key, name, presented, presented_key, session, to_name, to_password, token};
use crate::rooms::{NAMES, Room, eventually, execute_at, execute_in, server};

/// The relays of a service, which end with this.
pub(crate) struct Relays(CancellationToken, Vec<JoinHandle<()>>);

/// The event bus of a room, with lanes for three shards.
async fn bus_of(config: &Config) -> Arc<dyn Bus> {
    bus::open("users", &config.bus, &config.nats, &[("users", 3)]).await.unwrap()
}

impl Relays {
    pub(crate) async fn run(config: &Config, stores: Stores) -> Self {
        let bus = bus_of(config).await;
        let stop = CancellationToken::new();
        let run = |announcing: meshwork_users::adapters::stores::Announcing| {
            let relay = Relay::new(announcing.events, bus.clone(), "users").checkpoint(announcing.inbox);
            let stop = stop.clone();
            tokio::spawn(async move { relay.run(stop).await })
        };
        let running = stores.announcing.into_iter().map(run).collect();
        Self(stop, running)
    }

    pub(crate) async fn end(self) {
        self.0.cancel();
        for relay in self.1 {
            relay.await.unwrap();
        }
    }
}

/// The shard of an account, and another one.
fn shards_of(store: &ShardedStore, id: &str) -> (usize, &'static str) {
    let from = usize::from(store.shards().locate(USERS, id).unwrap().0.id);
    (from, NAMES[(from + 1) % NAMES.len()])
}

pub(crate) async fn move_account(room: &Room, id: &str, to: &str) {
    let pieces = vec![piece_of(&room.config, Space::Users, id).await.unwrap()];
    let request = MoveRequest { space: Space::Users, pieces, to: to.to_owned() };
    let reports = run_move(&room.config, request, &mut |_| {}).await.unwrap();
    assert_eq!(reports.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_all_that_belongs_to_an_account_moves_with_it() {
    let server = server().await;
    for strategy in [StrategyConfig::Hash, StrategyConfig::Range] {
        let room = Room::three(&server, strategy).await;
        let stores = room.open().await;
        let history = stores.history.clone();
        let relays = Relays::run(&room.config, stores).await;
        let store = room.sharded().await;
        let request = meshwork_chassis::request::RequestKey {
            principal: "anonymous".to_owned(),
            method: "CreateUser",
            id: "r".to_owned(),
            hash: [1; 32],
        };
        let anna = account("anna");
        store.create(anna.clone(), Some(request.clone())).await.unwrap();
        for id in ["bert", "cleo", "otto"] {
            store.create(account(id), None).await.unwrap();
        }
        assert!(store.open(session("anna", 1)).await.unwrap());
        // Another session, of which an answer is lost.
        assert!(store.open(session("anna", 11)).await.unwrap());
        let repeat = Repeat { salt: TokenSalt([7; 16]), until: NOW + time::Duration::MINUTE };
        let next = NewToken { repeat: Some(repeat), ..token(12) };
        store.renew(presented("anna", 11), next, NOW).await.unwrap();
        let sessions = store.list_sessions(&name("anna"), 10, None, NOW).await.unwrap();
        for n in [1, 2] {
            assert_eq!(store.create_key(key("anna", n)).await.unwrap(), KeyCreation::Created);
        }
        store.revoke_key(&key("anna", 2).key.name, NOW).await.unwrap();
        let keys = store.list_keys(&name("anna"), 10, None).await.unwrap();
        store.change(&name("anna"), to_name("Anna K")).await.unwrap();
        let (from, to) = shards_of(&store, "anna");
        move_account(&room, "anna", to).await;

        // Its old shard has nothing of it but what it has announced.
        for (table, column) in [
            ("users", "id"),
            ("sessions", "user_id"),
            ("refresh_tokens", "user_id"),
            ("api_keys", "user_id"),
            ("replay", "key"),
        ] {
            let sql = format!("UPDATE users.{table} SET slot = slot WHERE {column} = 'anna'");
            assert_eq!(execute_at(&room.urls()[from], &sql).await, 0, "{table}");
        }
        // What knows the map of before finds it all the same.
        assert_eq!(store.find_creation(&request).await.unwrap(), Some(Creation::Replayed(anna.clone())));
        let found = store.find_by_email(&anna.user.email).await.unwrap().unwrap();
        assert_eq!((found.user.name, found.user.version), (name("anna"), 2));
        assert_eq!(store.list_sessions(&name("anna"), 10, None, NOW).await.unwrap(), sessions);
        assert_eq!(store.list_keys(&name("anna"), 10, None).await.unwrap(), keys);
        let (found, user) = store.find_key(&presented_key("anna", 1)).await.unwrap().unwrap();
        assert_eq!((found, user.version), (key("anna", 1).key, 2));
        assert_eq!(store.create_key(key("anna", 1)).await.unwrap(), KeyCreation::IdTaken);
        store.revoke_key(&key("anna", 1).key.name, NOW).await.unwrap();
        let again = store.renew(presented("anna", 11), token(13), NOW).await.unwrap();
        assert!(matches!(again, Renewal::Repeated(_, first) if first.digest == token(12).digest), "{again:?}");
        let renewed = store.renew(presented("anna", 1), token(2), NOW).await.unwrap();
        assert!(matches!(renewed, Renewal::Renewed(_)), "{renewed:?}");
        store.change(&name("anna"), to_password("$new")).await.unwrap();
        assert_eq!(store.renew(presented("anna", 2), token(3), NOW).await.unwrap(), Renewal::Unknown);
        assert_eq!(store.create(account("anna"), None).await.unwrap(), Creation::IdTaken);
        let told = history.read_stream("users/anna", 0, 10).await.unwrap();
        assert_eq!(told.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2, 3]);
        let listed = store.list(&UserFilter::default(), 10, None, Freshness::Latest).await.unwrap();
        let ids: Vec<_> = listed.page.items.iter().map(|user| user.name.id().to_owned()).collect();
        assert_eq!(ids, ["anna", "bert", "cleo", "otto"]);

        // And on, with what was history already; and home again.
        let (_, next) = shards_of(&store, "anna");
        move_account(&room, "anna", next).await;
        move_account(&room, "anna", NAMES[from]).await;
        let told = history.read_stream("users/anna", 0, 10).await.unwrap();
        assert_eq!(told.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(store.get(&name("anna"), Freshness::Latest).await.unwrap().map(|user| user.version), Some(3));
        let (found, _) = store.find_key(&presented_key("anna", 1)).await.unwrap().unwrap();
        assert_eq!(found.revoke_time, Some(NOW), "it was revoked where it was then");
        relays.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_accounts_that_are_changed_while_they_move_lose_nothing_and_lists_are_whole() {
    let room = Room::three(&server().await, StrategyConfig::Hash).await;
    let stores = room.open().await;
    let history = stores.history.clone();
    let relays = Relays::run(&room.config, stores).await;
    let store = room.sharded().await;
    let ids: Vec<_> = (0..20).map(|n| format!("user-{n:02}")).collect();
    for id in &ids {
        store.create(account(id), None).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers = ids.iter().map(|id| {
        let (store, id, stop) = (store.clone(), id.clone(), stop.clone());
        tokio::spawn(async move {
            let mut version = 1;
            while !stop.load(Ordering::Relaxed) {
                version = store.change(&name(&id), to_name(&format!("Number {version}"))).await.unwrap().version;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            (id, version)
        })
    });
    let writers: Vec<_> = writers.collect();
    let reader = tokio::spawn({
        let (store, stop, count) = (store.clone(), stop.clone(), ids.len());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let listed = store.list(&UserFilter::default(), 100, None, Freshness::Latest).await.unwrap();
                assert_eq!((listed.page.items.len(), listed.unreachable), (count, Vec::new()));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    for id in &ids[..3] {
        let (_, to) = shards_of(&store, id);
        move_account(&room, id, to).await;
    }
    stop.store(true, Ordering::Relaxed);
    reader.await.unwrap();
    let mut versions = BTreeMap::new();
    for writer in writers {
        let (id, version) = writer.await.unwrap();
        versions.insert(id, version);
    }
    for (id, version) in versions {
        let user = store.get(&name(&id), Freshness::Latest).await.unwrap().unwrap();
        assert_eq!(user.version, version, "{id}");
        let told = history.read_stream(&user.name.to_string(), 0, 10_000).await.unwrap();
        let told: Vec<_> = told.iter().map(|event| event.version).collect();
        assert_eq!(told, (1..=version).collect::<Vec<_>>(), "{id}");
    }
    relays.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_an_account_moves_though_all_events_have_aged_on_the_bus() {
    let room = Room::three(&server().await, StrategyConfig::Hash).await;
    let relays = Relays::run(&room.config, room.open().await).await;
    let store = room.sharded().await;
    store.create(account("anna"), None).await.unwrap();
    let (from, to) = shards_of(&store, "anna");
    let from = u16::try_from(from).unwrap();
    let drained = DrainedOutbox::over(store.shards().clone(), bus_of(&room.config).await);
    eventually("her event to be published", async || drained.is_drained(from).await.unwrap()).await;
    // How far they have come is noted at their end, at the latest.
    relays.end().await;
    assert_eq!(execute_in(&room.config.bus.join("bus.db"), "DELETE FROM messages").await, 1);
    assert_eq!(drained.is_drained(from).await, Ok(true));
    move_account(&room, "anna", to).await;
    assert_eq!(store.get(&name("anna"), Freshness::Latest).await.unwrap().map(|user| user.version), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_an_account_moves_though_the_last_events_of_its_shard_are_parked() {
    let room = Room::three(&server().await, StrategyConfig::Hash).await;
    let (stores, bus) = (room.open().await, bus_of(&room.config).await);
    let store = room.sharded().await;
    let drained = DrainedOutbox::over(store.shards().clone(), bus.clone());
    // Nobody relays: what has happened to an event is what happens here.
    for (id, is_given_up) in [("anna", true), ("bert", false)] {
        store.create(account(id), None).await.unwrap();
        let (from, to) = shards_of(&store, id);
        let announcing = &stores.announcing[from];
        let from = u16::try_from(from).unwrap();
        assert_eq!(drained.is_drained(from).await, Ok(false), "{id}");
        let mut own = Vec::new();
        for partition in announcing.events.partitions() {
            own.extend(announcing.events.read(partition, 1, 10).await.unwrap().events);
        }
        own.retain(|event| event.subject == name(id).to_string());
        let [event] = own.as_slice() else { panic!("{own:?}") };
        announcing.inbox.park("users", event, "as a test has it").await.unwrap();
        assert_eq!(drained.is_drained(from).await, Ok(true), "{id} is parked");
        if is_given_up {
            let letter = DeadLetter::id_of("users", &event.subject, event.version);
            assert_eq!(announcing.inbox.discard(letter).await.unwrap().as_ref(), Some(&event.subject));
        } else {
            announcing.inbox.remove(&event.subject, event.version).await.unwrap();
            assert_eq!(drained.is_drained(from).await, Ok(false), "{id} is on its way");
            let lane = meshwork_events::Lane { stream: "users".to_owned(), partition: event.position.partition };
            bus.publisher(&lane).await.unwrap().repair(std::slice::from_ref(event)).await.unwrap();
        }
        assert_eq!(drained.is_drained(from).await, Ok(true), "{id} is done with");
        move_account(&room, id, to).await;
        assert!(store.get(&name(id), Freshness::Latest).await.unwrap().is_some(), "{id}");
    }
}
