//! The tables of the tests.

use std::sync::LazyLock;

use meshwork_sql::Component;
use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

fn migration(version: i64, sql: &'static str) -> Migration {
    Migration::new(version, "of a test".into(), MigrationType::Simple, SqlStr::from_static(sql), false)
}

fn component(name: &'static str, migrations: Vec<Migration>) -> Component {
    Component { name, migrator: Box::leak(Box::new(Migrator::with_migrations(migrations))) }
}

const NUMBERS: &str = "CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY CHECK (n >= 0), note TEXT)";
const JOBS: &str = "CREATE TABLE job (id BIGINT NOT NULL PRIMARY KEY, worker BIGINT)";
const JOBS_FREE: &str = "CREATE INDEX job_worker ON job (worker, id)";

/// `numbers (n, note)`, whose `n` is unique and not negative; `job (id, worker)` with the index `job_worker`.
pub(crate) static ALL: LazyLock<[Component; 2]> = LazyLock::new(|| {
    [
        component("numbers", vec![migration(1, NUMBERS)]),
        component("jobs", vec![migration(1, JOBS), migration(2, JOBS_FREE)]),
    ]
});

/// As a release after would have them.
pub(crate) fn newer() -> [Component; 1] {
    let added = "ALTER TABLE numbers ADD COLUMN added BIGINT NOT NULL DEFAULT 7";
    [component("numbers", vec![migration(1, NUMBERS), migration(2, added)])]
}

/// With a migration that takes a second.
pub(crate) fn slow() -> [Component; 1] {
    [component("numbers", vec![migration(1, NUMBERS), migration(2, "SELECT pg_sleep(1)")])]
}

/// With a migration that has been edited after it was applied.
pub(crate) fn edited() -> [Component; 1] {
    [component("numbers", vec![migration(1, "CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY, text TEXT)")])]
}
