//! A bus with events on it, in the order of their publication.

use std::sync::Arc;

use meshwork_events::outbox::PARTITIONS;
use meshwork_events::testing::{lane, publish, read_all, tail};
use meshwork_events::{Context, Envelope, Position, SqliteBus};
use meshwork_eventstore::partition_of;
use meshwork_sql::Sqlite;
use tempfile::TempDir;
use time::OffsetDateTime;

/// The stream of the tests.
pub(crate) const STREAM: &str = "shop";

pub(crate) struct Feed {
    pub(crate) bus: Arc<SqliteBus>,
    folder: TempDir,
}

/// An event of `subject`, at place `n` of its partition.
pub(crate) fn envelope(subject: &str, version: i64, n: i64) -> Envelope {
    Envelope {
        id: Envelope::id_of(subject, version),
        source: "shop".to_owned(),
        event_type: "happened".to_owned(),
        schema_version: 1,
        subject: subject.to_owned(),
        version,
        position: Position { partition: partition_of(subject, PARTITIONS), n, index: 0 },
        time: OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(1_234_567),
        context: Context::default(),
        data: format!("{subject} at {version}").into(),
    }
}

/// The `k`-th subject of a partition.
pub(crate) fn subject_in(partition: u16, k: usize) -> String {
    let all = (0..).map(|n| format!("things/{n}"));
    all.filter(|subject| partition_of(subject, PARTITIONS) == partition).nth(k).unwrap()
}

impl Feed {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { bus: SqliteBus::open(folder.path()).await.unwrap(), folder }
    }

    /// The bus's own database.
    pub(crate) async fn database(&self) -> Sqlite {
        Sqlite::open(&self.folder.path().join("bus.db"), &[]).await.unwrap()
    }

    /// Publishes an event behind the others of its partition.
    pub(crate) async fn publish(&self, subject: &str, version: i64) -> Envelope {
        let lane = lane(STREAM, partition_of(subject, PARTITIONS));
        let tail = tail(self.bus.as_ref(), &lane).await;
        let event = envelope(subject, version, tail.map_or(1, |tail| tail.position.n + 1));
        publish(self.bus.as_ref(), &lane, vec![event.clone()]).await;
        event
    }

    /// Publishes some versions of a subject.
    pub(crate) async fn publish_all(&self, subject: &str, versions: impl IntoIterator<Item = i64>) {
        for version in versions {
            self.publish(subject, version).await;
        }
    }

    /// All that is on the bus, by partition.
    pub(crate) async fn all(&self) -> Vec<Envelope> {
        let mut events = Vec::new();
        for partition in 0..PARTITIONS {
            events.extend(read_all(self.bus.as_ref(), &lane(STREAM, partition)).await);
        }
        events
    }
}
