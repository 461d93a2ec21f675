//! Accounts behind a cache, over shards: one that hangs keeps nobody from the others, and positions are those of a part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_cache::{Tiers, TiersOptions};
use meshwork_chassis::config::{CacheConfig, StrategyConfig};
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use meshwork_testkit::Postgres;
use meshwork_users::adapters::cached::CachedUsers;
use meshwork_users::adapters::store::SqliteStore;
use meshwork_users::adapters::stores::Stores;
use meshwork_users::domain::{Email, User};
use meshwork_users::ports::{
    Account, ChangeError, Creation, Decide, KeyRenewal, StoreError, UserCursor, UserFilter, UserPage, UserStore,
};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::moving::{Relays, move_account};
use crate::people::{account, name, to_name};
use crate::rooms::{NAMES, Room, database, execute_at, server, shards_at};

/// How many accounts are read at the shard that hangs: more than a cache loads at once.
const MANY: usize = 64;
/// Within this others are read: no load waits for a place that long.
const SOON: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_8_a_shard_that_hangs_keeps_nobody_from_the_accounts_of_others() {
    let server = server().await;
    let own = tokio::task::spawn_blocking(Postgres::private).await.unwrap();
    let urls = [database(&server).await, database(&server).await, own.database()];
    // The ranges begin with "", "b" and "o".
    let room = Room::of(Some(&server), |config| config.shards = shards_at(&urls, StrategyConfig::Range));
    let Stores { users: store, announcing, .. } = room.open().await;
    assert_eq!(["anna", "cleo", "zoe"].map(|id| store.part(&name(id))), [0, 1, 2]);
    let tiers = Tiers::in_process(TiersOptions::default());
    let users = Arc::new(CachedUsers::new(store, &tiers, &CacheConfig::default(), announcing.len()));
    for id in ["anna", "bert", "cleo", "zoe"] {
        users.create(account(id), None).await.unwrap();
    }

    own.freeze();
    let mut hanging = JoinSet::new();
    for n in 0..MANY {
        let users = users.clone();
        hanging.spawn(async move { users.get(&name(&format!("zoe-{n}")), Freshness::Bounded).await });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let read = async |id: &str| {
        let read = tokio::time::timeout(SOON, users.get(&name(id), Freshness::Bounded)).await;
        read.unwrap_or_else(|_| panic!("{id} waits for others")).unwrap().map(|user| user.name)
    };
    for _ in 0..3 {
        for id in ["anna", "bert", "cleo"] {
            assert_eq!(read(id).await, Some(name(id)), "it is cached");
        }
    }
    for n in 0..10 {
        for id in [format!("anna-{n}"), format!("cleo-{n}")] {
            assert_eq!(read(&id).await, None, "it is cold, and nobody's");
        }
    }
    // What is somebody's, and has left the process meanwhile.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(read("bert").await, Some(name("bert")));
    own.thaw();
    hanging.abort_all();
}

/// A store of two parts whose positions are counted: accounts that begin with `a` are in the first.
struct Positioned {
    store: SqliteStore,
    asked: AtomicU64,
}

#[async_trait]
impl UserStore for Positioned {
    async fn find_creation(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        UserStore::find_creation(&self.store, request).await
    }

    async fn create(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        UserStore::create(&self.store, account, request).await
    }

    async fn get(&self, name: &UserName, freshness: Freshness) -> Result<Option<User>, StoreError> {
        UserStore::get(&self.store, name, freshness).await
    }

    async fn find_account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        UserStore::find_account(&self.store, name).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        UserStore::find_by_email(&self.store, email).await
    }

    async fn list(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<UserPage, StoreError> {
        UserStore::list(&self.store, filter, size, after, freshness).await
    }

    async fn change(&self, name: &UserName, decide: Decide) -> Result<User, ChangeError> {
        UserStore::change(&self.store, name, decide).await
    }

    async fn renew_key(&self, name: &UserName) -> Result<KeyRenewal, StoreError> {
        UserStore::renew_key(&self.store, name).await
    }

    async fn erasable(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<UserName>, StoreError> {
        UserStore::erasable(&self.store, before, limit).await
    }

    fn part(&self, name: &UserName) -> usize {
        usize::from(!name.id().starts_with('a'))
    }

    async fn position(&self, name: &UserName) -> Option<WalPosition> {
        let lsn = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        Some(WalPosition { system: u64::try_from(self.part(name)).unwrap(), timeline: 1, lsn })
    }
}

#[tokio::test]
async fn a_load_without_a_token_asks_for_no_position_and_serves_tokens_from_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    for id in ["anna", "bert"] {
        UserStore::create(&store, account(id), None).await.unwrap();
    }
    let store = Arc::new(Positioned { store, asked: AtomicU64::new(0) });
    let tiers = Tiers::in_process(TiersOptions::default());
    let users = CachedUsers::new(store.clone(), &tiers, &CacheConfig::default(), 2);
    let loads = || tiers.stats().kinds[0].loads;
    let asked = || store.asked.load(Ordering::SeqCst);
    let token = users.position(&name("anna")).await.unwrap();
    users.position(&name("anna")).await.unwrap();
    for id in ["anna", "bert"] {
        users.get(&name(id), Freshness::Bounded).await.unwrap().unwrap();
    }
    assert_eq!((loads(), asked()), (2, 2));
    // It was loaded with the second position, which is above the token's.
    users.get(&name("anna"), Freshness::AtLeast(token)).await.unwrap().unwrap();
    assert_eq!((loads(), asked()), (2, 2));
    // That of one part tells nothing of another: a read with a token asks itself.
    let of_bert = WalPosition { system: 1, timeline: 1, lsn: 1 };
    users.get(&name("bert"), Freshness::AtLeast(of_bert)).await.unwrap().unwrap();
    assert_eq!((loads(), asked()), (3, 3));
    users.get(&name("bert"), Freshness::AtLeast(of_bert)).await.unwrap().unwrap();
    assert_eq!((loads(), asked()), (3, 3));
    // One that nobody knows is the primary's to serve, past the cache.
    UserStore::change(&store.store, &name("anna"), to_name("New")).await.unwrap();
    let unknown = users.get(&name("anna"), Freshness::AtLeast(WalPosition::UNKNOWN)).await.unwrap().unwrap();
    assert_eq!((unknown.version, loads(), asked()), (2, 3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sh_what_was_cached_by_the_log_of_one_shard_answers_no_token_of_another_though_their_servers_are_copies() {
    let servers = tokio::task::spawn_blocking(|| {
        let (north, south) = (Postgres::private(), Postgres::private());
        let urls = [north.database(), south.database(), south.database()];
        ((north, south), urls)
    });
    let (_servers, urls) = servers.await.unwrap();
    // The ranges begin with "", "b" and "o".
    let room = Room::of(None, |config| config.shards = shards_at(&urls, StrategyConfig::Range));
    let (one, other) = (room.open().await, room.open().await);
    let instance = |store: &Arc<dyn UserStore>| {
        let tiers = Tiers::in_process(TiersOptions::default());
        CachedUsers::new(store.clone(), &tiers, &CacheConfig::default(), urls.len())
    };
    let (writer, reader) = (instance(&one.users), instance(&other.users));
    let relays = Relays::run(&room.config, one).await;
    let anna = name("anna");
    writer.create(account("anna"), None).await.unwrap();
    // Each goes on to the next file of the log.
    for _ in 0..4 {
        let ahead = "SELECT pg_logical_emit_message(false, 'test', 'ahead'); SELECT pg_switch_wal()";
        execute_at(&urls[0], ahead).await;
    }
    let before = writer.position(&anna).await.unwrap();
    move_account(&room, "anna", NAMES[1]).await;
    // The map that it knows is that of before: it takes the position of the shard that she has left, and finds her in the other.
    let read = reader.get(&anna, Freshness::AtLeast(before)).await.unwrap();
    assert_eq!(read.map(|user| user.version), Some(1));

    let changed = writer.change(&anna, to_name("New")).await.unwrap();
    let token = writer.position(&anna).await.unwrap();
    assert_eq!(token.system, before.system, "the servers are copies");
    assert!(token.lsn < before.lsn, "{token:?} is ahead of {before:?}");
    let read = reader.get(&anna, Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(read, Some(changed));
    relays.end().await;
}
