//! Where the databases of the tests are.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use meshwork_sql::{Component, Postgres, PostgresOptions, Sqlite};
use meshwork_testkit::Postgres as TestServer;
use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

/// The tables of the tests: what was applied, and at which place in its aggregate.
pub(crate) fn ledger() -> Component {
    let sql = "CREATE TABLE ledger (subject TEXT NOT NULL, version BIGINT NOT NULL, place BIGINT NOT NULL)";
    let migration = Migration::new(1, "ledger".into(), MigrationType::Simple, SqlStr::from_static(sql), false);
    Component { name: "ledger", migrator: Box::leak(Box::new(Migrator::with_migrations(vec![migration]))) }
}

/// A file in a folder of the test's.
pub(crate) struct Embedded {
    folder: Arc<TempDir>,
    file: PathBuf,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { file: folder.path().join("shop.db"), folder: Arc::new(folder) }
    }

    /// As another process would open it.
    pub(crate) async fn open(&self, components: &[Component]) -> Sqlite {
        Sqlite::open(&self.file, components).await.unwrap()
    }

    /// A copy of the database as it is; nobody has it open.
    pub(crate) async fn copy(&self) -> Self {
        let file = self.file.with_extension("copy");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.file);
        let mut connection = options.connect().await.unwrap();
        let sql = format!("VACUUM INTO '{}'", file.display());
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        Self { folder: self.folder.clone(), file }
    }
}

/// A database of the test's on a server that the tests share.
pub(crate) struct Server {
    server: Arc<TestServer>,
    url: String,
}

impl Server {
    pub(crate) fn new() -> Self {
        static SHARED: Mutex<Weak<TestServer>> = Mutex::new(Weak::new());
        // It ends with the last test that uses it: nothing that is static is ever dropped.
        let mut shared = SHARED.lock().unwrap();
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(TestServer::start()));
        *shared = Arc::downgrade(&server);
        drop(shared);
        Self { url: server.database(), server }
    }

    /// As another process would open it.
    pub(crate) async fn open(&self, components: &[Component]) -> Postgres {
        Postgres::open(&PostgresOptions::new(&self.url), components).await.unwrap()
    }

    /// As [`Embedded::copy`].
    pub(crate) async fn copy(&self) -> Self {
        let (root, name) = self.url.rsplit_once('/').unwrap();
        let copy = format!("{name}_copy");
        // The server waits for connections that are about to end.
        self.server.sql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {name}"));
        Self { server: self.server.clone(), url: format!("{root}/{copy}") }
    }
}
