//! The tables of the tests: accounts, their sessions, notes of these, and the accounts' events.

use std::sync::LazyLock;

use meshwork_sql::Component;
use meshwork_sql::shards::moving::{self, MovedTable, Rows, Target};
use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The space of accounts.
pub(crate) const ACCOUNTS: i16 = 0;

const SCHEMA: &str = r#"
CREATE TABLE accounts (
    id TEXT COLLATE "C" PRIMARY KEY, slot INT NOT NULL, version BIGINT NOT NULL, name TEXT NOT NULL UNIQUE,
    shout TEXT GENERATED ALWAYS AS (upper(name)) STORED
);
CREATE INDEX accounts_slot ON accounts (slot);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, account TEXT COLLATE "C" NOT NULL REFERENCES accounts ON DELETE CASCADE, slot INT NOT NULL,
    began TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX sessions_account ON sessions (account);
CREATE TABLE notes (
    session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, n INT NOT NULL, body BYTEA NOT NULL, score DOUBLE PRECISION,
    PRIMARY KEY (session, n)
);
CREATE TABLE events (
    account TEXT COLLATE "C" NOT NULL, version BIGINT NOT NULL, slot INT NOT NULL, data BYTEA NOT NULL, n BIGSERIAL,
    PRIMARY KEY (account, version)
);
CREATE TABLE events_history (
    account TEXT COLLATE "C" NOT NULL, version BIGINT NOT NULL, slot INT NOT NULL, data BYTEA NOT NULL,
    PRIMARY KEY (account, version)
);
-- Which writes this database has taken.
CREATE TABLE taken (account TEXT NOT NULL, version BIGINT NOT NULL);
"#;

pub(crate) static COMPONENTS: LazyLock<[Component; 3]> = LazyLock::new(|| {
    let schema = SqlStr::from_static(SCHEMA);
    let migration = Migration::new(1, "of a test".into(), MigrationType::Simple, schema, false);
    let migrator = Box::leak(Box::new(Migrator::with_migrations(vec![migration])));
    [meshwork_sql::shards::COMPONENT, moving::COMPONENT, Component { name: "accounts", migrator }]
});

/// Parents first.
pub(crate) static TABLES: [MovedTable; 5] = [
    MovedTable {
        table: "accounts",
        space: ACCOUNTS,
        primary_key: &["id"],
        rows: Rows::Columns { slot: "slot", key: "id" },
        target: Target::Same,
    },
    MovedTable {
        table: "sessions",
        space: ACCOUNTS,
        primary_key: &["id"],
        rows: Rows::Columns { slot: "slot", key: "account" },
        target: Target::Same,
    },
    MovedTable {
        table: "notes",
        space: ACCOUNTS,
        primary_key: &["session", "n"],
        rows: Rows::Through {
            condition: "EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session AND {piece})",
            slot: "s.slot",
            key: "s.account",
        },
        target: Target::Same,
    },
    MovedTable {
        table: "events",
        space: ACCOUNTS,
        primary_key: &["account", "version"],
        rows: Rows::Columns { slot: "slot", key: "account" },
        target: Target::History {
            table: "events_history",
            select: "t.account, t.version, t.slot, t.data",
            primary_key: &["account", "version"],
        },
    },
    MovedTable {
        table: "events_history",
        space: ACCOUNTS,
        primary_key: &["account", "version"],
        rows: Rows::Columns { slot: "slot", key: "account" },
        target: Target::Same,
    },
];
