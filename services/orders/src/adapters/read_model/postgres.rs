//! The read model in PostgreSQL.

use meshwork_sql::{AppliedMigration, Component, Error as SqlError, PostgresOptions};
use sqlx::migrate::Migrator;

use meshwork_sql::Postgres as Database;
use sqlx::Postgres as Driver;
use sqlx::postgres::{PgConnection as Connection, PgRow as Row};

#[path = "apply.rs"]
#[allow(clippy::duplicate_mod, reason = "one text of queries for both drivers")]
mod apply;
#[path = "lists.rs"]
#[allow(clippy::duplicate_mod, reason = "one text of queries for both drivers")]
mod lists;
#[path = "versions.rs"]
#[allow(clippy::duplicate_mod, reason = "one text of queries for both drivers")]
mod versions;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/view-postgres");

const COMPONENT: Component = Component { name: "order_view", migrator: &MIGRATOR };

/// The time, in microseconds since 1970: the server's, since the hosts of its clients have each a clock of their own.
const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";

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
