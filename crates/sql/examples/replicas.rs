//! Counts visits on a primary, and reads the count from its replicas.
//!
//! `cargo run -p meshwork-sql --example replicas PRIMARY REPLICA …`, each a URL such as `postgres://user:password@127.0.0.1/database`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use meshwork_sql::{Component, Error, Freshness, Postgres, PostgresOptions, WalPosition};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("examples/replicas/migrations");

const TABLES: [Component; 1] = [Component { name: "visits", migrator: &MIGRATOR }];

/// Notes a visit. The position is what a caller hands back with its next reads, to see it: in a header or a cookie, say.
async fn visit(db: &Postgres) -> Result<Option<WalPosition>, Error> {
    db.write((), |connection, ()| {
        Box::pin(async move {
            let sql = "INSERT INTO visit (n) SELECT coalesce(max(n), 0) + 1 FROM visit";
            sqlx::query(sql).execute(connection).await?;
            Ok::<_, Error>(())
        })
    })
    .await?;
    Ok(db.position().await)
}

/// How many visits there were.
async fn visits(db: &Postgres, freshness: Freshness) -> Result<i64, Error> {
    db.read(freshness, (), |connection, ()| {
        Box::pin(async move {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM visit").fetch_one(connection).await?;
            Ok::<_, Error>(count)
        })
    })
    .await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut urls = std::env::args().skip(1);
    let Some(url) = urls.next() else {
        println!("the URL of a primary, and of its replicas, please");
        return Ok(());
    };
    let options = PostgresOptions { replicas: urls.collect(), ..PostgresOptions::new(url) };
    let db = Postgres::open(&options, &TABLES).await?;
    for _ in 0..3 {
        let position = visit(&db).await?;
        // Without replicas there is no position, and everything is the latest.
        let freshness = position.map_or(Freshness::Latest, Freshness::AtLeast);
        println!("visits: {}", visits(&db, freshness).await?);
    }
    // A replica that has just been started may lack the table; one that is behind a little gives an older count.
    match visits(&db, Freshness::Bounded).await {
        Ok(visits) => println!("visits, or a few more: {visits}"),
        Err(error) => println!("not yet: {error}"),
    }
    for replica in db.replicas() {
        let state = replica.problem.unwrap_or_else(|| "is in use".to_owned());
        println!("replica {}: {state}", replica.name);
    }
    Ok(())
}
