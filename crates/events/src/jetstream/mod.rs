//! The bus on NATS JetStream: what production runs.
//!
//! A stream of ours is a stream there, declared on first use; a lane is the subjects that end with its partition.
//! Events are CloudEvents in binary mode. Publishing is fenced by the lane's last sequence (NT-2), which is read from
//! the stream itself (NT-4). Each consumer of a lane is a durable pull consumer. The servers must be 2.14 or later.

mod api;
mod consumer;
mod fenced;
mod locate;
mod names;
mod options;
mod publisher;
mod pull;
mod reader;
mod stored;
mod stream;
mod subscription;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_nats::Event;
use async_trait::async_trait;
use serde_json::Value;

pub use options::{InvalidOption, JetStreamOptions};

use self::api::{ANSWER, Api, Failure, Trouble};
use self::fenced::Fenced;
use self::names::Names;
use self::publisher::JetStreamPublisher;
use self::pull::Pull;
use self::reader::JetStreamReader;
use self::stream::Streams;
use self::subscription::JetStreamSubscription;
use crate::bus::lanes_of;
use crate::{Bus, BusError, Lane, Publisher, ReadFrom, Reader, Resume, Scope, Subscription};

/// How often the connection is tried: three unanswered tries end it.
const PING: Duration = Duration::from_secs(5);
/// How long a ping waits for a connection.
const PONG: Duration = Duration::from_secs(1);
/// How long we wait at most before we connect again.
const RECONNECT: Duration = Duration::from_secs(4);

/// The bus on NATS JetStream.
pub struct JetStreamBus {
    api: Api,
    streams: Arc<Streams>,
    fenced: Arc<Fenced>,
    /// How many lanes streams have.
    lanes: HashMap<String, u16>,
}

impl JetStreamBus {
    /// Begins to connect. Servers that can't be reached yet are no error: they are tried until they can, and what is
    /// asked of the bus meanwhile is refused after a few seconds.
    ///
    /// # Errors
    /// When an option can't be used: a wrong address, a file that can't be read, settings that don't go together.
    pub async fn connect(options: JetStreamOptions) -> Result<Arc<Self>, InvalidOption> {
        options.check_streams()?;
        let (servers, names) = (options.servers()?, options::redacted(&options.url));
        let trouble = Trouble::default();
        let client = options
            .identity()
            .await?
            .retry_on_initial_connect()
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .ping_interval(PING)
            .reconnect_delay_callback(pause)
            .event_callback({
                let (trouble, names) = (trouble.clone(), names.clone());
                move |event| {
                    note(&trouble, &names, &event);
                    std::future::ready(())
                }
            })
            .connect(servers)
            .await
            .map_err(|error| InvalidOption { option: "url", problem: format!("can't be connected to: {error}") })?;
        Ok(Arc::new(Self {
            api: Api::new(client, names, trouble),
            streams: Arc::new(Streams::new(options.replicas, options.retention, options.max_bytes)),
            fenced: Arc::default(),
            lanes: options.lanes,
        }))
    }

    /// Declares `streams`, which whoever calls this publishes to: they are made, or changed to what the options say. Publishing
    /// does it too, when it first needs a stream; who does it before lets others wait for it ([`Bus::missing`]).
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn declare(&self, streams: &[&str]) -> Result<(), BusError> {
        self.api.connected(ANSWER).await?;
        for name in streams {
            self.streams.ensure(&self.api, name, true).await?;
        }
        Ok(())
    }

    /// Sees to it that the lane's stream is there.
    async fn ready(&self, lane: &Lane, publishes: bool) -> Result<(), BusError> {
        self.api.connected(ANSWER).await?;
        Ok(self.streams.ensure(&self.api, &lane.stream, publishes).await?)
    }

    /// Declares the lane's stream again if it turned out to be gone; other failures are not worth another try.
    async fn again(&self, lane: &Lane, publishes: bool, failure: Failure) -> Result<(), BusError> {
        if !failure.is_no_stream() {
            return Err(failure.into());
        }
        tracing::error!(stream = lane.stream, "a stream has vanished, and is declared again");
        self.streams.forget(&lane.stream);
        Ok(self.streams.ensure(&self.api, &lane.stream, publishes).await?)
    }

    async fn subscription(
        &self,
        consumer: &str,
        lane: &Lane,
        resume: Resume,
    ) -> Result<JetStreamSubscription, Failure> {
        let names = Names::of(lane);
        let takeover = self.fenced.may_take_over(lane, &names.consumer(consumer));
        let name = consumer::open(&self.api, consumer, lane, resume, takeover).await?;
        let pull = Pull::open(&self.api, &names.stream, &name).await?;
        Ok(JetStreamSubscription::new(&self.api, lane, name, &self.fenced, pull))
    }
}

#[async_trait]
impl Bus for JetStreamBus {
    fn lanes(&self, stream: &str) -> Vec<Lane> {
        lanes_of(stream, &self.lanes)
    }

    async fn publisher(&self, lane: &Lane) -> Result<Box<dyn Publisher>, BusError> {
        self.ready(lane, true).await?;
        let open = || JetStreamPublisher::open(&self.api, &self.streams, lane);
        match open().await {
            Ok(publisher) => Ok(Box::new(publisher)),
            Err(failure) => {
                self.again(lane, true, failure).await?;
                Ok(Box::new(open().await?))
            }
        }
    }

    async fn subscribe(&self, consumer: &str, lane: &Lane, resume: Resume) -> Result<Box<dyn Subscription>, BusError> {
        self.ready(lane, false).await?;
        match self.subscription(consumer, lane, resume).await {
            Ok(subscription) => Ok(Box::new(subscription)),
            Err(failure) => {
                self.again(lane, false, failure).await?;
                Ok(Box::new(self.subscription(consumer, lane, resume).await?))
            }
        }
    }

    async fn reader(&self, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Box<dyn Reader>, BusError> {
        // Whoever only reads declares nothing: its settings are not those of whoever publishes.
        self.api.connected(ANSWER).await?;
        match JetStreamReader::open(&self.api, lane, from, scope).await {
            Ok(reader) => Ok(Box::new(reader)),
            Err(failure) if failure.is_no_stream() => Err(BusError::Unavailable(format!(
                "the stream {} isn't there: nobody has published to it yet",
                Names::of(lane).stream
            ))),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn missing(&self, streams: &[&str]) -> Result<Vec<String>, BusError> {
        self.api.connected(PONG).await?;
        let mut missing = Vec::new();
        for name in streams {
            match stream::state(&self.api, &name.to_uppercase()).await {
                Ok(_) => {}
                Err(failure) if failure.is_no_stream() => missing.push((*name).to_owned()),
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(missing)
    }

    async fn ping(&self) -> Result<(), BusError> {
        // Sooner than a check gives up, so that it has the reason.
        self.api.connected(PONG).await?;
        match self.api.call::<Value>("INFO", &Value::Null).await {
            Ok(_) => Ok(()),
            Err(Failure::NoResponders) => Err(BusError::Unavailable(
                "no JetStream enabled: the NATS server answers, but not for JetStream".to_owned(),
            )),
            Err(failure) => Err(failure.into()),
        }
    }

    fn retention(&self) -> Duration {
        self.streams.retention
    }
}

/// How long we wait before we connect again: longer each time, and never as long as others who lost it with us.
fn pause(attempts: usize) -> Duration {
    let doubled = 1_u32 << attempts.saturating_sub(1).min(6);
    (Duration::from_millis(100) * doubled).min(RECONNECT).mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Logs what happens to the connection.
fn note(trouble: &Trouble, servers: &str, event: &Event) {
    let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
    match event {
        Event::Connected => {
            trouble.clear();
            tracing::info!(servers, "connected to NATS");
        }
        Event::SlowConsumer(_) => tracing::error!(servers, "messages from NATS were dropped: {event}"),
        Event::ServerError(_) | Event::ClientError(_) => {
            *trouble = event.to_string();
            tracing::warn!(servers, "NATS: {event}");
        }
        Event::Disconnected | Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::warn!(servers, "NATS: {event}");
        }
    }
}
