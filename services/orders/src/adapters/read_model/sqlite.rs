//! The read model in a SQLite file.

use std::path::Path;
use std::sync::Arc;

use meshwork_events::ConsumerState;
use meshwork_events::inbox::sqlite as inbox;
use meshwork_sql::{AppliedMigration, Component, Error as SqlError};
use sqlx::migrate::Migrator;

meshwork_sql::dialect!(sqlite);

#[path = "apply.rs"]
mod apply;
#[path = "lists.rs"]
mod lists;
#[path = "versions.rs"]
mod versions;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/view");

/// The view, and the inbox of who listens to the inventory.
static COMPONENTS: [Component; 3] =
    [Component { name: "view", migrator: &MIGRATOR }, inbox::COMPONENTS[0], inbox::COMPONENTS[1]];

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
