//! A guestbook whose one SQL text serves SQLite and PostgreSQL.
//!
//! `cargo run -p meshwork-sql --example guestbook` keeps it in a file, and with a URL as its argument on a PostgreSQL:
//! `cargo run -p meshwork-sql --example guestbook postgres://user:password@127.0.0.1/database`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::PathBuf;

use meshwork_sql::{Component, Postgres, PostgresOptions, Sqlite};

/// The table, for both drivers. A table whose types differ has a folder of migrations for each.
static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("examples/guestbook/migrations");

const TABLES: Component = Component { name: "guestbook", migrator: &MIGRATOR };

#[path = "guestbook"]
mod sqlite {
    use meshwork_sql::replay::sqlite as replay;

    meshwork_sql::dialect!(sqlite);
    pub mod guests;
}

#[path = "guestbook"]
mod postgres {
    use meshwork_sql::replay::postgres as replay;

    meshwork_sql::dialect!(postgres);
    pub mod guests;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(url) if url.starts_with("postgres://") => {
            let components = [TABLES, meshwork_sql::replay::postgres::COMPONENT];
            let db = Postgres::open(&PostgresOptions::new(url), &components).await?;
            println!("on a server, over at most {} connections", db.stats().max);
            postgres::guests::visit(&db).await
        }
        file => {
            let new = || std::env::temp_dir().join(format!("guests-{}.db", std::process::id()));
            let file = file.map_or_else(new, PathBuf::from);
            let db = Sqlite::open(&file, &[TABLES, meshwork_sql::replay::sqlite::COMPONENT]).await?;
            println!("in {}", file.display());
            sqlite::guests::visit(&db).await
        }
    }
}
