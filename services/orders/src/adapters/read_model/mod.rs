//! The read model: view, parked orders and checkpoints, which change in one transaction, in versions.
//!
//! Embedded it lies in SQLite, else in PostgreSQL. The queries are the same text for both: `lists.rs`, `apply.rs` and
//! `versions.rs` are compiled once for each driver, below the modules that name it.

mod order_row;
#[cfg(test)]
mod plan_tests;

pub use postgres::PostgresReadModel;
pub use sqlite::SqliteReadModel;

use crate::ports::StoreError;

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        use meshwork_sql::Kind;
        match error.kind() {
            Kind::Unavailable => StoreError::Unavailable(error.to_string()),
            // One that is left over after all tries: others may be out of the way later.
            Kind::Conflict => StoreError::Conflict(error.to_string()),
            Kind::OutcomeUnknown => StoreError::OutcomeUnknown(error.to_string()),
            Kind::Damaged => StoreError::Damaged(error.to_string()),
        }
    }
}

/// In a SQLite file.
#[path = "."]
pub mod sqlite {
    meshwork_sql::dialect!(sqlite);
    mod apply;
    pub(super) mod lists;
    mod versions;

    use std::path::Path;
    use std::sync::Arc;

    use meshwork_events::ConsumerState;
    use meshwork_events::inbox::sqlite as inbox;
    use meshwork_sql::{AppliedMigration, Component, Error as SqlError};
    use sqlx::migrate::Migrator;

    static VIEW: Migrator = sqlx::migrate!("migrations/view");
    static IDENTITY: Migrator = sqlx::migrate!("migrations/view_identity");
    static WAITING: Migrator = sqlx::migrate!("migrations/view_waiting");

    /// The view, and the inbox of who listens to the inventory. What was added to released tables is a component of its own.
    pub(super) static COMPONENTS: [Component; 6] = [
        Component { name: "view", migrator: &VIEW },
        Component { name: "view_identity", migrator: &IDENTITY },
        Component { name: "view_waiting", migrator: &WAITING },
        inbox::COMPONENTS[0],
        inbox::COMPONENTS[1],
        inbox::COMPONENTS[2],
    ];

    /// The orders as lists show them, in a file.
    #[derive(Clone)]
    pub struct SqliteReadModel {
        db: Database,
    }

    use SqliteReadModel as ReadModel;

    impl SqliteReadModel {
        /// Opens the view's file, making it when missing.
        ///
        /// # Errors
        /// When it can't be opened or migrated.
        pub async fn open(path: &Path) -> Result<Self, SqlError> {
            Ok(Self { db: Database::open(path, &COMPONENTS).await? })
        }

        /// Migrates the view's file without keeping it open.
        ///
        /// # Errors
        /// As [`SqliteReadModel::open`].
        pub async fn migrate(path: &Path) -> Result<Vec<AppliedMigration>, SqlError> {
            Database::migrate(path, &COMPONENTS).await
        }

        /// Where the consumer of this name stands, and what it has parked.
        pub fn inbox(&self, consumer: &'static str) -> Arc<dyn ConsumerState> {
            Arc::new(inbox::Inbox::new(self.db.clone(), consumer))
        }
    }
}

/// On a PostgreSQL server.
#[path = "."]
pub mod postgres {
    meshwork_sql::dialect!(postgres);
    mod apply;
    pub(super) mod lists;
    mod versions;

    use std::sync::Arc;

    use meshwork_chassis::checks::{self, Check};
    use meshwork_events::ConsumerState;
    use meshwork_events::inbox::postgres as inbox;
    use meshwork_sql::{AppliedMigration, Component, Error as SqlError, PostgresOptions, ReplicaStats};
    use sqlx::migrate::Migrator;

    static VIEW: Migrator = sqlx::migrate!("migrations/view-postgres");
    static IDENTITY: Migrator = sqlx::migrate!("migrations/view_identity-postgres");
    static WAITING: Migrator = sqlx::migrate!("migrations/view_waiting");

    /// The view, and the inbox of who listens to the inventory. What was added to released tables is a component of its own.
    pub(super) static COMPONENTS: [Component; 6] = [
        Component { name: "order_view", migrator: &VIEW },
        Component { name: "order_view_identity", migrator: &IDENTITY },
        Component { name: "order_view_waiting", migrator: &WAITING },
        inbox::COMPONENTS[0],
        inbox::COMPONENTS[1],
        inbox::COMPONENTS[2],
    ];

    /// The orders as lists show them, on a server.
    #[derive(Clone)]
    pub struct PostgresReadModel {
        db: Database,
    }

    use PostgresReadModel as ReadModel;

    impl PostgresReadModel {
        /// Connects to the view's database and makes its tables when missing: once it is reached, since orders are taken without
        /// it.
        ///
        /// # Errors
        /// When it is reached and can't be migrated.
        pub async fn open(options: &PostgresOptions) -> Result<Self, SqlError> {
            Ok(Self { db: Database::open_when_reached(options, &COMPONENTS).await? })
        }

        /// Migrates the view's tables without keeping a connection.
        ///
        /// # Errors
        /// As [`PostgresReadModel::open`].
        pub async fn migrate(options: &PostgresOptions) -> Result<Vec<AppliedMigration>, SqlError> {
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

        /// Where the consumer of this name stands, and what it has parked.
        pub fn inbox(&self, consumer: &'static str) -> Arc<dyn ConsumerState> {
            Arc::new(inbox::Inbox::new(self.db.clone(), consumer))
        }
    }
}
