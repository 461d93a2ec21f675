//! Taking part in handling a lane's events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::subject::Subject;
use async_nats::{HeaderMap, Message};
use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use super::api::{Api, Failure, bounded};
use super::consumer::{MAX_UNDONE, PATIENCE};
use super::fenced::Fenced;
use super::pull::{Info, Pull};
use crate::{Batch, BusError, Delivery, Lane, Subscription, cloudevents};

/// How many messages are pulled at once (NT-7).
const BATCH: usize = 64;
/// How much later than it has asked for its messages a subscription asks again: they would come behind newer ones.
const MARGIN: Duration = Duration::from_millis(25);
/// For how long a dropped subscription tries to give back what it holds.
const FAREWELL: Duration = Duration::from_secs(2);

const ACK: &[u8] = b"+ACK";
const NAK: &[u8] = b"-NAK";
const WORKING: &[u8] = b"+WPI";
const TERM: &[u8] = b"+TERM";

/// A subscription to a lane.
pub(super) struct JetStreamSubscription {
    api: Api,
    lane: Lane,
    /// The server's consumer.
    name: String,
    fenced: Arc<Fenced>,
    /// `None` once it was dropped.
    pull: Option<Pull>,
    /// What was handed over and isn't done: its place, and where a word about it goes.
    undone: VecDeque<(u64, Subject)>,
    places: u64,
    /// What can't be read, which the server is to forget.
    unreadable: Vec<Subject>,
    /// Until then what was given back is not asked for.
    not_before: Option<Instant>,
}

impl JetStreamSubscription {
    pub(super) fn new(api: &Api, lane: &Lane, name: String, fenced: &Arc<Fenced>, pull: Pull) -> Self {
        Self {
            api: api.clone(),
            lane: lane.clone(),
            name,
            fenced: fenced.clone(),
            pull: Some(pull),
            undone: VecDeque::new(),
            places: 0,
            unreadable: Vec::new(),
            not_before: None,
        }
    }

    async fn say(&self, to: &Subject, word: Bytes) -> Result<(), Failure> {
        let lost = |error: async_nats::PublishError| Failure::Lost(error.to_string());
        bounded(self.api.client().publish(to.clone(), word)).await?.map_err(lost)
    }

    /// The delivery in a message; `None` when it can't be read, and will never be.
    fn delivery(&mut self, message: Message, info: Info) -> Option<Delivery> {
        let reply = message.reply?;
        let stored = OffsetDateTime::from_unix_timestamp_nanos(info.stored).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let headers = message.headers.unwrap_or_default();
        let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
        match cloudevents::decode(self.lane.partition, header, message.payload, stored) {
            Ok(event) => {
                self.places += 1;
                self.undone.push_back((self.places, reply));
                Some(Delivery { event, attempt: info.delivered.max(1), place: self.places })
            }
            Err(error) => {
                tracing::error!(
                    consumer = self.name, subject = %message.subject, seq = info.stream_seq, %error,
                    "a message that is no event of ours is passed over"
                );
                self.unreadable.push(reply);
                None
            }
        }
    }

    /// Has the server forget what can't be read.
    async fn terminate(&mut self) -> Result<(), Failure> {
        while let Some(reply) = self.unreadable.last() {
            self.say(reply, Bytes::from_static(TERM)).await?;
            self.unreadable.pop();
        }
        Ok(())
    }
}

#[async_trait]
impl Subscription for JetStreamSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Batch, BusError> {
        if let Some(remaining) = self.not_before.map(|until| until.saturating_duration_since(Instant::now())) {
            sleep(remaining.min(wait)).await;
            if remaining > wait {
                return Ok(Batch::default());
            }
            self.not_before = None;
        }
        self.terminate().await?;
        let max = max.min(BATCH).min(MAX_UNDONE.saturating_sub(self.undone.len()));
        if max == 0 {
            sleep(wait).await;
            return Ok(Batch::default());
        }
        let Some(pull) = &mut self.pull else { return Ok(Batch::default()) };
        let messages = pull.next(max, wait).await?;
        // No wait from here on: if this one were dropped, what was handed over would be done with what comes behind it.
        let mut batch = Batch { deliveries: Vec::with_capacity(messages.len()), at_end: messages.is_empty() };
        for message in messages {
            let info = Info::of(&message)
                .ok_or_else(|| BusError::Unavailable(format!("{}: a message came from no consumer", self.name)))?;
            batch.at_end = info.pending == 0;
            batch.deliveries.extend(self.delivery(message, info));
        }
        Ok(batch)
    }

    async fn working(&mut self) -> Result<(), BusError> {
        self.api.online()?;
        for (_, reply) in &self.undone {
            self.say(reply, Bytes::from_static(WORKING)).await?;
        }
        Ok(())
    }

    async fn done_through(&mut self, place: u64) -> Result<(), BusError> {
        let done = self.undone.partition_point(|(held, _)| *held <= place);
        let Some(last) = done.checked_sub(1) else { return Ok(()) };
        self.api.online()?;
        self.terminate().await?;
        for (_, reply) in self.undone.iter().take(last) {
            self.say(reply, Bytes::from_static(ACK)).await?;
        }
        let Some((_, reply)) = self.undone.get(last).cloned() else { return Ok(()) };
        // The server answers the last one, behind the others.
        if let Err(failure) = self.api.request(reply, HeaderMap::new(), Bytes::from_static(ACK)).await {
            // Another instance may have taken over and reset the consumer. If we then did the same, we'd take turns.
            if matches!(failure, Failure::Lost(_)) && self.api.online().is_ok() {
                self.fenced.note(&self.lane, &self.name);
            }
            return Err(failure.into());
        }
        self.undone.drain(..done);
        Ok(())
    }

    async fn later(&mut self, delay: Duration) -> Result<(), BusError> {
        self.api.online()?;
        let word = if delay.is_zero() {
            Bytes::from_static(NAK)
        } else {
            format!("-NAK {{\"delay\": {}}}", delay.as_nanos()).into()
        };
        let ready = self.pull.as_mut().map(Pull::take_ready).unwrap_or_default();
        let held = std::mem::take(&mut self.undone).into_iter().map(|(_, reply)| reply);
        let replies: Vec<Subject> = held.chain(ready.into_iter().filter_map(|message| message.reply)).collect();
        for reply in &replies {
            self.say(reply, word.clone()).await?;
        }
        self.not_before = Some(Instant::now() + delay + MARGIN);
        match bounded(self.api.client().flush()).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(BusError::Unavailable(error.to_string())),
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl Drop for JetStreamSubscription {
    fn drop(&mut self) {
        let (Some(mut pull), Ok(runtime)) = (self.pull.take(), tokio::runtime::Handle::try_current()) else { return };
        let client = self.api.client().clone();
        let held: Vec<Subject> = std::mem::take(&mut self.undone).into_iter().map(|(_, reply)| reply).collect();
        if client.connection_state() != State::Connected {
            return;
        }
        runtime.spawn(async move {
            // Without it they'd come again after the server's patience, or at the next takeover.
            let farewell = async {
                let ready = pull.close().await.into_iter().filter_map(|message| message.reply);
                for reply in held.into_iter().chain(ready) {
                    if client.publish(reply, Bytes::from_static(NAK)).await.is_err() {
                        break;
                    }
                }
            };
            if timeout(FAREWELL, farewell).await.is_err() {
                tracing::debug!("a subscription could not give back what it held");
            }
        });
    }
}
