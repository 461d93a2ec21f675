//! Declaring streams, and what is known of them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api::{Api, ApiError, Failure};
use super::names;
use crate::MAX_MESSAGE_BYTES;

/// For how long the server drops what it has seen: a second defence, behind the fence of NT-2.
const DUPLICATES: Duration = Duration::from_secs(2 * 60);

/// What streams are like, and which are known to be like that.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) replicas: usize,
    pub(super) retention: Duration,
    pub(super) max_bytes: i64,
    declared: Mutex<HashSet<String>>,
}

/// A stream's state, from its leader.
#[derive(Debug, Default, Deserialize)]
pub(super) struct State {
    #[serde(default)]
    pub(super) messages: u64,
    #[serde(default)]
    pub(super) first_seq: u64,
    #[serde(default)]
    pub(super) last_seq: u64,
    #[serde(default)]
    pub(super) num_deleted: u64,
    #[serde(default)]
    first_ts: String,
}

impl State {
    /// When the first message was stored.
    pub(super) fn first_time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.first_ts, &Rfc3339).ok().filter(|_| self.messages > 0)
    }
}

#[derive(Deserialize)]
struct Info {
    config: Map<String, Value>,
    #[serde(default)]
    state: State,
}

impl Streams {
    pub(super) fn new(replicas: usize, retention: Duration, max_bytes: i64) -> Self {
        Self { replicas, retention, max_bytes, declared: Mutex::default() }
    }

    /// Declares a stream unless that was done since it was last known to be gone. Only who publishes to it changes one that
    /// is there: the settings of others are about streams of theirs.
    pub(super) async fn ensure(&self, api: &Api, stream: &str, publishes: bool) -> Result<(), Failure> {
        if self.declared.lock().unwrap_or_else(PoisonError::into_inner).contains(stream) {
            return Ok(());
        }
        if !publishes {
            match state(api, &stream.to_uppercase()).await {
                Err(failure) if failure.is_no_stream() => {}
                found => return found.map(drop),
            }
        }
        if !names::is_stream(stream) {
            return Err(Failure::Lost(format!(
                "`{stream}` is no name of a stream; right are lower-case letters, digits and hyphens"
            )));
        }
        self.declare(api, stream).await?;
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.to_owned());
        Ok(())
    }

    /// The stream may be gone: it is declared again when it is next needed.
    pub(super) fn forget(&self, stream: &str) {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
    }

    async fn declare(&self, api: &Api, stream: &str) -> Result<(), Failure> {
        let name = stream.to_uppercase();
        let wanted = self.settings(stream);
        let mut config = match api.call::<Info>(&format!("STREAM.INFO.{name}"), &Value::Null).await {
            Ok(info) => info.config,
            Err(failure) if failure.is_no_stream() => {
                let config = Value::Object(wanted);
                // Another process may declare the same at the same time, which is no error.
                api.call::<Value>(&format!("STREAM.CREATE.{name}"), &config)
                    .await
                    .map_err(|failure| of(&name, failure))?;
                tracing::info!(stream = name, replicas = self.replicas, "declared a stream");
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        if config.get("persist_mode").is_some_and(|mode| mode != "" && mode != "default") {
            return Err(Failure::Lost(format!(
                "the stream {name} acknowledges before it has written (`persist_mode`), which can't be changed: make it \
                 anew"
            )));
        }
        let mut changes = Vec::new();
        for (key, value) in wanted {
            let old = config.get(&key).cloned().unwrap_or(Value::Null);
            // The server leaves out what is off.
            if old != value && !(old.is_null() && value == false) {
                changes.push(format!("{key}: {old} -> {value}"));
                config.insert(key, value);
            }
        }
        // What is published must be found where it was published.
        if let Some(old) = config.remove("subject_transform") {
            changes.push(format!("subject_transform: {old} -> none"));
        }
        if changes.is_empty() {
            return Ok(());
        }
        api.call::<Value>(&format!("STREAM.UPDATE.{name}"), &Value::Object(config)).await.map_err(
            |failure| match of(&name, failure) {
                Failure::Lost(problem) => Failure::Lost(format!("{problem}; wanted: {}", changes.join(", "))),
                failure => failure,
            },
        )?;
        tracing::info!(stream = name, changes = changes.join(", "), "changed a stream's settings");
        Ok(())
    }

    /// What is set; the rest is left as it is.
    fn settings(&self, stream: &str) -> Map<String, Value> {
        let mut settings = Map::new();
        let mut set = |key: &str, value: Value| settings.insert(key.to_owned(), value);
        set("name", json!(stream.to_uppercase()));
        set("subjects", json!(names::subjects(stream)));
        set("storage", json!("file"));
        set("num_replicas", json!(self.replicas));
        set("retention", json!("limits"));
        // What doesn't fit is refused, not made room for.
        set("discard", json!("new"));
        set("max_age", nanoseconds(self.retention));
        set("max_bytes", json!(self.max_bytes.max(-1)));
        set("max_msgs", json!(-1));
        set("max_msgs_per_subject", json!(-1));
        set("max_consumers", json!(-1));
        set("max_msg_size", json!(MAX_MESSAGE_BYTES));
        set("duplicate_window", nanoseconds(DUPLICATES.min(self.retention)));
        set("no_ack", json!(false));
        set("deny_delete", json!(true));
        set("deny_purge", json!(true));
        set("allow_direct", json!(true));
        set("allow_atomic", json!(true));
        settings
    }
}

/// The state of a stream.
pub(super) async fn state(api: &Api, name: &str) -> Result<State, Failure> {
    Ok(api.call::<Info>(&format!("STREAM.INFO.{name}"), &Value::Null).await?.state)
}

/// A duration as the server writes it.
pub(super) fn nanoseconds(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Says which stream was refused.
fn of(name: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Refused(error) if error.err_code != ApiError::STREAM_NOT_FOUND => {
            Failure::Lost(format!("the stream {name} can't be what it should be: {error}"))
        }
        failure => failure,
    }
}
