//! A publisher that knows nothing of lanes, fences and batches: what one writes with `async-nats`.
//!
//! It sends what the relay sends, byte by byte, but for the headers that fence a publication or make a batch of it. It
//! publishes to lanes of its own in the relay's stream, so that both have the same leader, settings and disk. It has a
//! task for each lane, and its messages are ready before the clock starts; the relay makes its own while it runs.

use async_nats::subject::Subject;
use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use meshwork_events::outbox::PARTITIONS;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;

use crate::running::{PATIENCE, Running, STREAM};

/// How many publications of a lane wait for their acknowledgements: as many as the relay publishes at once.
pub const IN_FLIGHT: usize = 128;

/// Names a publication, for the server's defence against duplicates.
const ID: &str = "Nats-Msg-Id";
/// The headers that the relay alone has begin with one of them.
const FENCES: [&str; 2] = ["Nats-Expected-Last-", "Nats-Batch-"];

/// The plain publisher.
pub struct Plain {
    client: Client,
    /// What the relay has sent, by lane.
    messages: Vec<Vec<Outgoing>>,
    runs: usize,
}

#[derive(Clone)]
struct Outgoing {
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
}

/// What the server says of a publication.
#[derive(Debug, Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    error: Option<Value>,
}

impl Plain {
    /// Listens to what the relay publishes of so many events of each lane, to publish the same.
    pub async fn listen(client: Client, running: &Running, each: usize) -> Self {
        let mut heard = client.subscribe(format!("{STREAM}.v1.>")).await.unwrap();
        client.flush().await.unwrap();
        running.log.add(running.log.next(each));
        running.caught_up().await;
        let mut messages = vec![Vec::new(); usize::from(PARTITIONS)];
        for _ in 0..each * messages.len() {
            let message = timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
            let (prefix, lane) = message.subject.rsplit_once('.').unwrap();
            let partition: u16 = lane.strip_prefix('p').unwrap().parse().unwrap();
            let subject = format!("{prefix}.p{:02}", partition + PARTITIONS).into();
            let outgoing = Outgoing { subject, headers: unfenced(&message), payload: message.payload };
            messages[usize::from(partition)].push(outgoing);
        }
        Self { client, messages, runs: 0 }
    }

    /// Publishes so many messages to each lane; returns the seconds until all are acknowledged.
    pub async fn publish(&mut self, each: usize) -> f64 {
        self.runs += 1;
        let mut lanes = Vec::new();
        for (lane, messages) in self.messages.iter().enumerate() {
            let messages = messages.iter().cycle().take(each).enumerate();
            let messages = messages.map(|(at, message)| again(message, lane, self.runs, at)).collect();
            let inbox = Subject::from(self.client.new_inbox());
            let acks = self.client.subscribe(inbox.clone()).await.unwrap();
            lanes.push(publish(self.client.clone(), messages, inbox, acks));
        }
        self.client.flush().await.unwrap();
        let begun = Instant::now();
        let lanes: JoinSet<()> = lanes.into_iter().collect();
        let done = timeout(PATIENCE, lanes.join_all()).await;
        assert!(done.is_ok(), "the plain publisher was not done within {PATIENCE:?}");
        begun.elapsed().as_secs_f64()
    }
}

/// The headers of a message that everybody would send.
fn unfenced(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.as_ref().unwrap().iter() {
        let text: &str = name.as_ref();
        if !FENCES.iter().any(|fence| text.starts_with(fence)) {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
    }
    headers
}

/// The message once more, under an id of the same length that is no other's.
fn again(message: &Outgoing, lane: usize, run: usize, at: usize) -> Outgoing {
    let mut message = message.clone();
    let length = message.headers.get(ID).unwrap().as_str().len();
    let run = format!("{lane}-{run:02}-");
    let width = length - run.len();
    message.headers.insert(ID, format!("{run}{at:0width$}"));
    message
}

/// Publishes a lane: the next message is sent when there is room in the window.
async fn publish(client: Client, messages: Vec<Outgoing>, inbox: Subject, mut acks: Subscriber) {
    let mut in_flight = 0;
    for Outgoing { subject, headers, payload } in messages {
        if in_flight == IN_FLIGHT {
            acknowledged(&mut acks).await;
            in_flight -= 1;
        }
        client.publish_with_reply_and_headers(subject, inbox.clone(), headers, payload).await.unwrap();
        in_flight += 1;
    }
    for _ in 0..in_flight {
        acknowledged(&mut acks).await;
    }
}

/// Waits for an acknowledgement; the whole run has a bound.
async fn acknowledged(acks: &mut Subscriber) {
    let answer = acks.next().await.unwrap();
    let ack: Ack = serde_json::from_slice(&answer.payload).unwrap_or_else(|error| panic!("{answer:?}: {error}"));
    assert!(ack.error.is_none() && !ack.duplicate && ack.seq > 0, "{ack:?}");
}
