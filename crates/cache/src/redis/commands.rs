//! The commands to Redis: every one once, within a hard budget of time (CA-8).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{ClientInterface as _, ClientLike as _, HashesInterface as _, KeysInterface as _};
use fred::types::client::Toggle;
use fred::types::{ClusterHash, CustomCommand, Value};
use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout};

use super::connection::{Connection, Subscriptions};
use super::epoch::Epoch;
use super::failures::Failure;
use super::keys::Keys;
use super::options::{InvalidRedis, RedisOptions};
use super::place::Place;
use super::scripts::{self, Script};
use super::used::Used;

/// The client's own timeout comes first, since it keeps what is late from being sent.
const GRACE: Duration = Duration::from_millis(2);

/// Commands to Redis. The connection ends with it.
pub(super) struct Commands {
    connection: RwLock<Arc<Connection>>,
    pub keys: Keys,
    /// What must not be evicted before values are.
    pub used: Used,
    /// Where they go to, for messages.
    pub place: Arc<Place>,
    pub is_clustered: bool,
}

/// A sign of life that was asked for.
pub(super) struct Beat {
    pub sent: Instant,
    /// Of what Redis holds, or why there was no answer.
    pub answer: Result<Epoch, Failure>,
}

impl Commands {
    /// Connects in the background.
    pub fn connect(options: &RedisOptions) -> Result<(Arc<Self>, Subscriptions), InvalidRedis> {
        let (connection, subscriptions) = Connection::open(options)?;
        let (is_clustered, place) = (connection.is_clustered(), Arc::clone(&connection.place));
        let connection = RwLock::new(Arc::new(connection));
        let (keys, used) = (Keys::new(&options.prefix), Used::default());
        let commands = Self { connection, keys, used, place, is_clustered };
        Ok((Arc::new(commands), subscriptions))
    }

    /// Ends the connection at once, and connects anew in the background. Commands that are under way fail.
    pub fn replace(&self) -> Subscriptions {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        let (another, subscriptions) = connection.another();
        connection.end();
        *connection = Arc::new(another);
        subscriptions
    }

    fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is stored under a name.
    pub async fn get(&self, name: String, patiently: bool) -> Result<Option<Bytes>, Failure> {
        let connection = self.connection();
        let (client, limit) = connection.within(patiently);
        // What somebody else wrote there may be no text: it is as if nothing were there.
        let text = async {
            match client.get(name).await {
                Err(error) if error.details().starts_with("WRONGTYPE") => Ok(None),
                answer => answer,
            }
        };
        self.in_time(limit, text).await
    }

    /// All fields of a hash.
    pub async fn fields(&self, name: String, patiently: bool) -> Result<HashMap<Vec<u8>, Bytes>, Failure> {
        let connection = self.connection();
        let (client, limit) = connection.within(patiently);
        // What somebody else wrote there may be no hash.
        let fields = async {
            match client.hgetall(name).await {
                Err(error) if error.details().starts_with("WRONGTYPE") => Ok(HashMap::new()),
                answer => answer,
            }
        };
        self.in_time(limit, fields).await
    }

    /// Deletes what is stored under a name.
    pub async fn delete(&self, name: String, patiently: bool) -> Result<(), Failure> {
        let connection = self.connection();
        let (client, limit) = connection.within(patiently);
        self.in_time(limit, client.del::<i64, _>(name)).await.map(drop)
    }

    /// Runs a script. In a cluster its names are in one slot.
    pub async fn run(
        &self,
        script: &Script,
        names: Vec<String>,
        arguments: Vec<Value>,
        patiently: bool,
    ) -> Result<Value, Failure> {
        let connection = self.connection();
        let (client, limit) = connection.within(patiently);
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
        self.in_time(limit, call).await
    }

    /// Uses what must not be evicted before values are, which are used all the time.
    pub async fn touch(self: Arc<Self>) -> Result<(), Failure> {
        let names = self.used.names();
        let connection = self.connection();
        let (client, limit) = connection.within(true);
        // In a cluster they are in different slots.
        let each = if self.is_clustered { 1 } else { names.len().max(1) };
        let mut touches = Vec::with_capacity(names.len().div_ceil(each));
        for names in names.chunks(each) {
            let command = CustomCommand::new_static("TOUCH", slot(self.is_clustered, names), false);
            let names: Vec<Value> = names.iter().map(Value::from).collect();
            touches.push(self.in_time(limit, client.custom::<Value, Value>(command, names)));
        }
        try_join_all(touches).await.map(drop)
    }

    /// Asks for a sign of life and the epoch.
    pub async fn beat(self: Arc<Self>) -> Beat {
        let sent = Instant::now();
        let epoch = format!("{:032x}", fastrand::u128(..));
        let answer = self.run(&scripts::BEAT, vec![self.keys.epoch()], vec![epoch.into()], true).await;
        let answer = answer.and_then(|epoch| Epoch::of(epoch).ok_or_else(|| Failure::unexpected("a beat")));
        Beat { sent, answer }
    }

    /// Has Redis tell on this connection what others write. It refuses a prefix that was asked for already, so all are taken
    /// back first.
    pub async fn track(&self) -> Result<(), Failure> {
        let connection = self.connection();
        let (client, limit) = connection.within(true);
        let off =
            client.client_tracking::<(), _, _>(Toggle::Off, None, Vec::<String>::new(), false, false, false, false);
        self.in_time(limit, off).await?;
        let prefixes = self.keys.tracked();
        let on = client.client_tracking::<(), _, _>(Toggle::On, None, prefixes, true, false, false, true);
        self.in_time(limit, on).await
    }

    /// Also where the client itself is late.
    async fn in_time<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, fred::error::Error>>,
    ) -> Result<T, Failure> {
        match timeout(limit + GRACE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if matches!(error.kind(), fred::error::ErrorKind::Timeout) => Err(Failure::late(limit)),
            Ok(Err(error)) => Err(Failure::of(&error, &self.place)),
            Err(_) => Err(Failure::late(limit)),
        }
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
