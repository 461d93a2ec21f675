//! The store of one database: the only one, in a file; or one of several shards, in PostgreSQL.
//!
//! The statements are one text for both: `change.rs`, `claims.rs`, `creation.rs`, `erasure.rs`, `keys.rs`, `rekey.rs`,
//! `rows.rs`, `sessions.rs`, `store.rs` and `users.rs` are compiled once for each driver, below the modules that name it. What puts
//! databases together is beside this folder.
//!
//! The guards are in the statements: what was decided about a version is written in place of that version, a token is used up
//! only while it is unused, an address is claimed only while nobody has it. Whoever locks rows locks them in one order, so that
//! no two wait for each other: the pieces of the shard map, the account, the claim on an address, the claim's end, a new account,
//! the session, its tokens, a key, the answer to a request, the outbox's head. What is only removed when its time is over is passed
//! over while others are at it.
//!
//! Each row has the slot of the key that it belongs to a shard by. A write enters the pieces that it writes in, and reads by key
//! look only at what is owned (SH-). Nothing that decides is read from a replica (RR-): only single accounts and lists may be.

mod moved;
pub mod outcome;
mod undo;

pub use moved::MOVED;
pub use postgres::Store as PostgresStore;
pub use sqlite::Store as SqliteStore;

use meshwork_chassis::request::RequestKey;
use meshwork_sql::replay;
use meshwork_sql::shards::slot_of;

/// What this service is called in its events.
pub const SOURCE: &str = "users";

/// The space of the ids of accounts.
pub const USERS: i16 = 0;
/// The space of the addresses that are claimed, and of requests.
pub const CLAIMS: i16 = 1;

/// In SQLite: one file.
#[path = "."]
pub mod sqlite {
    meshwork_sql::dialect!(sqlite);
    mod change;
    mod claims;
    mod creation;
    mod erasure;
    #[cfg(test)]
    mod guards;
    mod keys;
    mod rekey;
    mod rows;
    mod sessions;
    mod store;
    mod users;

    pub use store::Store;

    use std::path::{Path, PathBuf};

    use meshwork_events::inbox::sqlite as inbox;
    use meshwork_events::outbox::sqlite as outbox;
    use meshwork_sql::identity::sqlite as identity;
    use meshwork_sql::replay::sqlite as replay;
    use meshwork_sql::{AppliedMigration, Component, Error};
    use sqlx::migrate::Migrator;

    static USERS: Migrator = sqlx::migrate!("migrations/sqlite");
    static CLAIMS: Migrator = sqlx::migrate!("migrations/sqlite_claims");
    static SESSIONS: Migrator = sqlx::migrate!("migrations/sqlite_sessions");
    static ERASURE: Migrator = sqlx::migrate!("migrations/sqlite_erasure");
    static KEYS: Migrator = sqlx::migrate!("migrations/sqlite_keys");

    /// The database file in its folder.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("users.db")
    }

    /// All that the database holds. What was added after the first release are components of their own: that release refuses to
    /// see one at a version that it doesn't know.
    pub static COMPONENTS: [Component; 15] = [
        Component { name: "users", migrator: &USERS },
        Component { name: "users_claims", migrator: &CLAIMS },
        Component { name: "users_sessions", migrator: &SESSIONS },
        Component { name: "users_erasure", migrator: &ERASURE },
        Component { name: "users_keys", migrator: &KEYS },
        replay::COMPONENT,
        replay::PLACED,
        outbox::COMPONENTS[0],
        outbox::COMPONENTS[1],
        outbox::COMPONENTS[2],
        outbox::HISTORY,
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
            Ok(Self::over(Database::open(&file(folder), &COMPONENTS).await?, 0))
        }

        /// Migrates the store in `folder` without keeping it open.
        ///
        /// # Errors
        /// As [`Store::open`].
        pub async fn migrate(folder: &Path) -> Result<Vec<AppliedMigration>, Error> {
            Database::migrate(&file(folder), &COMPONENTS).await
        }

        /// The name of the database, for what is kept of it elsewhere.
        ///
        /// # Errors
        /// When it can't be read or made.
        pub async fn identity(&self) -> Result<String, Error> {
            identity::identity(&self.db).await
        }
    }
}

/// In PostgreSQL: one of the databases of the shards.
#[path = "."]
pub mod postgres {
    meshwork_sql::dialect!(postgres);
    mod change;
    mod claims;
    mod creation;
    mod erasure;
    mod homes;
    mod keys;
    mod rekey;
    mod rows;
    mod search;
    mod sessions;
    mod store;
    mod users;

    pub use store::Store;

    use meshwork_events::inbox::postgres as inbox;
    use meshwork_events::outbox::postgres as outbox;
    use meshwork_sql::replay::postgres as replay;
    use meshwork_sql::shards::{self, moving};
    use meshwork_sql::{Component, Error};
    use sqlx::migrate::Migrator;
    use sqlx::{AssertSqlSafe, Row as _};

    static USERS: Migrator = sqlx::migrate!("migrations/postgres");
    static ERASURE: Migrator = sqlx::migrate!("migrations/postgres_erasure");
    static KEYS: Migrator = sqlx::migrate!("migrations/postgres_keys");

    /// All that a database holds.
    pub static COMPONENTS: [Component; 13] = [
        Component { name: "users", migrator: &USERS },
        Component { name: "users_erasure", migrator: &ERASURE },
        Component { name: "users_keys", migrator: &KEYS },
        replay::COMPONENT,
        replay::PLACED,
        outbox::COMPONENTS[0],
        outbox::COMPONENTS[1],
        outbox::HISTORY,
        inbox::COMPONENTS[0],
        inbox::COMPONENTS[1],
        inbox::COMPONENTS[2],
        shards::COMPONENT,
        moving::COMPONENT,
    ];

    impl Store {
        /// The database.
        pub fn database(&self) -> &Database {
            &self.db
        }

        /// Whether there has never been an account: deleted ones leave their rows.
        ///
        /// # Errors
        /// When it can't be asked.
        pub async fn is_new(&self) -> Result<bool, Error> {
            let any = sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(self.db.reader()).await?;
            Ok(any.is_none())
        }

        /// Up to `limit` of the accounts that belong here, by chance: when they were made, in microseconds since 1970, and their ids.
        ///
        /// # Errors
        /// When it can't be asked.
        pub async fn sample(&self, limit: i64) -> Result<Vec<(i64, String)>, Error> {
            let own = not_foreign("users.slot", "users.id", super::USERS);
            let sql = format!("SELECT create_time, id FROM users WHERE {own} ORDER BY random() LIMIT $1");
            let rows = sqlx::query(AssertSqlSafe(sql)).bind(limit).fetch_all(self.db.reader()).await?;
            let sampled = rows.iter().map(|row| Ok((row.try_get("create_time")?, row.try_get("id")?)));
            Ok(sampled.collect::<Result<_, sqlx::Error>>()?)
        }
    }
}

/// The slot of a key, as columns have it.
fn slot(key: &str) -> i64 {
    i64::from(slot_of(key))
}

fn replay_request(key: &RequestKey) -> replay::Request {
    replay::Request { principal: key.principal.clone(), method: key.method, id: key.id.clone(), hash: key.hash }
}
