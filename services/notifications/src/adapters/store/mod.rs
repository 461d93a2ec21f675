//! Notifications in SQL: in a SQLite file, or on a PostgreSQL server.
//!
//! `notifications.rs`, `claims.rs`, `notes.rs` and `rows.rs` are compiled once for each driver, below the modules that name
//! it. What time it is, the database says: several instances send from one.

use crate::ports::StoreError;

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        match error.kind() {
            meshwork_sql::Kind::Unavailable => StoreError::Unavailable(error.to_string()),
            // One that is left over after all tries: others may be out of the way later.
            meshwork_sql::Kind::Conflict => StoreError::Conflict(error.to_string()),
            meshwork_sql::Kind::OutcomeUnknown => StoreError::OutcomeUnknown(error.to_string()),
            meshwork_sql::Kind::Damaged => StoreError::Damaged(error.to_string()),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        meshwork_sql::Error::from(error).into()
    }
}

/// In a SQLite file: the embedded store.
#[path = "."]
pub mod sqlite {
    meshwork_sql::dialect!(sqlite);
    pub(super) mod claims;
    mod notes;
    mod notifications;
    mod rows;

    pub use notifications::Store as SqliteNotificationStore;

    use meshwork_events::inbox::sqlite::{COMPONENTS as INBOX, gate};
    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static NOTIFICATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
    static LIFE: Migrator = sqlx::migrate!("migrations/sqlite-life");

    /// The tables of notifications, and the inbox's.
    pub const COMPONENTS: [Component; 5] = [
        Component { name: "notifications", migrator: &NOTIFICATIONS },
        Component { name: "notifications_life", migrator: &LIFE },
        INBOX[0],
        INBOX[1],
        INBOX[2],
    ];

    /// Ends the leases of all tries: whoever calls it knows that the processes which had begun them have ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_leases(db: &Database) -> Result<(), meshwork_sql::Error> {
        db.write_once(|connection| {
            Box::pin(async move {
                let ended = sqlx::query("UPDATE notification SET lease_until = 0 WHERE state = 'SENDING'");
                ended.execute(connection).await?;
                Ok(())
            })
        })
        .await
    }
}

/// On a PostgreSQL server.
#[path = "."]
pub mod postgres {
    meshwork_sql::dialect!(postgres);
    pub(super) mod claims;
    mod notes;
    mod notifications;
    mod rows;

    pub use notifications::Store as PostgresNotificationStore;

    use meshwork_events::inbox::postgres::{COMPONENTS as INBOX, gate};
    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static NOTIFICATIONS: Migrator = sqlx::migrate!("migrations/postgres");

    /// The tables of notifications, and the inbox's.
    pub const COMPONENTS: [Component; 4] =
        [Component { name: "notifications", migrator: &NOTIFICATIONS }, INBOX[0], INBOX[1], INBOX[2]];
}

#[cfg(test)]
mod plan_tests;
