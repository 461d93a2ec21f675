//! Components: tables that belong together, with their migrations.

use std::collections::HashMap;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row as _};

use crate::Error;
use crate::error::is_lock_timeout;

/// Tables that belong together, and the migrations that make them.
///
/// Each component counts its migrations in a table of its own, so that crates and services bring their tables to one
/// database without knowing of each other.
///
/// Migrations expand first and contract later: a release only adds tables, indexes and columns with defaults, and what the
/// release before still reads or writes is taken away by the release after. So releases run beside each other, and one can go
/// back.
#[derive(Clone, Copy)]
pub struct Component {
    /// The component's name, part of the name of its table of migrations: `a-z` and `_`.
    pub name: &'static str,
    /// The migrations, as `sqlx::migrate!` embeds them.
    pub migrator: &'static Migrator,
}

/// What opening a store does about migrations that it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Migrations {
    /// It applies them.
    #[default]
    Apply,
    /// It makes and changes nothing, and fails with [`Error::Pending`] while some are missing: somebody else applies them, and
    /// whoever opens the store tries again until then. A newer release's don't matter.
    Wait,
}

/// A migration that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedMigration {
    /// The component it belongs to.
    pub component: &'static str,
    /// Its number.
    pub version: i64,
    /// What it does.
    pub description: String,
}

impl Component {
    /// Applies what is missing; running it again changes nothing.
    ///
    /// # Errors
    /// [`Error::Migrate`] when a migration fails, or when one that was applied has been edited since.
    pub async fn migrate(&self, connection: &mut SqliteConnection) -> Result<Vec<AppliedMigration>, Error> {
        let migrator = self.named();
        // Another process may be opening the same new file: who comes second waits here and finds it migrated.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        // `run` asks for `Acquire<'_>`, which hides from the compiler that what opens a store is Send.
        let run = migrator.run_direct(None, &mut *transaction, false);
        run.await.map_err(|source| Error::Migrate { component: self.name, source })?;
        transaction.commit().await?;
        Ok(self.applied())
    }

    /// As [`Component::migrate`], for PostgreSQL. A migration takes as long as it takes, such as an index over a large table;
    /// for a lock it waits as long as a statement of the connection may take, since others wait behind it.
    ///
    /// # Errors
    /// As [`Component::migrate`], and [`Error::Locked`] when a lock could not be had in time.
    pub async fn migrate_postgres(&self, connection: &mut PgConnection) -> Result<Vec<AppliedMigration>, Error> {
        let migrator = self.named();
        let mut transaction = connection.begin().await?;
        for bound in [
            "SELECT set_config('lock_timeout', current_setting('statement_timeout'), true)",
            "SELECT set_config('statement_timeout', '0', true)",
        ] {
            sqlx::query(bound).execute(&mut *transaction).await?;
        }
        // Another process may be at it: who comes second waits here and finds it migrated.
        let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtext('meshwork migrations'))");
        lock.execute(&mut *transaction).await.map_err(|source| self.failed(source.into()))?;
        let run = migrator.run_direct(None, &mut *transaction, false);
        run.await.map_err(|source| self.failed(source))?;
        transaction.commit().await?;
        Ok(self.applied())
    }

    /// Sees whether a PostgreSQL has all migrations. It changes nothing and takes no lock.
    ///
    /// # Errors
    /// [`Error::Pending`] when some are missing, and [`Error::Migrate`] when one that was applied has been edited since.
    pub(crate) async fn require_postgres(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let table = self.table();
        let found = sqlx::query("SELECT to_regclass($1) IS NOT NULL").bind(&table).fetch_one(&mut *connection).await?;
        let mut applied: HashMap<i64, Vec<u8>> = HashMap::new();
        if found.try_get::<bool, _>(0)? {
            let sql = AssertSqlSafe(format!("SELECT version, checksum FROM {table} WHERE success"));
            for row in sqlx::query(sql).fetch_all(connection).await? {
                applied.insert(row.try_get(0)?, row.try_get(1)?);
            }
        }
        let mut missing = 0_usize;
        for migration in self.migrator.iter().filter(|migration| !migration.migration_type.is_down_migration()) {
            match applied.get(&migration.version) {
                None => missing += 1,
                Some(checksum) if checksum[..] == migration.checksum[..] => {}
                Some(_) => {
                    let source = MigrateError::VersionMismatch(migration.version);
                    return Err(Error::Migrate { component: self.name, source });
                }
            }
        }
        match missing {
            0 => Ok(()),
            missing => Err(Error::Pending(format!("{missing} migrations of the tables of {} are missing", self.name))),
        }
    }

    fn failed(&self, error: MigrateError) -> Error {
        match error {
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) if is_lock_timeout(&source) => {
                Error::Locked { component: self.name, source }
            }
            source => Error::Migrate { component: self.name, source },
        }
    }

    fn named(&self) -> Migrator {
        let mut migrator = Migrator::with_migrations(self.migrator.iter().cloned().collect());
        migrator.dangerous_set_table_name(self.table());
        migrator.set_locking(false);
        // A newer release may have added to the tables: what it adds must not be in the way of this one, so that both run
        // beside each other while one takes the other's place.
        migrator.set_ignore_missing(true);
        migrator
    }

    /// Where the component counts its migrations.
    fn table(&self) -> String {
        format!("_migrations_{}", self.name)
    }

    fn applied(&self) -> Vec<AppliedMigration> {
        let applied = |migration: &sqlx::migrate::Migration| AppliedMigration {
            component: self.name,
            version: migration.version,
            description: migration.description.to_string(),
        };
        self.migrator.iter().map(applied).collect()
    }
}
