//! Where the databases of the tests are.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use meshwork_sql::{Component, Error, Postgres, PostgresOptions, Sqlite};
use meshwork_testkit::Postgres as TestServer;
use tempfile::TempDir;

use crate::tables;

/// Waits for a condition, at most twenty seconds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// A file in a folder of the test's.
pub(crate) struct Embedded {
    folder: TempDir,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("numbers.db")
    }

    /// As another process would open it.
    pub(crate) async fn open_with(&self, components: &[Component]) -> Result<Sqlite, Error> {
        Sqlite::open(&self.file(), components).await
    }

    pub(crate) async fn open(&self) -> Sqlite {
        self.open_with(tables::ALL.as_slice()).await.unwrap()
    }

    pub(crate) async fn migrate(&self, components: &[Component]) -> usize {
        Sqlite::migrate(&self.file(), components).await.unwrap().len()
    }
}

/// A database of the test's on a server that the tests share.
pub(crate) struct Server {
    _server: Arc<TestServer>,
    pub(crate) options: PostgresOptions,
}

impl Server {
    pub(crate) fn new() -> Self {
        static SHARED: Mutex<Weak<TestServer>> = Mutex::new(Weak::new());
        // It ends with the last test that uses it: nothing that is static is ever dropped.
        let mut shared = SHARED.lock().unwrap();
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(TestServer::start()));
        *shared = Arc::downgrade(&server);
        drop(shared);
        Self { options: PostgresOptions::new(server.database()), _server: server }
    }

    /// On a server of the test's own: it takes many connections.
    pub(crate) fn alone() -> Self {
        let server = Arc::new(TestServer::private());
        Self { options: PostgresOptions::new(server.database()), _server: server }
    }

    /// As another process would open it.
    pub(crate) async fn open_with(&self, components: &[Component]) -> Result<Postgres, Error> {
        Postgres::open(&self.options, components).await
    }

    pub(crate) async fn open(&self) -> Postgres {
        self.open_with(tables::ALL.as_slice()).await.unwrap()
    }

    pub(crate) async fn migrate(&self, components: &[Component]) -> usize {
        Postgres::migrate(&self.options, components).await.unwrap().len()
    }
}
