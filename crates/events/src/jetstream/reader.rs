//! Reading a lane without changing anything for anybody.

use std::time::Duration;

use async_nats::connection::State;
use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::api::{ANSWER, Api, Failure};
use super::names::Names;
use super::pull::{Info, Pull};
use super::stream::nanoseconds;
use super::{locate, stored, stream};
use crate::{BusError, Envelope, Lane, ReadFrom, Reader, Scope, cloudevents};

/// How many messages are pulled at once.
const BATCH: usize = 256;
/// For how long the server keeps a reader that asks for nothing.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// How long we wait for what the leader has and our reader's server does not.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Reads a lane, through a consumer of its own that acknowledges nothing.
pub(super) struct JetStreamReader {
    api: Api,
    lane: Lane,
    stream: String,
    consumer: String,
    filters: Vec<String>,
    pull: Pull,
    /// The first sequence that is asked for.
    start: u64,
    /// The last sequence that has come.
    seen: u64,
    /// How many messages have come.
    came: u64,
}

impl JetStreamReader {
    pub(super) async fn open(api: &Api, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Self, Failure> {
        let names = Names::of(lane);
        let start = match from {
            ReadFrom::Start => 1,
            ReadFrom::Behind(position) => locate::start_behind(api, lane, position).await?,
            ReadFrom::Now => stream::state(api, &names.stream).await?.last_seq + 1,
        };
        let filters = match scope {
            Scope::Published => vec![names.published],
            Scope::Repaired => vec![names.repaired],
            Scope::All => vec![names.published, names.repaired],
        };
        let consumer = format!("reader-{}", Uuid::new_v4().simple());
        let request = json!({ "stream_name": names.stream, "action": "create", "config": {
            "name": consumer,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "replay_policy": "instant",
            "filter_subjects": filters,
            "inactive_threshold": nanoseconds(IDLE),
            "mem_storage": true,
            "num_replicas": 1,
        }});
        api.call::<Value>(&format!("CONSUMER.CREATE.{}.{consumer}", names.stream), &request).await?;
        let pull = Pull::open(api, &names.stream, &consumer).await?;
        Ok(Self {
            api: api.clone(),
            lane: lane.clone(),
            stream: names.stream,
            consumer,
            filters,
            pull,
            start,
            seen: start - 1,
            came: 0,
        })
    }

    /// Whether the leader has something that has not come: our reader's server may be behind it.
    async fn is_behind(&self) -> Result<bool, Failure> {
        for filter in &self.filters {
            if stored::last(&self.api, &self.stream, filter).await?.is_some_and(|last| last.seq > self.seen) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Reader for JetStreamReader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Envelope>, BusError> {
        let (until, late) = (Instant::now() + wait, Instant::now() + wait + ANSWER);
        let mut wait = wait;
        loop {
            let messages = self.pull.next(max.clamp(1, BATCH), wait).await?;
            let none = messages.is_empty();
            let mut events = Vec::with_capacity(messages.len());
            for message in messages {
                let info =
                    Info::of(&message).ok_or_else(|| BusError::Unavailable("no place in a message".to_owned()))?;
                self.came += 1;
                if info.consumer_seq != self.came {
                    return Err(BusError::Unavailable("messages were lost on their way".to_owned()));
                }
                if info.stream_seq < self.start {
                    continue;
                }
                self.seen = info.stream_seq;
                let stored =
                    OffsetDateTime::from_unix_timestamp_nanos(info.stored).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                let headers = message.headers.unwrap_or_default();
                let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
                match cloudevents::decode(self.lane.partition, header, message.payload, stored) {
                    Ok(event) => events.push(event),
                    Err(error) => tracing::error!(
                        stream = self.stream, subject = %message.subject, seq = info.stream_seq, %error,
                        "a message that is no event of ours is passed over"
                    ),
                }
            }
            if !events.is_empty() {
                return Ok(events);
            }
            wait = until.saturating_duration_since(Instant::now());
            if none && wait.is_zero() {
                if !self.is_behind().await? {
                    return Ok(events);
                }
                if Instant::now() >= late {
                    return Err(BusError::Unavailable(format!("{} is read from a server that lags behind", self.lane)));
                }
                wait = CATCH_UP;
            }
        }
    }
}

impl Drop for JetStreamReader {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.api.client().connection_state() != State::Connected {
            return;
        }
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, self.consumer);
        let client = self.api.client().clone();
        // If it fails, the server drops the consumer when it has been idle for long enough.
        runtime.spawn(async move { timeout(ANSWER, client.publish(subject, bytes::Bytes::new())).await.is_ok() });
    }
}
