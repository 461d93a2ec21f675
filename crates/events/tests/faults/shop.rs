//! A service with an outbox, and what it has told of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_events::outbox::sqlite::{self as outbox, Outbox};
use meshwork_events::outbox::{NewEvent, PARTITIONS};
use meshwork_events::{Bus, Relay};
use meshwork_eventstore::partition_of;
use meshwork_sql::{Error, Sqlite};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The `k`-th subject of a partition.
pub(crate) fn subject_in(partition: u16, k: usize) -> String {
    let all = (0..).map(|n| format!("things/{n}"));
    all.filter(|subject| partition_of(subject, PARTITIONS) == partition).nth(k).unwrap()
}

/// Two subjects of each partition, neighbours in different ones.
fn subjects() -> Vec<String> {
    (0..2).flat_map(|k| (0..PARTITIONS).map(move |partition| subject_in(partition, k))).collect()
}

/// A copy of a SQLite database as it is.
pub(crate) async fn copy_database(from: &Path, to: &Path) {
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(from).connect().await.unwrap();
    let sql = format!("VACUUM INTO '{}'", to.display());
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A service with an outbox.
pub(crate) struct Shop {
    folder: Arc<TempDir>,
    file: PathBuf,
    db: Sqlite,
    pub(crate) outbox: Outbox,
    told: Mutex<BTreeMap<String, i64>>,
}

impl Shop {
    pub(crate) async fn new() -> Arc<Self> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let file = folder.path().join("shop.db");
        Self::open(folder, file, BTreeMap::new()).await
    }

    async fn open(folder: Arc<TempDir>, file: PathBuf, told: BTreeMap<String, i64>) -> Arc<Self> {
        let db = Sqlite::open(&file, &outbox::COMPONENTS).await.unwrap();
        let outbox = Outbox::new(db.clone(), "shop");
        Arc::new(Self { folder, file, db, outbox, told: Mutex::new(told) })
    }

    /// The service as it is now, as it would be restored.
    pub(crate) async fn copy(&self) -> Arc<Self> {
        let file = self.file.with_extension("copy");
        copy_database(&self.file, &file).await;
        let told = self.told.lock().unwrap().clone();
        Self::open(self.folder.clone(), file, told).await
    }

    /// Tells of the next event of an aggregate, which one caller at a time does.
    pub(crate) async fn happen(&self, subject: &str) {
        self.happen_at(subject, OffsetDateTime::now_utc()).await;
    }

    /// As [`Shop::happen`], of one that happened at that time.
    pub(crate) async fn happen_at(&self, subject: &str, at: OffsetDateTime) {
        let version = self.told.lock().unwrap().get(subject).copied().unwrap_or_default() + 1;
        let event = NewEvent {
            event_type: "happened",
            schema_version: 1,
            subject: subject.to_owned(),
            version,
            data: format!("{subject} at {version}").into_bytes(),
        };
        let outbox = self.outbox.clone();
        let done = self.db.write_once::<(), Error, _>(move |connection| {
            Box::pin(async move { outbox.append(connection, at, &[event]).await })
        });
        done.await.unwrap();
        self.told.lock().unwrap().insert(subject.to_owned(), version);
    }

    /// Tells of the next event of each of the [`subjects`], so often; of all of them at once.
    pub(crate) async fn happen_to_all(&self, times: usize) {
        let each = subjects().into_iter().map(|subject| async move {
            for _ in 0..times {
                self.happen(&subject).await;
            }
        });
        futures_util::future::join_all(each).await;
    }

    /// Its aggregates, and the versions that they have come to.
    pub(crate) fn told(&self) -> Vec<(String, i64)> {
        self.told.lock().unwrap().iter().map(|(subject, version)| (subject.clone(), *version)).collect()
    }

    /// How many events each partition has.
    pub(crate) fn heads(&self) -> Vec<i64> {
        let mut heads = vec![0; usize::from(PARTITIONS)];
        for (subject, version) in self.told() {
            heads[usize::from(partition_of(&subject, PARTITIONS))] += version;
        }
        heads
    }

    pub(crate) fn relay(&self, bus: Arc<dyn Bus>, stream: &'static str) -> Relay {
        Relay::new(Arc::new(self.outbox.clone()), bus, stream)
    }
}

/// A service that is at work.
pub(crate) struct Writing {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Writing {
    /// Has the service tell of events of all the [`subjects`] in turn, with a pause after each.
    pub(crate) fn start(shop: &Arc<Shop>, pause: Duration) -> Self {
        let (shop, shutdown) = (shop.clone(), CancellationToken::new());
        let until = shutdown.clone();
        let task = tokio::spawn(async move {
            for subject in subjects().iter().cycle() {
                shop.happen(subject).await;
                if until.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
            }
        });
        Self { shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.task).await.unwrap().unwrap();
    }
}
