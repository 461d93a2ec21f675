//! Publishing, fenced by the lane's last position.

use async_trait::async_trait;
use meshwork_sql::Error;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::log::Log;
use super::{messages, sweep};
use crate::bus::{BusError, Lane, MAX_MESSAGE_BYTES, Publisher};
use crate::{Envelope, Position};

/// How many bytes the attributes of an event are reckoned with, besides those that vary.
const ATTRIBUTES: usize = 512;

/// A lane that is open for publishing.
pub(super) struct SqlitePublisher {
    log: Log,
    lane: Lane,
    tail: Option<Envelope>,
}

impl SqlitePublisher {
    pub(super) async fn open(log: Log, lane: Lane) -> Result<Self, BusError> {
        let tail = messages::tail(log.db.reader(), &lane).await?;
        Ok(Self { log, lane, tail })
    }

    /// Writes events in one transaction, unless the lane's tail is not `expected` any more; `None` asks for no tail.
    async fn write(
        &self,
        table: &'static str,
        expected: Option<Option<Position>>,
        events: Vec<Envelope>,
    ) -> Result<(), BusError> {
        let (lane, pulse) = (self.lane.clone(), self.log.pulse(&self.lane));
        let is_time_to_sweep = self.log.counted();
        self.log
            .db
            .write_once(move |connection| {
                Box::pin(async move {
                    if let Some(expected) = expected
                        && tail_of(connection, &lane).await.map_err(Error::from)? != expected
                    {
                        return Err(BusError::TailMoved);
                    }
                    let now = sweep::now();
                    messages::insert(connection, table, &lane, &events, now).await.map_err(Error::from)?;
                    if is_time_to_sweep {
                        sweep::sweep(connection, &lane, now).await.map_err(Error::from)?;
                    }
                    pulse.note(0, "");
                    fail::fail_point!("bus::inserted");
                    Ok(())
                })
            })
            .await
    }
}

#[async_trait]
impl Publisher for SqlitePublisher {
    fn tail(&self) -> Option<&Envelope> {
        self.tail.as_ref()
    }

    async fn publish(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        let fitting = events.iter().position(|event| too_large(event).is_some()).unwrap_or(events.len());
        if let Some(last) = events[..fitting].last() {
            let expected = self.tail.as_ref().map(|tail| tail.position);
            self.write("messages", Some(expected), events[..fitting].to_vec()).await?;
            fail::fail_point!("bus::committed");
            self.tail = Some(last.clone());
        }
        events.get(fitting).and_then(too_large).map_or(Ok(()), Err)
    }

    async fn repair(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        if let Some(error) = events.iter().find_map(too_large) {
            return Err(error);
        }
        if events.is_empty() {
            return Ok(());
        }
        self.write("repaired", None, events.to_vec()).await
    }

    async fn losses(&mut self) -> Result<u64, BusError> {
        // A file loses nothing from between its rows.
        Ok(0)
    }
}

/// Why an event is never taken: the same bound as a broker has.
fn too_large(event: &Envelope) -> Option<BusError> {
    let context = &event.context;
    let varying = [
        &event.id,
        &event.source,
        &event.event_type,
        &event.subject,
        &context.causation_id,
        &context.correlation_id,
        &context.trace_parent,
        &context.trace_state,
        &context.actor,
    ];
    let bytes = event.data.len() + ATTRIBUTES + varying.iter().map(|attribute| attribute.len()).sum::<usize>();
    (bytes > MAX_MESSAGE_BYTES).then(|| BusError::TooLarge { id: event.id.clone(), bytes, limit: MAX_MESSAGE_BYTES })
}

async fn tail_of(connection: &mut SqliteConnection, lane: &Lane) -> Result<Option<Position>, sqlx::Error> {
    let row =
        sqlx::query("SELECT n, i FROM messages WHERE stream = ? AND partition = ? ORDER BY n DESC, i DESC LIMIT 1")
            .bind(&lane.stream)
            .bind(lane.partition)
            .fetch_optional(connection)
            .await?;
    let position = |row: sqlx::sqlite::SqliteRow| {
        Ok(Position { partition: lane.partition, n: row.try_get(0)?, index: row.try_get(1)? })
    };
    row.map(position).transpose()
}
