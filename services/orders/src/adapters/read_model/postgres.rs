//! The read model in PostgreSQL.

use meshwork_sql::{AppliedMigration, Component, Error as SqlError, PostgresOptions};
use sqlx::migrate::Migrator;

meshwork_sql::dialect!(postgres);

#[path = "apply.rs"]
mod apply;
#[path = "lists.rs"]
mod lists;
#[path = "versions.rs"]
mod versions;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/view-postgres");

const COMPONENT: Component = Component { name: "order_view", migrator: &MIGRATOR };

/// The orders as lists show them, on a server.
#[derive(Clone)]
pub struct PostgresReadModel {
    db: Database,
}

use PostgresReadModel as ReadModel;

impl PostgresReadModel {
    /// Connects to the view's database and makes its tables when missing.
    ///
    /// # Errors
    /// When it can't be reached or migrated.
    pub async fn open(options: &PostgresOptions) -> Result<Self, SqlError> {
        Ok(Self { db: Database::open(options, &[COMPONENT]).await? })
    }

    /// Migrates the view's tables without keeping a connection.
    ///
    /// # Errors
    /// As [`PostgresReadModel::open`].
    pub async fn migrate(options: &PostgresOptions) -> Result<Vec<AppliedMigration>, SqlError> {
        Database::migrate(options, &[COMPONENT]).await
    }
}
