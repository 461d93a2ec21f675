//! Several databases under one map.

use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use meshwork_sql::shards::{self, Shard, ShardMap, ShardOptions, ShardTimes, Shards, SpaceSpec, Strategy, store};
use meshwork_sql::{Component, Error, Place, PostgresOptions, ShardId};
use meshwork_testkit::Postgres as TestServer;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Row as _, SqlStr};

/// The space whose strategy the suite varies.
pub(crate) const KEYS: i16 = 0;
/// A space that is always hashed.
pub(crate) const OTHERS: i16 = 1;

/// Each write of a key notes the version under which it was accepted, by the one clock of the server.
const NOTES: &str = "CREATE TABLE note (key TEXT COLLATE \"C\" NOT NULL, version BIGINT NOT NULL, slot INT NOT NULL, \
     at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())";

/// `note (key, version, slot, at)`, and the tables of a shard.
pub(crate) static ALL: LazyLock<&'static [Component]> = LazyLock::new(|| {
    let migration = Migration::new(1, "of a test".into(), MigrationType::Simple, SqlStr::from_static(NOTES), false);
    let migrator = Box::leak(Box::new(Migrator::with_migrations(vec![migration])));
    let all: &'static [Component] = Box::leak(Box::new([shards::COMPONENT, Component { name: "notes", migrator }]));
    all
});

/// Waits for a condition, at most twenty seconds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// Times under which nothing is refreshed unless it is asked for.
pub(crate) fn left_alone() -> ShardTimes {
    ShardTimes { refresh: Duration::from_secs(3600), ..ShardTimes::default() }
}

pub(crate) fn hash() -> Strategy {
    Strategy::Hash
}

/// Splits between the keys of [`keys`].
pub(crate) fn range() -> Strategy {
    Strategy::Range { splits: ["key-2", "key-4", "key-6", "key-8"].map(str::to_owned).to_vec() }
}

/// A hundred keys: under both strategies there are some in each of up to five shards.
pub(crate) fn keys() -> Vec<String> {
    (0..100).map(|n| format!("key-{n:02}")).collect()
}

/// Databases on a server that the tests share.
pub(crate) struct World {
    _server: Arc<TestServer>,
    pub(crate) options: Vec<ShardOptions>,
    pub(crate) spaces: Vec<SpaceSpec>,
}

impl World {
    pub(crate) fn new(strategy: Strategy, count: u16) -> Self {
        static SHARED: Mutex<Weak<TestServer>> = Mutex::new(Weak::new());
        // It ends with the last test that uses it: nothing that is static is ever dropped.
        let mut shared = SHARED.lock().unwrap();
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(TestServer::start()));
        *shared = Arc::downgrade(&server);
        drop(shared);
        let options = (0..count).map(|id| options(id, server.database())).collect();
        let spaces = vec![
            SpaceSpec { id: KEYS, name: "keys", strategy },
            SpaceSpec { id: OTHERS, name: "others", strategy: Strategy::Hash },
        ];
        Self { _server: server, options, spaces }
    }

    /// The same, for who lists the shards the other way round.
    pub(crate) fn backwards(&self) -> Self {
        let options = self.options.iter().rev().cloned().collect();
        Self { _server: self._server.clone(), options, spaces: self.spaces.clone() }
    }

    /// As another process would open it.
    pub(crate) async fn try_open(&self) -> Result<Shards<()>, Error> {
        self.open_with(ShardTimes::default()).await
    }

    pub(crate) async fn open_with(&self, times: ShardTimes) -> Result<Shards<()>, Error> {
        Shards::open_with(&self.options, *ALL, &self.spaces, |_, _| (), times).await
    }

    /// As another process, which looks at the maps only when it has to.
    pub(crate) async fn open(&self) -> Shards<()> {
        self.open_with(left_alone()).await.unwrap()
    }
}

/// A shard in a database.
pub(crate) fn options(id: ShardId, url: String) -> ShardOptions {
    let postgres =
        PostgresOptions { max_connections: 5, acquire_timeout: Duration::from_secs(1), ..PostgresOptions::new(url) };
    ShardOptions { id, name: format!("shard-{id}"), postgres }
}

/// Writes a key in one database, as its map has it.
pub(crate) async fn write(shard: &Shard<()>, place: Place, key: &str) -> Result<(), Error> {
    let input = (key.to_owned(), place.version);
    shard
        .db
        .write_at(&[place], input, |connection, (key, version)| {
            Box::pin(async move {
                let sql = "INSERT INTO note (key, version, slot) VALUES ($1, $2, $3)";
                let slot = i32::from(shards::slot_of(key));
                sqlx::query(sql).bind(key.as_str()).bind(*version).bind(slot).execute(connection).await?;
                Ok::<_, Error>(())
            })
        })
        .await
}

/// Writes a key where it lives, and returns where that was.
pub(crate) async fn put(shards: &Shards<()>, key: &str) -> Result<ShardId, Error> {
    let key_of = key.to_owned();
    shards
        .route(KEYS, key, move |shard, place| {
            let key = key_of.clone();
            Box::pin(async move { write(&shard, place, &key).await.map(|()| shard.id) })
        })
        .await
}

pub(crate) async fn execute(shard: &Shard<()>, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(shard.db.reader()).await.unwrap();
}

pub(crate) async fn number(shard: &Shard<()>, sql: &str) -> i64 {
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(shard.db.reader()).await.unwrap().get(0)
}

/// How often the database has taken a key.
pub(crate) async fn count(shard: &Shard<()>, key: &str) -> i64 {
    number(shard, &format!("SELECT count(*) FROM note WHERE key = '{key}'")).await
}

pub(crate) async fn install(shard: &Shard<()>, map: &ShardMap) -> ShardMap {
    let mut connection = shard.db.reader().acquire().await.unwrap();
    store::install(&mut connection, shard.id, &shard.name, map).await.unwrap()
}

pub(crate) async fn stored(shard: &Shard<()>) -> Option<ShardMap> {
    let mut connection = shard.db.reader().acquire().await.unwrap();
    store::read(&mut connection).await.unwrap().map(|stored| stored.map)
}

/// Any other shard.
pub(crate) fn other(shards: &Shards<()>, than: ShardId) -> Arc<Shard<()>> {
    shards.shards().iter().find(|shard| shard.id != than).unwrap().clone()
}

/// The owner gives the piece of a key away. The new one has not heard of it yet.
pub(crate) async fn give(shards: &Shards<()>, key: &str, to: ShardId) -> ShardMap {
    let (from, place) = shards.locate(KEYS, key).unwrap();
    let map = shards.map().with_owner(KEYS, place.piece, to).unwrap();
    install(&from, &map).await
}

/// The piece of a key moves, without its rows: first the owner, then the new one.
pub(crate) async fn hand_over(shards: &Shards<()>, key: &str, to: ShardId) {
    let map = give(shards, key, to).await;
    install(shards.shard(to).unwrap(), &map).await;
    shards.refresh().await.unwrap();
}

/// Fences the piece of a key for `micros`, by the clock of its database.
pub(crate) async fn fence(shard: &Shard<()>, place: Place, micros: i64) {
    let Place { space, piece, .. } = place;
    let sql = format!(
        "UPDATE shard_owned SET fenced_until = CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) + {micros} \
         WHERE space = {space} AND piece = {piece}"
    );
    execute(shard, &sql).await;
}
