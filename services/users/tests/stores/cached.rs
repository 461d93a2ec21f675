//! Accounts behind a cache: the same as without it, at most a second late, and nothing of a password.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_cache::{KindStats, LinkState, RedisOptions, RedisRemote, Tiers, TiersOptions};
use meshwork_chassis::cache::Invalidated;
use meshwork_chassis::config::CacheConfig;
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use meshwork_events::Source as _;
use meshwork_testkit::Redis;
use meshwork_users::adapters::cached::{CachedUsers, outdated_by};
use meshwork_users::adapters::store::SqliteStore;
use meshwork_users::domain::{Email, User};
use meshwork_users::ports::{
    Account, ChangeError, Creation, Decide, KeyRenewal, StoreError, UserCursor, UserFilter, UserPage, UserStore,
};
use meshwork_users::testing::conformance_of_users;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::people::{NOW, account, name, to_name};
use crate::rooms::eventually;

/// A store whose readers take what a cache has, where the suite asks for the latest.
struct Recent(CachedUsers);

#[async_trait]
impl UserStore for Recent {
    async fn find_creation(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        self.0.find_creation(request).await
    }

    async fn create(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        self.0.create(account, request).await
    }

    async fn get(&self, name: &UserName, _: Freshness) -> Result<Option<User>, StoreError> {
        self.0.get(name, Freshness::Bounded).await
    }

    async fn find_account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.0.find_account(name).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.0.find_by_email(email).await
    }

    async fn list(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<UserPage, StoreError> {
        self.0.list(filter, size, after, freshness).await
    }

    async fn change(&self, name: &UserName, decide: Decide) -> Result<User, ChangeError> {
        self.0.change(name, decide).await
    }

    async fn renew_key(&self, name: &UserName) -> Result<KeyRenewal, StoreError> {
        self.0.renew_key(name).await
    }

    async fn erasable(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<UserName>, StoreError> {
        self.0.erasable(before, limit).await
    }

    async fn position(&self, name: &UserName) -> Option<WalPosition> {
        self.0.position(name).await
    }
}

/// An instance of the service on a file.
struct Instance {
    store: SqliteStore,
    users: CachedUsers,
    tiers: Tiers,
}

impl Instance {
    async fn on(folder: &TempDir, tiers: Tiers) -> Self {
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let users = CachedUsers::new(Arc::new(store.clone()), &tiers, &CacheConfig::default(), 1);
        Self { store, users, tiers }
    }

    async fn in_process(folder: &TempDir) -> Self {
        Self::on(folder, Tiers::in_process(TiersOptions::default())).await
    }

    /// Reads an account as somebody without a token does.
    async fn read(&self, id: &str) -> Option<User> {
        self.users.get(&name(id), Freshness::Bounded).await.unwrap()
    }

    fn stats(&self) -> KindStats {
        self.tiers.stats().kinds.into_iter().find(|kind| kind.kind == "users").unwrap()
    }

    async fn delete(&self, id: &str) -> User {
        self.users.change(&name(id), Box::new(|user| user.delete(None, NOW).map(Some))).await.unwrap()
    }
}

/// A Redis of the test's own, and how it is reached.
async fn redis() -> (Redis, RedisOptions) {
    let redis = tokio::task::spawn_blocking(|| Redis::private(&[])).await.unwrap();
    let options = RedisOptions::new(redis.url());
    (redis, options)
}

async fn on_redis(options: &RedisOptions) -> Tiers {
    let remote = RedisRemote::connect(options.clone()).unwrap();
    let tiers = Tiers::with_remote(TiersOptions::default(), remote);
    eventually("the link to Redis", async || tiers.state() == Some(LinkState::Up)).await;
    tiers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_behind_a_cache_conform() {
    let folder = tempfile::tempdir().unwrap();
    let make = async || {
        let store = SqliteStore::open(&folder.path().join(uuid::Uuid::new_v4().to_string())).await.unwrap();
        let tiers = Tiers::in_process(TiersOptions::default());
        Arc::new(Recent(CachedUsers::new(Arc::new(store), &tiers, &CacheConfig::default(), 1)))
    };
    conformance_of_users(&make).await;
}

#[tokio::test]
async fn ca_8_what_was_written_is_read_without_asking_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Instance::in_process(&folder).await;
    let anna = account("anna");
    instance.users.create(anna.clone(), None).await.unwrap();
    assert_eq!(instance.read("anna").await, Some(anna.user));
    let changed = instance.users.change(&name("anna"), to_name("New")).await.unwrap();
    assert_eq!(instance.read("anna").await, Some(changed.clone()));
    let stats = instance.stats();
    assert_eq!((stats.loads, stats.local_hits, stats.puts), (0, 2, 2), "{stats:?}");

    // What decides is not asked of the cache.
    let latest = instance.users.get(&name("anna"), Freshness::Latest).await.unwrap();
    assert_eq!(latest, Some(changed));
    assert_eq!(instance.stats().local_hits, 2);
}

#[tokio::test]
async fn ca_5_that_there_is_nobody_is_remembered_until_somebody_is() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Instance::in_process(&folder).await;
    assert_eq!((instance.read("anna").await, instance.read("anna").await), (None, None));
    let stats = instance.stats();
    assert_eq!((stats.loads, stats.local_hits), (1, 1), "{stats:?}");
    let anna = account("anna");
    instance.users.create(anna.clone(), None).await.unwrap();
    assert_eq!(instance.read("anna").await, Some(anna.user));
}

#[tokio::test]
async fn a_read_by_a_token_is_not_answered_by_what_may_be_older() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Instance::in_process(&folder).await;
    UserStore::create(&instance.store, account("anna"), None).await.unwrap();
    assert_eq!(instance.read("anna").await.unwrap().version, 1);
    // Past the cache, as another instance does.
    let changed = UserStore::change(&instance.store, &name("anna"), to_name("New")).await.unwrap();
    let token = WalPosition { system: 7, timeline: 1, lsn: 1 };
    let read = instance.users.get(&name("anna"), Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(read, Some(changed));
}

#[tokio::test]
async fn a_deleted_account_is_kept_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (redis, options) = redis().await;
    let instance = Instance::on(&folder, on_redis(&options).await).await;
    instance.users.create(account("anna"), None).await.unwrap();
    assert!(instance.read("anna").await.is_some());
    let deleted = instance.delete("anna").await;
    let before = instance.stats().loads;
    for loads in 1..=3 {
        assert_eq!(instance.read("anna").await.as_ref(), Some(&deleted), "who may see it does");
        assert_eq!(instance.stats().loads, before + loads);
    }
    let held = everything(&redis).await;
    assert!(!held.contains("anna@example.com") && !held.contains("Person anna"), "{held}");
}

#[tokio::test]
async fn nothing_of_a_password_is_cached() {
    let folder = tempfile::tempdir().unwrap();
    let (redis, options) = redis().await;
    let instance = Instance::on(&folder, on_redis(&options).await).await;
    instance.users.create(account("anna"), None).await.unwrap();
    UserStore::create(&instance.store, account("bert"), None).await.unwrap();
    assert!(instance.read("bert").await.is_some() && instance.read("anna").await.is_some());
    instance.users.find_to_sign_in(&"anna@example.com".parse().unwrap()).await.unwrap().unwrap();
    let held = everything(&redis).await;
    assert!(held.contains("anna@example.com") && held.contains("bert@example.com"), "{held}");
    assert!(!held.contains("$hash"), "{held}");
}

/// All keys and texts in Redis.
async fn everything(redis: &Redis) -> String {
    let mut connection = redis.connection();
    tokio::task::spawn_blocking(move || {
        let keys = connection.command(&["KEYS", "*"]);
        let mut held = keys.clone();
        for key in keys.lines() {
            if connection.command(&["TYPE", key]) == "string" {
                held.push_str(&connection.command(&["GET", key]));
            }
        }
        held
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn ca_7_another_instance_sees_a_change_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (_redis, options) = redis().await;
    let one = Instance::on(&folder, on_redis(&options).await).await;
    let other = Instance::on(&folder, on_redis(&options).await).await;
    one.users.create(account("anna"), None).await.unwrap();
    assert_eq!(other.read("anna").await.unwrap().version, 1);
    for version in 2..=20 {
        let writer = if version % 2 == 0 { &one } else { &other };
        let changed = writer.users.change(&name("anna"), to_name(&format!("Anna {version}"))).await.unwrap();
        assert_eq!(changed.version, version);
        let seen = async {
            while one.read("anna").await.as_ref() != Some(&changed)
                || other.read("anna").await.as_ref() != Some(&changed)
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(1), seen).await.expect("both see it within a second");
    }
}

#[tokio::test]
async fn ca_3_every_event_names_the_account_that_it_makes_outdated() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Instance::in_process(&folder).await;
    instance.users.create(account("anna"), None).await.unwrap();
    instance.users.change(&name("anna"), to_name("New")).await.unwrap();
    instance.delete("anna").await;
    let outbox = instance.store.outbox();
    let mut outdated = Vec::new();
    for partition in outbox.partitions() {
        outdated.extend(outbox.read(partition, 1, 10).await.unwrap().events.iter().filter_map(outdated_by));
    }
    let anna = |version| Invalidated { kind: "users", key: "anna".to_owned(), version, tags: &[] };
    // Of who is gone nothing stays, whatever its version.
    assert_eq!(outdated, [anna(Some(1)), anna(Some(2)), anna(None)]);
}
