//! The conformance suite: what every adapter of the stores must do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod catalogue;
mod inventory;
mod orders;
pub mod races;
mod stores;

/// The audit of SQLite.
#[path = "."]
mod sqlite {
    meshwork_sql::dialect!(sqlite);
    mod audit;

    use crate::adapters::store::SqliteStore as Store;
}

/// The audit of PostgreSQL.
#[path = "."]
mod postgres {
    meshwork_sql::dialect!(postgres);
    mod audit;

    use crate::adapters::store::PostgresStore as Store;
}

pub use self::stores::*;

/// Runs the suite; `make` gives two handles of one empty database, as two instances of the service have them.
pub async fn conformance<F>(make: impl Fn() -> F)
where
    F: Future<Output = [Stores; 2]>,
{
    let one = async || {
        let [one, _] = make().await;
        one
    };
    catalogue::conformance(&one).await;
    inventory::conformance(&one).await;
    orders::conformance(&one).await;
    races::conformance(&make).await;
}
