//! Pulling messages from a consumer, one request at a time.
//!
//! A request takes what is there, or waits for the first message and takes what is there then. Nothing is asked for
//! ahead: what the server has handed over is what the caller has. A request ends with its last message or with a word
//! of the server; one that ends otherwise is an error, so nothing that was lost on its way goes unnoticed.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::api::{Api, Failure, bounded};
use super::stream::nanoseconds;
use crate::MAX_MESSAGE_BYTES;

/// How much longer than it was asked to the server may take.
const GRACE: Duration = Duration::from_secs(2);
/// How long we wait before we ask again when a request has ended early with nothing: others wait for what there is.
const EARLY: Duration = Duration::from_millis(50);
/// How many bytes are asked for at once: more than the largest message has.
const MAX_BYTES: usize = 4 * MAX_MESSAGE_BYTES;

/// Where the server said where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// How often it was delivered with this time.
    pub(super) delivered: u32,
    /// Its sequence in the stream.
    pub(super) stream_seq: u64,
    /// Its sequence among what the consumer was given.
    pub(super) consumer_seq: u64,
    /// When it was stored, in nanoseconds since the epoch.
    pub(super) stored: i128,
    /// How many wait behind it.
    pub(super) pending: u64,
}

impl Info {
    /// Reads `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<seq>.<seq>.<time>.<pending>[.<token>]`.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let tokens: Vec<&str> = message.reply.as_ref()?.strip_prefix("$JS.ACK.")?.split('.').collect();
        let skipped = match tokens.len() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let number = |place: usize| tokens.get(skipped + place)?.parse().ok();
        Some(Self {
            delivered: tokens.get(skipped)?.parse().ok()?,
            stream_seq: number(1)?,
            consumer_seq: number(2)?,
            stored: tokens.get(skipped + 3)?.parse().ok()?,
            pending: number(4)?,
        })
    }
}

/// Pulls from a consumer.
pub(super) struct Pull {
    api: Api,
    subject: String,
    inbox: String,
    messages: Subscriber,
    requests: u64,
    /// A request that has not ended.
    open: Option<Request>,
    /// What has come and was not taken.
    ready: VecDeque<Message>,
}

struct Request {
    wanted: usize,
    got: usize,
    until: Instant,
}

impl Pull {
    pub(super) async fn open(api: &Api, stream: &str, consumer: &str) -> Result<Self, Failure> {
        let inbox = api.client().new_inbox();
        let lost = |error: async_nats::SubscribeError| Failure::Lost(error.to_string());
        api.online()?;
        let messages = bounded(api.client().subscribe(format!("{inbox}.*"))).await?.map_err(lost)?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        Ok(Self { api: api.clone(), subject, inbox, messages, requests: 0, open: None, ready: VecDeque::new() })
    }

    /// At most `max` messages; waits for the first for at most `wait`, so that none means that none was there.
    pub(super) async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Message>, Failure> {
        let until = Instant::now() + wait;
        while self.ready.is_empty() {
            if self.open.is_none() {
                self.ask(max, until.saturating_duration_since(Instant::now())).await?;
            }
            let ended = self.collect().await;
            self.open = None;
            ended?;
            let now = Instant::now();
            if !self.ready.is_empty() || now >= until {
                break;
            }
            sleep(EARLY.min(until - now)).await;
        }
        let taken = max.min(self.ready.len());
        Ok(self.ready.drain(..taken).collect())
    }

    /// Takes what has come and was not taken.
    pub(super) fn take_ready(&mut self) -> Vec<Message> {
        self.ready.drain(..).collect()
    }

    async fn ask(&mut self, max: usize, wait: Duration) -> Result<(), Failure> {
        self.api.online()?;
        self.requests += 1;
        let mut request = Map::new();
        request.insert("batch".to_owned(), json!(max));
        request.insert("max_bytes".to_owned(), json!(MAX_BYTES));
        // Without an end it doesn't wait at all; with one it waits for the first message only.
        request.insert("no_wait".to_owned(), json!(true));
        if wait >= Duration::from_millis(1) {
            request.insert("expires".to_owned(), nanoseconds(wait));
        }
        let reply = format!("{}.{}", self.inbox, self.requests);
        let payload = Value::Object(request).to_string().into();
        let lost = |error: async_nats::PublishError| Failure::Lost(error.to_string());
        bounded(self.api.client().publish_with_reply(self.subject.clone(), reply, payload)).await?.map_err(lost)?;
        self.open = Some(Request { wanted: max, got: 0, until: Instant::now() + wait + GRACE });
        Ok(())
    }

    /// Waits until the open request ends.
    async fn collect(&mut self) -> Result<(), Failure> {
        while let Some(request) = &mut self.open {
            let message = match timeout_at(request.until, self.messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(Failure::Lost("the subscription has ended".to_owned())),
                Err(_) => return Err(Failure::Lost("a request for messages was not answered".to_owned())),
            };
            let Some(status) = message.status else {
                request.got += 1;
                self.ready.push_back(message);
                if request.got >= request.wanted {
                    return Ok(());
                }
                continue;
            };
            if message.subject.rsplit('.').next() != Some(self.requests.to_string().as_str()) {
                continue;
            }
            let description = message.description.unwrap_or_default();
            match status.as_u16() {
                100 => {}
                // Not the end: the messages of replicated streams come behind it.
                409 if description.eq_ignore_ascii_case("Batch Completed") => {}
                // Nothing is there, its time is over, or there are others who wait for what is there.
                404 | 408 => return Ok(()),
                409 if description.eq_ignore_ascii_case("Message Size Exceeds MaxBytes") => return Ok(()),
                503 => return Err(Failure::NoResponders),
                code => return Err(Failure::Lost(format!("the consumer gives nothing: {description} ({code})"))),
            }
        }
        Ok(())
    }

    /// Ends the subscription, so that nothing more is handed over to it, and takes what was.
    pub(super) async fn close(&mut self) -> Vec<Message> {
        // Nobody is left whom a failure would concern.
        let _ = timeout(GRACE, self.messages.unsubscribe()).await;
        while let Some(Some(message)) = self.messages.next().now_or_never() {
            self.ready.extend(Some(message).filter(|message| message.status.is_none()));
        }
        self.take_ready()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn info(reply: &str) -> Option<Info> {
        let message = Message {
            subject: "orders.v1.order_created.p03".into(),
            reply: Some(reply.into()),
            payload: bytes::Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        Info::of(&message)
    }

    #[test]
    fn both_forms_of_an_acknowledgement_are_known() {
        let known =
            Info { delivered: 2, stream_seq: 40, consumer_seq: 7, stored: 1_700_000_000_000_000_001, pending: 3 };
        assert_eq!(info("$JS.ACK.ORDERS.c.2.40.7.1700000000000000001.3"), Some(known));
        assert_eq!(info("$JS.ACK._.hash.ORDERS.c.2.40.7.1700000000000000001.3"), Some(known));
        assert_eq!(info("$JS.ACK.hub.hash.ORDERS.c.2.40.7.1700000000000000001.3.token"), Some(known));
        assert_eq!(info("$JS.ACK.ORDERS.c.2.40.7.x.3"), None);
        assert_eq!(info("_INBOX.1"), None);
    }
}
