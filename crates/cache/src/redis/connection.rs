//! One client of Redis with its connection, and what it tells by itself.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::{ClientLike as _, TrackingInterface as _};
use fred::types::client::Invalidation;
use fred::types::config::{Options, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, RespVersion};
use tokio::sync::broadcast::Receiver;
use tokio::task::{AbortHandle, JoinHandle};

use super::events::Events;
use super::options::{InvalidRedis, RedisOptions};
use super::place::Place;

/// What isn't urgent, such as beats and what makes up for a loss, may take so long.
const PATIENT: Duration = Duration::from_millis(250);
/// Commands that wait for a connection: more would not be answered within their time.
const QUEUE: usize = 10_000;
/// A connection that owes an answer for so long is given up by the client. Each write puts that off, so that it serves the
/// idle ones of a cluster only; the link's task looks after the one that beats are sent on.
const UNRESPONSIVE: Duration = Duration::from_secs(2);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// Between attempts to connect, in milliseconds, growing twofold.
const PAUSES: (u32, u32) = (50, 1000);
/// Messages about what others wrote that may wait; one holds what was written in a turn of the server's loop.
const MESSAGES: usize = 1024;
/// Where a slot has moved to is learnt, and the command fails. The client mustn't follow: on the way to where a slot is about
/// to move (`ASK`), it takes any answer on the shared connection for that to its `ASKING`, and gives all later ones to the
/// wrong callers (fred 10.1, `send_asking_with_policy`).
const REDIRECTIONS: u32 = 0;

/// A client, which looks for a connection until it has one. The connection ends with it.
pub(super) struct Connection {
    client: Client,
    quick: WithOptions<Client>,
    patient: WithOptions<Client>,
    limit: Duration,
    task: AbortHandle,
    /// Where it leads to, for messages.
    pub place: Arc<Place>,
}

/// What the client tells by itself, subscribed to before its first connection.
pub(super) struct Subscriptions {
    pub events: Events,
    pub invalidations: Receiver<Invalidation>,
    /// The end of the client's task: it looks for no connection any more.
    pub end: Option<JoinHandle<Result<(), Error>>>,
}

impl Connection {
    /// Connects in the background.
    pub fn open(options: &RedisOptions) -> Result<(Self, Subscriptions), InvalidRedis> {
        let invalid = |error: Error| InvalidRedis(error.details().to_owned());
        let mut config = options.config()?;
        let place = Arc::new(Place::of(&config));
        // A Redis that isn't there yet is waited for.
        config.fail_fast = false;
        // Answers and messages in one order, on one connection.
        config.version = RespVersion::RESP3;
        let client = Builder::from_config(config)
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT;
                connection.internal_command_timeout = CONNECT;
                connection.max_command_attempts = 1;
                connection.max_redirections = REDIRECTIONS;
                connection.max_command_buffer_len = QUEUE;
                connection.unresponsive =
                    UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: UNRESPONSIVE / 4 };
                connection.tcp.nodelay = Some(true);
            })
            .with_performance_config(|performance| performance.broadcast_channel_capacity = MESSAGES)
            .set_policy(ReconnectPolicy::new_exponential(0, PAUSES.0, PAUSES.1, 2))
            .build()
            .map_err(invalid)?;
        Ok(Self::start(client, options.timeout, place))
    }

    /// Another one, to whatever server the URL leads to now. It has nothing in common with this one: a client that is told to
    /// reconnect does so only once it has written what it is about to write, not at all where a cluster's connections look well,
    /// and counts commands of an earlier task as waiting for ever, which keeps later ones from being sent (fred 10.1).
    pub fn another(&self) -> (Self, Subscriptions) {
        Self::start(self.client.clone_new(), self.limit, Arc::clone(&self.place))
    }

    fn start(client: Client, limit: Duration, place: Arc<Place>) -> (Self, Subscriptions) {
        let (events, invalidations) = (Events::of(&client, Arc::clone(&place)), client.invalidation_rx());
        let end = client.connect();
        let within = |limit: Duration| {
            // What is too late is not sent when a connection is there again.
            client.with_options(&Options {
                max_attempts: Some(1),
                max_redirections: Some(REDIRECTIONS),
                fail_fast: true,
                timeout: Some(limit),
                ..Options::default()
            })
        };
        let (quick, patient) = (within(limit), within(PATIENT.max(limit)));
        let connection = Self { client, quick, patient, limit, task: end.abort_handle(), place };
        (connection, Subscriptions { events, invalidations, end: Some(end) })
    }

    /// Whether it leads to a cluster, where each server has a connection of its own.
    pub fn is_clustered(&self) -> bool {
        self.client.is_clustered()
    }

    /// What commands are sent with, and how long their answers may take.
    pub fn within(&self, patiently: bool) -> (&WithOptions<Client>, Duration) {
        if patiently { (&self.patient, PATIENT.max(self.limit)) } else { (&self.quick, self.limit) }
    }

    /// Ends it, whatever it waits for: a socket that takes nothing any more too. Its commands fail.
    pub fn end(&self) {
        self.task.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
    }
}
