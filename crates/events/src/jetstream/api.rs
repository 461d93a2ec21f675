//! Requests to JetStream, each with a bound.
//!
//! They are spoken as the server documents them, in JSON: it refuses fields that it doesn't know, and what we don't set
//! stays as whoever runs it has set it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::BusError;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// The first version of the server that resets consumers, which a takeover needs (`$JS.API.CONSUMER.RESET`).
const OLDEST_SERVER: (u64, u64) = (2, 14);

/// A request was refused; see the server's `errors.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    pub(super) description: String,
}

impl ApiError {
    pub(super) const CONSUMER_NOT_FOUND: u32 = 10_014;
    pub(super) const NO_MESSAGE_FOUND: u32 = 10_037;
    pub(super) const STREAM_NOT_FOUND: u32 = 10_059;
    const NOT_ENABLED_FOR_ACCOUNT: u32 = 10_039;
    const NOT_ENABLED: u32 = 10_076;
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.description, self.code, self.err_code)
    }
}

/// What was asked for is not known to be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody hears such requests.
    NoResponders,
    /// The server has refused it.
    Refused(ApiError),
    /// There was no answer that we understand.
    Lost(String),
}

impl Failure {
    /// Whether the stream isn't there.
    pub(super) fn is_no_stream(&self) -> bool {
        matches!(self, Failure::Refused(error) if error.err_code == ApiError::STREAM_NOT_FOUND)
    }
}

impl From<Failure> for BusError {
    fn from(failure: Failure) -> Self {
        BusError::Unavailable(match failure {
            Failure::NoResponders => {
                "no JetStream answers: it is not enabled, or what was asked for is gone or has no leader".to_owned()
            }
            Failure::Refused(error)
                if matches!(error.err_code, ApiError::NOT_ENABLED | ApiError::NOT_ENABLED_FOR_ACCOUNT) =>
            {
                format!("no JetStream enabled: {error}")
            }
            Failure::Refused(error) => error.to_string(),
            Failure::Lost(problem) => problem,
        })
    }
}

/// What has last gone wrong with the connection; empty while it is well.
pub(super) type Trouble = Arc<Mutex<String>>;

/// A connection to the servers.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    /// For messages.
    servers: String,
    trouble: Trouble,
}

impl Api {
    pub(super) fn new(client: Client, servers: String, trouble: Trouble) -> Self {
        Self { client, servers, trouble }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Fails unless there is a connection. What is sent without one would be sent late, when it has been given up.
    pub(super) fn online(&self) -> Result<(), Failure> {
        if self.client.connection_state() == State::Connected {
            return Ok(());
        }
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = if trouble.is_empty() { String::new() } else { format!(": {trouble}") };
        Err(Failure::Lost(format!("no connection to {}{reason}", self.servers)))
    }

    /// Waits for a connection, to a server that is recent enough.
    pub(super) async fn connected(&self, wait: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + wait;
        let version = loop {
            let failure = match self.online() {
                // The client tells of a connection a moment before it tells whom it is to.
                Ok(()) => match self.client.server_info().version {
                    version if !version.is_empty() => break version,
                    _ => Failure::Lost(format!("the NATS server at {} has not introduced itself", self.servers)),
                },
                Err(failure) => failure,
            };
            if Instant::now() >= deadline {
                return Err(failure);
            }
            sleep(Duration::from_millis(10)).await;
        };
        if is_supported(&version) {
            return Ok(());
        }
        let (major, minor) = OLDEST_SERVER;
        Err(Failure::Lost(format!(
            "the NATS server at {} has version {version}; {major}.{minor} is the oldest that can be used",
            self.servers
        )))
    }

    /// Sends a request to JetStream, such as `STREAM.INFO.ORDERS`.
    pub(super) async fn call<T: DeserializeOwned>(&self, operation: &str, body: &Value) -> Result<T, Failure> {
        let payload = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let message = self.request(format!("$JS.API.{operation}"), HeaderMap::new(), payload).await?;
        let unreadable = |error| Failure::Lost(format!("{operation}: the answer can't be read: {error}"));
        let mut answer: Value = serde_json::from_slice(&message.payload).map_err(unreadable)?;
        match answer.get_mut("error").map(Value::take) {
            None | Some(Value::Null) => serde_json::from_value(answer).map_err(unreadable),
            Some(error) => Err(Failure::Refused(serde_json::from_value(error).map_err(unreadable)?)),
        }
    }

    /// Sends a message and waits for its answer.
    pub(super) async fn request(
        &self,
        subject: impl async_nats::subject::ToSubject,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Message, Failure> {
        self.online()?;
        let mut request = Request::new().payload(payload).timeout(Some(ANSWER));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        match bounded(self.client.send_request(subject, request)).await? {
            Ok(message) => Ok(message),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(Failure::NoResponders),
            Err(error) => Err(Failure::Lost(error.to_string())),
        }
    }
}

/// Waits for what waits only while the connection can't take more.
pub(super) async fn bounded<T>(sending: impl Future<Output = T>) -> Result<T, Failure> {
    // Longer than the request's own bound, which says more.
    let late = |_| Failure::Lost("the connection takes nothing".to_owned());
    timeout(ANSWER + Duration::from_secs(1), sending).await.map_err(late)
}

fn is_supported(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-']).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST_SERVER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_servers_are_known() {
        for version in ["2.14.0", "2.15.2", "v2.14.0-preview.1", "3.0.0"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["2.13.9", "2.9.0", "1.99.0", "", "x"] {
            assert!(!is_supported(version), "{version}");
        }
    }
}
