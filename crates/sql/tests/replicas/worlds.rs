//! A primary with replicas, and what the tests write and read there.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use meshwork_sql::{Component, Error, Freshness, Postgres, PostgresOptions};
use meshwork_testkit::postgres::Cluster;
use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinHandle;

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// `numbers (n)`, unique.
pub(crate) static TABLES: LazyLock<[Component; 1]> = LazyLock::new(|| {
    let sql = SqlStr::from_static("CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY)");
    let migration = Migration::new(1, "of a test".into(), MigrationType::Simple, sql, false);
    [Component { name: "numbers", migrator: Box::leak(Box::new(Migrator::with_migrations(vec![migration]))) }]
});

/// Waits for a condition, at most half a minute.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// A database of a cluster.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// The database at the primary.
    pub(crate) url: String,
    /// Which lag is allowed: any, as it is made.
    pub(crate) options: PostgresOptions,
}

impl World {
    pub(crate) fn new(replicas: usize, synchronous: bool) -> Self {
        let cluster = meshwork_testkit::Postgres::with_replicas(replicas, synchronous);
        let url = cluster.database();
        let options = PostgresOptions {
            replicas: cluster.replica_urls(&url),
            max_lag: LONG,
            max_lag_bytes: u64::MAX,
            acquire_timeout: Duration::from_secs(1),
            ..PostgresOptions::new(&url)
        };
        Self { cluster, url, options }
    }

    /// As a process opens it; all replicas have the tables and are read from.
    pub(crate) async fn open(&self) -> Postgres {
        let db = Postgres::open(&self.options, TABLES.as_slice()).await.unwrap();
        let replicas = self.options.replicas.len();
        for replica in 0..replicas {
            self.cluster.wait_for_replay(replica);
        }
        eventually("the selection of all replicas", async || selected(&db) == replicas).await;
        db
    }

    /// The port of the server that was the primary at the start.
    pub(crate) fn primary_port(&self) -> i32 {
        port_of(&self.url)
    }

    /// The port of a replica.
    pub(crate) fn replica_port(&self, replica: usize) -> i32 {
        port_of(&self.cluster.replica_url(replica, &self.url))
    }

    /// The name of the database.
    pub(crate) fn database(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }
}

pub(crate) fn port_of(url: &str) -> i32 {
    i32::from(PgConnectOptions::from_str(url).unwrap().get_port())
}

/// How many replicas are read from.
pub(crate) fn selected(db: &Postgres) -> usize {
    db.replicas().iter().filter(|replica| replica.selected).count()
}

pub(crate) async fn insert(db: &Postgres, n: i64) -> Result<(), Error> {
    db.write(n, |connection, n| {
        Box::pin(async move {
            sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(*n).execute(connection).await?;
            Ok(())
        })
    })
    .await
}

/// Whether a number is there, and the port of the server that says so.
pub(crate) async fn find(db: &Postgres, freshness: Freshness, n: i64) -> Result<(bool, i32), Error> {
    db.read(freshness, n, |connection, n| {
        Box::pin(async move {
            let sql = "SELECT EXISTS (SELECT 1 FROM numbers WHERE n = $1), inet_server_port()";
            let found: (bool, i32) = sqlx::query_as(sql).bind(*n).fetch_one(connection).await?;
            Ok::<_, Error>(found)
        })
    })
    .await
}

/// The port of the server that answers a read.
pub(crate) async fn port(db: &Postgres, freshness: Freshness) -> i32 {
    find(db, freshness, 0).await.unwrap().1
}

/// All numbers, as the primary has them.
pub(crate) async fn numbers(db: &Postgres) -> Vec<i64> {
    sqlx::query_scalar("SELECT n FROM numbers ORDER BY n").fetch_all(db.reader()).await.unwrap()
}

/// Readers that read without a pause, and fail when a read does.
pub(crate) struct Readers {
    stopped: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(db: &Postgres, freshness: &[Freshness]) -> Self {
        let (stopped, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = freshness.iter().map(|freshness| {
            let (db, freshness, stopped, reads) = (db.clone(), *freshness, stopped.clone(), reads.clone());
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    find(&db, freshness, 0).await.unwrap();
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let tasks = tasks.collect();
        Self { stopped, reads, tasks }
    }

    /// Returns after some more reads.
    pub(crate) async fn go_on(&self) {
        let enough = self.reads.load(Ordering::Relaxed) + 200;
        let are_enough =
            async || self.reads.load(Ordering::Relaxed) >= enough || self.tasks.iter().any(JoinHandle::is_finished);
        eventually("the next reads", are_enough).await;
    }

    /// Ends them.
    ///
    /// # Panics
    /// When a read has failed.
    pub(crate) async fn stop(self) {
        self.stopped.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
