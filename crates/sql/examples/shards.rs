//! Counters that are spread over several PostgreSQL databases, whose URLs are the arguments:
//! `cargo run -p meshwork-sql --example shards postgres://user@127.0.0.1/one postgres://user@127.0.0.1/two`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use meshwork_sql::dialect::postgres::not_foreign;
use meshwork_sql::shards::{self, Shard, ShardOptions, Shards, SpaceSpec, Strategy, slot_of};
use meshwork_sql::{Component, Place, PostgresOptions};
use sqlx::{AssertSqlSafe, Row as _};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("examples/shards/migrations");

/// Each shard has the tables of its map beside those of the program.
const TABLES: &[Component] = &[shards::COMPONENT, Component { name: "counters", migrator: &MIGRATOR }];

/// The space of the counters' names.
const COUNTERS: i16 = 0;

/// Counts up in the database that owns the name. It may be asked again elsewhere, after it was refused.
async fn count_up(shard: Arc<Shard<()>>, place: Place, name: String) -> Result<i64, meshwork_sql::Error> {
    let places = [place];
    let counted = shard.db.write_at(&places, name, |connection, name| {
        Box::pin(async move {
            let sql = "INSERT INTO counter (name, slot, n) VALUES ($1, $2, 1) \
                 ON CONFLICT (name) DO UPDATE SET n = counter.n + 1 RETURNING n";
            let query = sqlx::query(sql).bind(name.as_str()).bind(i32::from(slot_of(name)));
            Ok::<i64, meshwork_sql::Error>(query.fetch_one(connection).await?.try_get(0)?)
        })
    });
    counted.await
}

/// The counters that a database owns: without those that lie there because they are being moved.
async fn list(shard: Arc<Shard<()>>) -> Result<Vec<(String, i64)>, meshwork_sql::Error> {
    let owned = not_foreign("c.slot", "c.name", COUNTERS);
    let sql = format!("SELECT c.name, c.n FROM counter c WHERE {owned} ORDER BY c.name LIMIT 100");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(shard.db.reader()).await?;
    rows.iter().map(|row| Ok::<_, meshwork_sql::Error>((row.try_get(0)?, row.try_get(1)?))).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Vec::new();
    for (id, url) in (0_u16..).zip(std::env::args().skip(1)) {
        options.push(ShardOptions { id, name: format!("shard {id}"), postgres: PostgresOptions::new(url) });
    }
    if options.is_empty() {
        return Err("name the URLs of one or more PostgreSQL databases".into());
    }
    let spaces = [SpaceSpec { id: COUNTERS, name: "counters", strategy: Strategy::Hash }];
    let shards = Shards::open(&options, TABLES, &spaces, |_, _| ()).await?;
    println!("{} shards at epoch {}", shards.shards().len(), shards.map().epoch());

    for name in ["apples", "pears", "plums", "apples"] {
        let counted = shards.route(COUNTERS, name, |shard, place| Box::pin(count_up(shard, place, name.to_owned())));
        let n = counted.await?;
        let (owner, place) = shards.locate(COUNTERS, name)?;
        println!("{name}: {n}, in slot {} of {}", place.piece, owner.name);
    }
    for (_, name, counters) in shards.gather(Duration::from_secs(2), |shard| Box::pin(list(shard))).await {
        match counters {
            Ok(counters) => println!("{name} has {counters:?}"),
            Err(error) => println!("{name} is missing: {error}"),
        }
    }
    Ok(())
}
