//! Routing beside a bare pool: the same statements on the same rows of the same two databases.

use std::sync::Arc;

use meshwork_sql::shards::Shards;
use meshwork_sql::{Error, Freshness};
use meshwork_testkit::Postgres;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::Values;
use crate::accounts::{self, SELECT, SPACE, UPDATE};
use crate::turns::{self, by_turns, per_second};

/// How many operations each caller does in a round.
const READS: usize = 500;
const WRITES: usize = 60;
/// As many connections as a pool of ours has.
const CONNECTIONS: u32 = 20;

/// The two ways to the same rows.
struct World {
    shards: Shards<()>,
    /// A bare pool to each shard's database, in the order of the shards.
    pools: Vec<PgPool>,
}

impl World {
    /// The bare pool to the database that has an account.
    fn pool(&self, id: &str) -> &PgPool {
        let (shard, _) = self.shards.locate(SPACE, id).unwrap();
        &self.pools[usize::from(shard.id)]
    }
}

pub(crate) async fn measure(values: &mut Values) {
    let postgres = tokio::task::spawn_blocking(Postgres::durable).await.unwrap();
    let databases = [postgres.database(), postgres.database()];
    let shards = accounts::spread(&databases).await;
    let mut pools = Vec::new();
    for database in &databases {
        pools.push(PgPoolOptions::new().max_connections(CONNECTIONS).connect(database).await.unwrap());
    }
    let world = Arc::new(World { shards, pools });

    let rates = by_turns(3, async |way| per_second(READS, |caller| reads(world.clone(), way, caller)).await).await;
    turns::add_rate(values, "read_bare_pool", &rates[0]);
    turns::add(values, "read_unrouted", "bare_pool", &rates[1], &rates[0]);
    turns::add(values, "read", "bare_pool", &rates[2], &rates[0]);
    let rates = by_turns(3, async |way| per_second(WRITES, |caller| writes(world.clone(), way, caller)).await).await;
    turns::add_rate(values, "write_bare_pool", &rates[0]);
    turns::add(values, "write_unrouted", "bare_pool", &rates[1], &rates[0]);
    turns::add(values, "write", "bare_pool", &rates[2], &rates[0]);
}

/// One caller's reads: on a bare pool, by `Postgres::read`, by `Shards::route`.
async fn reads(world: Arc<World>, way: usize, caller: usize) {
    let mut random = fastrand::Rng::with_seed(caller as u64);
    for _ in 0..READS {
        let id = accounts::any(&mut random);
        match way {
            0 => {
                let balance: i64 = sqlx::query_scalar(SELECT).bind(&id).fetch_one(world.pool(&id)).await.unwrap();
                assert!(balance >= 0);
            }
            1 => {
                let (shard, _) = world.shards.locate(SPACE, &id).unwrap();
                let read = shard.db.read(Freshness::Latest, id, |connection, id| {
                    Box::pin(async move {
                        Ok::<i64, Error>(sqlx::query_scalar(SELECT).bind(id.as_str()).fetch_one(connection).await?)
                    })
                });
                assert!(read.await.unwrap() >= 0);
            }
            _ => assert!(accounts::read(&world.shards, &id, Freshness::Latest).await.unwrap() >= 0),
        }
    }
}

/// One caller's transactions of one statement: on a bare pool, by `Postgres::write`, by `Shards::route`.
async fn writes(world: Arc<World>, way: usize, caller: usize) {
    let mut random = fastrand::Rng::with_seed(caller as u64);
    for _ in 0..WRITES {
        let id = accounts::any(&mut random);
        match way {
            0 => {
                let mut transaction = world.pool(&id).begin().await.unwrap();
                sqlx::query(UPDATE).bind(&id).execute(&mut *transaction).await.unwrap();
                transaction.commit().await.unwrap();
            }
            1 => {
                let (shard, _) = world.shards.locate(SPACE, &id).unwrap();
                let write = shard.db.write(id, |connection, id| {
                    Box::pin(async move {
                        sqlx::query(UPDATE).bind(id.as_str()).execute(connection).await?;
                        Ok::<(), Error>(())
                    })
                });
                write.await.unwrap();
            }
            _ => accounts::update(&world.shards, &id).await.unwrap(),
        }
    }
}
