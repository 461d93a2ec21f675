//! The client of Redis: every command once, within a hard budget of time (CA-8).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::{Client, WithOptions};
use fred::interfaces::{ClientInterface as _, ClientLike as _, HashesInterface as _, KeysInterface as _};
use fred::types::client::Toggle;
use fred::types::config::{Config, Options, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ClusterHash, CustomCommand, RespVersion, Value};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::failures::Failure;
use super::keys::Keys;
use super::options::{InvalidRedis, RedisOptions};
use super::scripts::{self, Script};

/// What isn't urgent, such as beats and what makes up for a loss, may take so long.
const PATIENT: Duration = Duration::from_millis(250);
/// The client's own timeout comes first, since it keeps what is late from being sent.
const GRACE: Duration = Duration::from_millis(2);
/// Commands that wait for a connection: more would not be answered within their time.
const QUEUE: usize = 10_000;
/// A connection that owes an answer for so long is given up.
const UNRESPONSIVE: Duration = Duration::from_secs(2);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the link's task waits for another connection that it has asked for.
const RECONNECT: Duration = Duration::from_secs(5);
/// Between attempts to connect, in milliseconds, growing twofold.
const PAUSES: (u32, u32) = (50, 1000);
/// Messages about what others wrote that may wait; one holds what was written in a turn of the server's loop.
const MESSAGES: usize = 1024;
/// Where a slot has moved to is learnt, and the command fails. The client mustn't follow: on the way to where a slot is about
/// to move (`ASK`), it takes any answer on the shared connection for that to its `ASKING`, and gives all later ones to the
/// wrong callers (fred 10.1, `send_asking_with_policy`).
const REDIRECTIONS: u32 = 0;

/// Commands to Redis. The connection ends with it.
pub(super) struct Commands {
    client: Client,
    quick: WithOptions<Client>,
    patient: WithOptions<Client>,
    limit: Duration,
    pub keys: Keys,
    pub is_clustered: bool,
    connection: JoinHandle<Result<(), fred::error::Error>>,
}

/// A sign of life that was asked for.
pub(super) struct Beat {
    pub sent: Instant,
    /// The epoch, or why there was no answer.
    pub answer: Result<String, Failure>,
}

impl Commands {
    /// Connects in the background. `subscribe` sees the client before it has a connection.
    pub fn connect<T>(
        options: &RedisOptions,
        subscribe: impl FnOnce(&Client) -> T,
    ) -> Result<(Arc<Self>, T), InvalidRedis> {
        let invalid = |error: fred::error::Error| InvalidRedis(error.details().to_owned());
        let mut config = Config::from_url(&options.url).map_err(invalid)?;
        // A Redis that isn't there yet is waited for.
        config.fail_fast = false;
        // Answers and messages in one order, on one connection.
        config.version = RespVersion::RESP3;
        let is_clustered = config.server.is_clustered();
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
        let subscriptions = subscribe(&client);
        let connection = client.connect();
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
        let (quick, patient) = (within(options.timeout), within(PATIENT.max(options.timeout)));
        let (limit, keys) = (options.timeout, Keys::new(&options.prefix));
        let commands = Self { client, quick, patient, limit, keys, is_clustered, connection };
        Ok((Arc::new(commands), subscriptions))
    }

    /// What is stored under a name.
    pub async fn get(&self, name: String, patiently: bool) -> Result<Option<Bytes>, Failure> {
        let (client, limit) = self.within(patiently);
        // What somebody else wrote there may be no text: it is as if nothing were there.
        let text = async {
            match client.get(name).await {
                Err(error) if error.details().starts_with("WRONGTYPE") => Ok(None),
                answer => answer,
            }
        };
        in_time(limit, text).await
    }

    /// All marks of a source, by partition.
    pub async fn marks(&self, name: String, patiently: bool) -> Result<HashMap<String, i64>, Failure> {
        let (client, limit) = self.within(patiently);
        in_time(limit, client.hgetall(name)).await
    }

    /// Runs a script. In a cluster its names are in one slot.
    pub async fn run(
        &self,
        script: &Script,
        names: Vec<String>,
        arguments: Vec<Value>,
        patiently: bool,
    ) -> Result<Value, Failure> {
        let (client, limit) = self.within(patiently);
        // Not by the client's own methods for scripts, which know no options.
        let call = async {
            let command = |name| CustomCommand::new_static(name, slot(self.is_clustered, &names), false);
            let known = words(script.sha.as_str(), &names, &arguments);
            match client.custom::<Value, Value>(command("EVALSHA"), known).await {
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    let unknown = words(script.text, &names, &arguments);
                    client.custom::<Value, Value>(command("EVAL"), unknown).await
                }
                result => result,
            }
        };
        in_time(limit, call).await
    }

    /// Asks for a sign of life and the epoch.
    pub async fn beat(self: Arc<Self>) -> Beat {
        let sent = Instant::now();
        let epoch = format!("{:032x}", fastrand::u128(..));
        let answer = self.run(&scripts::BEAT, vec![self.keys.epoch()], vec![epoch.into()], true).await;
        let answer = answer.and_then(|epoch| epoch.into_string().ok_or_else(|| Failure::unexpected("a beat")));
        Beat { sent, answer }
    }

    /// Has Redis tell on this connection what others write. It refuses a prefix that was asked for already, so all are taken
    /// back first.
    pub async fn track(&self) -> Result<(), Failure> {
        let off = self.patient.client_tracking::<(), _, _>(
            Toggle::Off,
            None,
            Vec::<String>::new(),
            false,
            false,
            false,
            false,
        );
        in_time(PATIENT, off).await?;
        let prefixes = self.keys.tracked();
        let on = self.patient.client_tracking::<(), _, _>(Toggle::On, None, prefixes, true, false, false, true);
        in_time(PATIENT, on).await
    }

    /// Another connection, to whatever server the URL leads to now.
    pub async fn reconnect(&self) {
        match timeout(RECONNECT, self.client.force_reconnection()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cache: no other connection to Redis; the next beat tells"),
            Err(_) => {
                tracing::debug!("cache: no other connection to Redis within {RECONNECT:?}; it is still looked for")
            }
        }
    }

    fn within(&self, patiently: bool) -> (&WithOptions<Client>, Duration) {
        if patiently { (&self.patient, PATIENT.max(self.limit)) } else { (&self.quick, self.limit) }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Also where the client itself is late.
async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, fred::error::Error>>,
) -> Result<T, Failure> {
    match timeout(limit + GRACE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if matches!(error.kind(), fred::error::ErrorKind::Timeout) => Err(Failure::late(limit)),
        Ok(Err(error)) => Err(Failure::of(&error)),
        Err(_) => Err(Failure::late(limit)),
    }
}

/// Where a cluster has the names.
fn slot(is_clustered: bool, names: &[String]) -> ClusterHash {
    match names {
        [name, ..] if is_clustered => ClusterHash::from(name.as_str()),
        _ => ClusterHash::FirstKey,
    }
}

/// What follows `EVAL` and `EVALSHA`.
fn words(script: &str, names: &[String], arguments: &[Value]) -> Vec<Value> {
    let mut words = Vec::with_capacity(2 + names.len() + arguments.len());
    words.push(Value::from(script));
    words.push(Value::from(i64::try_from(names.len()).unwrap_or(i64::MAX)));
    words.extend(names.iter().map(Value::from));
    words.extend(arguments.iter().cloned());
    words
}
