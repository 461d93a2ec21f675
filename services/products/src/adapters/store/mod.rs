//! The store: embedded in SQLite, or in PostgreSQL, where many instances of the service share it.
//!
//! The statements are one text for both: `audited.rs`, `catalogue.rs`, `inventory.rs`, `moment.rs`, `reservations.rs`,
//! `stock.rs` and `store.rs` are compiled once for each driver, below the modules that name it.
//!
//! Pieces are moved by conditional updates: no decision rests on a number that was read before and may have changed. The
//! checks of the tables guard the invariants once more, and no outcome is decided by them. Whoever locks rows locks them in
//! one order, so that no two wait for each other: the inbox's row, the reservation, the product, the stocks in the order of
//! the products' ids, the ledger, the answer to a request, the outbox's head. Times that decide are the database's.
//!
//! Reservations with their lines, the ledger and the corrections of stocks are the books of the shop: they are kept for good,
//! on purpose. What the inbox, the outbox and the answers to requests hold has a retention.
//!
//! What only looks may be read from a replica, as fresh as its caller wants. Whatever decides is read from the primary, in the
//! transaction that it decides in: requests, versions, stocks, and what is due.

#[cfg(feature = "ablation")]
mod planted;
mod rows;
mod undo;

#[cfg(feature = "ablation")]
pub use planted::Planted;
pub use postgres::Store as PostgresStore;
pub use sqlite::Store as SqliteStore;

use meshwork_chassis::request::RequestKey;
use meshwork_sql::replay;

use crate::ports::StoreError;

/// What this service is called as a source of events.
const SOURCE: &str = "products";

/// In SQLite: one file.
#[path = "."]
pub mod sqlite {
    meshwork_sql::dialect!(sqlite);
    mod audited;
    mod catalogue;
    mod inventory;
    mod moment;
    #[cfg(test)]
    mod plans;
    mod reservations;
    mod stock;
    mod store;

    pub use store::Store;

    use std::path::{Path, PathBuf};

    use meshwork_events::inbox::sqlite as inbox;
    use meshwork_events::outbox::sqlite as outbox;
    use meshwork_sql::identity::sqlite as identity;
    use meshwork_sql::replay::sqlite as replay;
    use meshwork_sql::{AppliedMigration, Component, Error};
    use sqlx::migrate::Migrator;

    static PRODUCTS: Migrator = sqlx::migrate!("migrations/sqlite");
    static DELETED: Migrator = sqlx::migrate!("migrations/sqlite_deleted");

    /// The database file in its folder.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("products.db")
    }

    /// All that the database holds. What was added after the first release are components of their own: that release refuses to see
    /// one at a version that it doesn't know.
    static COMPONENTS: [Component; 10] = [
        Component { name: "products", migrator: &PRODUCTS },
        Component { name: "products_deleted", migrator: &DELETED },
        replay::COMPONENT,
        outbox::COMPONENTS[0],
        outbox::COMPONENTS[1],
        outbox::COMPONENTS[2],
        inbox::COMPONENTS[0],
        inbox::COMPONENTS[1],
        inbox::COMPONENTS[2],
        identity::COMPONENT,
    ];

    impl Store {
        /// Opens the store in `folder`, making it when missing.
        ///
        /// # Errors
        /// When its file can't be opened or migrated.
        pub async fn open(folder: &Path) -> Result<Self, Error> {
            Ok(Self::over(Database::open(&file(folder), &COMPONENTS).await?))
        }

        /// Migrates the store in `folder` without keeping it open.
        ///
        /// # Errors
        /// As [`Store::open`].
        pub async fn migrate(folder: &Path) -> Result<Vec<AppliedMigration>, Error> {
            Database::migrate(&file(folder), &COMPONENTS).await
        }
    }
}

/// In PostgreSQL.
#[path = "."]
pub mod postgres {
    meshwork_sql::dialect!(postgres);
    mod audited;
    mod catalogue;
    mod inventory;
    mod moment;
    mod reservations;
    mod stock;
    mod store;

    pub use store::Store;

    use meshwork_chassis::checks::{self, Check};
    use meshwork_events::inbox::postgres as inbox;
    use meshwork_events::outbox::postgres as outbox;
    use meshwork_sql::identity::postgres as identity;
    use meshwork_sql::replay::postgres as replay;
    use meshwork_sql::{AppliedMigration, Component, Error, PostgresOptions, ReplicaStats};
    use sqlx::migrate::Migrator;

    static PRODUCTS: Migrator = sqlx::migrate!("migrations/postgres");

    /// All that the database holds.
    static COMPONENTS: [Component; 8] = [
        Component { name: "products", migrator: &PRODUCTS },
        replay::COMPONENT,
        outbox::COMPONENTS[0],
        outbox::COMPONENTS[1],
        inbox::COMPONENTS[0],
        inbox::COMPONENTS[1],
        inbox::COMPONENTS[2],
        identity::COMPONENT,
    ];

    impl Store {
        /// Connects to the store's database and makes its tables when missing.
        ///
        /// # Errors
        /// When it can't be reached or migrated.
        pub async fn open(options: &PostgresOptions) -> Result<Self, Error> {
            Ok(Self::over(Database::open(options, &COMPONENTS).await?))
        }

        /// Migrates the store's tables without keeping a connection.
        ///
        /// # Errors
        /// As [`Store::open`].
        pub async fn migrate(options: &PostgresOptions) -> Result<Vec<AppliedMigration>, Error> {
            Database::migrate(options, &COMPONENTS).await
        }

        /// Its replicas as they are.
        pub fn replicas(&self) -> Vec<ReplicaStats> {
            self.db.replicas()
        }

        /// A check of whether its replicas are read from, if it has any.
        pub fn replicas_check(&self) -> Option<Check> {
            (!self.replicas().is_empty()).then(|| checks::replicas("replicas", self.db.clone()))
        }

        /// Whether there has never been a product: deleted ones leave their rows.
        ///
        /// # Errors
        /// When it can't be asked.
        pub async fn is_new(&self) -> Result<bool, Error> {
            let any = sqlx::query("SELECT 1 FROM product LIMIT 1").fetch_optional(self.db.reader()).await?;
            Ok(any.is_none())
        }
    }
}

/// What the store holds can't be understood, or isn't what it must be.
fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

fn replay_request(key: &RequestKey) -> replay::Request {
    replay::Request { principal: key.principal.clone(), method: key.method, id: key.id.clone(), hash: key.hash }
}
