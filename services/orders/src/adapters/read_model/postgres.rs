//! The read model in PostgreSQL.

use std::sync::Arc;

use meshwork_events::ConsumerState;
use meshwork_events::inbox::postgres as inbox;
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

/// The view, and the inbox of who listens to the inventory.
static COMPONENTS: [Component; 3] =
    [Component { name: "order_view", migrator: &MIGRATOR }, inbox::COMPONENTS[0], inbox::COMPONENTS[1]];

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

    /// Where the consumer of this name stands, and what it has parked.
    pub fn inbox(&self, consumer: &'static str) -> Arc<dyn ConsumerState> {
        Arc::new(inbox::Inbox::new(self.db.clone(), consumer))
    }
}
