//! Accounts in a database each, or spread over several: what is measured.

use std::sync::LazyLock;

use meshwork_sql::dialect::postgres::owned;
use meshwork_sql::shards::{ShardId, ShardOptions, Shards, SpaceSpec, Strategy, slot_of};
use meshwork_sql::{Component, Error, Freshness, Postgres, PostgresOptions};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("tests/bench/sql/migrations");
/// The table of accounts.
pub(crate) const TABLES: Component = Component { name: "bench", migrator: &MIGRATOR };
/// The tables of a shard.
static COMPONENTS: [Component; 3] = [TABLES, meshwork_sql::shards::COMPONENT, meshwork_sql::shards::moving::COMPONENT];
/// The space of their ids.
pub(crate) const SPACE: i16 = 0;
/// How many there are.
pub(crate) const COUNT: usize = 100_000;
/// How many are inserted at once.
const CHUNK: usize = 5_000;

/// Reads one.
pub(crate) const SELECT: &str = "SELECT balance FROM account WHERE id = $1";
/// Changes one.
pub(crate) const UPDATE: &str = "UPDATE account SET balance = balance + 1 WHERE id = $1";
/// As [`SELECT`], where its piece is owned.
static SELECT_OWNED: LazyLock<String> = LazyLock::new(|| format!("{SELECT} AND {}", owned(2)));

/// The id of an account.
pub(crate) fn id(at: usize) -> String {
    format!("account-{at:06}")
}

/// The next account that a caller turns to: any of them, in an order that no index or cache knows of.
pub(crate) fn any(random: &mut fastrand::Rng) -> String {
    id(random.usize(..COUNT))
}

/// Spreads accounts over these databases by the hash of their ids.
pub(crate) async fn spread(databases: &[String]) -> Shards<()> {
    let options: Vec<_> = databases
        .iter()
        .enumerate()
        .map(|(at, url)| ShardOptions {
            id: ShardId::try_from(at).unwrap(),
            name: format!("shard-{at}"),
            postgres: PostgresOptions::new(url),
        })
        .collect();
    let spaces = [SpaceSpec { id: SPACE, name: "accounts", strategy: Strategy::Hash }];
    let shards = Shards::open(&options, &COMPONENTS, &spaces, |_, _| ()).await.unwrap();
    for chunk in (0..COUNT).collect::<Vec<_>>().chunks(CHUNK) {
        for shard in shards.shards() {
            let here = chunk.iter().map(|at| id(*at));
            let here = here.filter(|id| shards.locate(SPACE, id).is_ok_and(|(owner, _)| owner.id == shard.id));
            insert(&shard.db, here.collect()).await;
        }
    }
    shards
}

/// Makes the table of accounts in one database, and all accounts in it.
pub(crate) async fn keep(database: &str) -> Postgres {
    let db = Postgres::open(&PostgresOptions::new(database), &[TABLES]).await.unwrap();
    for chunk in (0..COUNT).collect::<Vec<_>>().chunks(CHUNK) {
        insert(&db, chunk.iter().map(|at| id(*at)).collect()).await;
    }
    db
}

async fn insert(db: &Postgres, ids: Vec<String>) {
    let slots: Vec<_> = ids.iter().map(|id| i32::from(slot_of(id))).collect();
    let sql = "INSERT INTO account SELECT id, slot, 0, repeat('n', 100) FROM unnest($1, $2) AS new (id, slot)";
    let done = sqlx::query(sql).bind(ids).bind(slots).execute(db.reader()).await;
    done.unwrap();
}

/// Reads an account where it lives.
pub(crate) async fn read(shards: &Shards<()>, id: &str, freshness: Freshness) -> Result<i64, Error> {
    let read = shards.route(SPACE, id, |shard, place| {
        let id = id.to_owned();
        Box::pin(async move {
            let read = shard.db.read(freshness, (id, place), |connection, (id, place)| {
                Box::pin(async move {
                    let query = sqlx::query_scalar(SELECT_OWNED.as_str()).bind(id.as_str());
                    let query = query.bind(i64::from(place.space)).bind(i64::from(place.piece)).bind(place.version);
                    Ok::<i64, Error>(query.fetch_one(connection).await?)
                })
            });
            read.await
        })
    });
    read.await
}

/// Changes an account where it lives.
pub(crate) async fn update(shards: &Shards<()>, id: &str) -> Result<(), Error> {
    let updated = shards.route(SPACE, id, |shard, place| {
        let id = id.to_owned();
        Box::pin(async move {
            let places = [place];
            let updated = shard.db.write_at(&places, id, |connection, id| {
                Box::pin(async move {
                    sqlx::query(UPDATE).bind(id.as_str()).execute(connection).await?;
                    Ok::<(), Error>(())
                })
            });
            updated.await
        })
    });
    updated.await
}
