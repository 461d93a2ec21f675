//! The embedded bus: a durable log in one SQLite file.
//!
//! Services of one process share an open bus and wake each other. Services of several processes share its file, and
//! each finds out within [`WATCH`] that another has written.

mod lock;
mod log;
mod messages;
mod publisher;
mod reader;
mod subscription;
mod sweep;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_eventstore::Pulse;
use meshwork_sql::{AppliedMigration, Component, Error, Sqlite};
use sqlx::Row as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;

use self::log::{Log, Pulses};
use crate::bus::{Bus, BusError, Lane, Publisher, ReadFrom, Reader, Resume, Scope, Subscription, lanes_of};
use crate::outbox::PARTITIONS;

static BUS: Migrator = sqlx::migrate!("migrations/bus");
static LANES: Migrator = sqlx::migrate!("migrations/bus_lanes");

const COMPONENTS: [Component; 2] =
    [Component { name: "bus", migrator: &BUS }, Component { name: "bus_lanes", migrator: &LANES }];

/// How often a bus looks whether another process has written.
const WATCH: Duration = Duration::from_millis(200);

/// The buses that are open in this process, by their file.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<SqliteBus>>>> = LazyLock::new(Mutex::default);

/// An event bus in a folder.
pub struct SqliteBus {
    log: Log,
    folder: PathBuf,
    /// How many lanes streams have, as far as who has opened it in this process knows.
    lanes: RwLock<HashMap<String, u16>>,
}

fn file(folder: &Path) -> PathBuf {
    folder.join("bus.db")
}

impl SqliteBus {
    /// Opens the bus in `folder`, making it when missing. Opening it again in one process shares it. Streams have as many
    /// lanes as an outbox has partitions.
    ///
    /// # Errors
    /// When its file can't be opened or migrated.
    pub async fn open(folder: &Path) -> Result<Arc<Self>, Error> {
        Self::open_with(folder, &HashMap::new()).await
    }

    /// As [`open`](Self::open), with the number of lanes that streams have, by their names. Who shares a bus knows the most
    /// lanes of a stream that anybody has opened it with, from then on.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(folder: &Path, lanes: &HashMap<String, u16>) -> Result<Arc<Self>, Error> {
        let bus = Self::shared(folder).await?;
        // Nothing panics while it holds the lock.
        let mut known = bus.lanes.write().unwrap_or_else(PoisonError::into_inner);
        for (stream, count) in lanes {
            let most = known.entry(stream.clone()).or_insert(PARTITIONS);
            *most = (*count).max(*most);
        }
        drop(known);
        Ok(bus)
    }

    async fn shared(folder: &Path) -> Result<Arc<Self>, Error> {
        let mut open = OPEN.lock().await;
        open.retain(|_, bus| bus.strong_count() > 0);
        let path = std::path::absolute(file(folder)).unwrap_or_else(|_| file(folder));
        if let Some(bus) = open.get(&path).and_then(Weak::upgrade) {
            return Ok(bus);
        }
        let db = Sqlite::open(&path, &COMPONENTS).await?;
        let pulses = Pulses::default();
        let flushed = pulses.clone();
        db.after_commit(move || {
            if let Ok(pulses) = flushed.read() {
                pulses.values().for_each(Pulse::flush);
            }
        });
        let log = Log { db, pulses, publications: Arc::default() };
        let bus = Arc::new(Self { log, folder: folder.to_owned(), lanes: RwLock::default() });
        let connection = bus.log.db.reader().acquire().await?.detach();
        tokio::spawn(watch(Arc::downgrade(&bus), connection));
        open.insert(path, Arc::downgrade(&bus));
        Ok(bus)
    }

    /// Migrates the bus in `folder` without keeping it open.
    ///
    /// # Errors
    /// As [`SqliteBus::open`].
    pub async fn migrate(folder: &Path) -> Result<Vec<AppliedMigration>, Error> {
        Sqlite::migrate(&file(folder), &COMPONENTS).await
    }
}

/// Beats for what other processes publish.
async fn watch(bus: Weak<SqliteBus>, mut connection: SqliteConnection) {
    let mut version = None;
    let mut heads = HashMap::new();
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(bus) = bus.upgrade() else { return };
        // It changes when another connection has committed, our own writer's included.
        let read = sqlx::query("PRAGMA data_version").fetch_one(&mut connection).await;
        let Ok(read) = read.and_then(|row| row.try_get::<i64, _>(0)) else { continue };
        if version.replace(read) == Some(read) {
            continue;
        }
        let pulses: Vec<_> = bus.log.pulses.read().map(|it| it.clone().into_iter().collect()).unwrap_or_default();
        for (lane, pulse) in pulses {
            let Ok(head) = messages::head_of(&mut connection, &lane).await else { continue };
            if heads.insert(lane, head).is_some_and(|known| known != head) {
                pulse.beat(0, "");
            }
        }
    }
}

#[async_trait]
impl Bus for SqliteBus {
    fn lanes(&self, stream: &str) -> Vec<Lane> {
        lanes_of(stream, &self.lanes.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn publisher(&self, lane: &Lane) -> Result<Box<dyn Publisher>, BusError> {
        Ok(Box::new(publisher::SqlitePublisher::open(self.log.clone(), lane.clone()).await?))
    }

    async fn subscribe(&self, consumer: &str, lane: &Lane, resume: Resume) -> Result<Box<dyn Subscription>, BusError> {
        let path = self.folder.join("lanes").join(format!("{consumer}.{lane}.lock"));
        let lock = lock::LaneLock::new(&path).map_err(|error| {
            BusError::Unavailable(format!(
                "{} can't be opened, look whether it can be written: {error}",
                path.display()
            ))
        })?;
        let subscribed =
            subscription::SqliteSubscription::open(self.log.clone(), consumer.to_owned(), lane.clone(), resume, lock)
                .await?;
        Ok(Box::new(subscribed))
    }

    async fn reader(&self, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Box<dyn Reader>, BusError> {
        Ok(Box::new(reader::SqliteReader::open(self.log.clone(), lane.clone(), from, scope).await?))
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(self.log.db.ping().await?)
    }

    fn retention(&self) -> Duration {
        sweep::RETENTION
    }
}
