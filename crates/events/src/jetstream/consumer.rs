//! The server's side of a subscription: a durable consumer of a lane, and where it goes on.
//!
//! Its place is moved by resetting it, which keeps it where it is known by all its instances. Acknowledgements of what
//! was handed over before a reset are ignored for what has not been handed over again: nothing is skipped.

use std::cmp::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{Api, ApiError, Failure};
use super::names::Names;
use super::stream::{self, nanoseconds};
use super::{locate, stored};
use crate::{Lane, Position, Resume};

/// For how long the server waits for a word about what it has handed over.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a lane is looked at that grows meanwhile.
const LOOKS: u32 = 4;
/// How much may be handed over without being done.
pub(super) const MAX_UNDONE: usize = 256;

#[derive(Deserialize)]
struct Info {
    config: Map<String, Value>,
    ack_floor: Place,
    delivered: Place,
    #[serde(default)]
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    stream_seq: u64,
}

/// Declares the consumer and sets it where it goes on; returns its name. With `takeover` what others hold comes again.
pub(super) async fn open(
    api: &Api,
    consumer: &str,
    lane: &Lane,
    resume: Resume,
    takeover: bool,
) -> Result<String, Failure> {
    let names = Names::of(lane);
    let name = names.consumer(consumer);
    let found = match api.call::<Info>(&format!("CONSUMER.INFO.{}.{name}", names.stream), &Value::Null).await {
        Ok(info) => Some(info),
        Err(Failure::Refused(error)) if error.err_code == ApiError::CONSUMER_NOT_FOUND => None,
        Err(failure) => return Err(failure),
    };
    let (floor, delivered, pending) = match &found {
        Some(info) => (info.ack_floor.stream_seq, info.delivered.stream_seq, info.num_ack_pending),
        None => (0, 0, 0),
    };
    let is_new = found.is_none();
    declare(api, &names, &name, found.map(|info| info.config)).await?;
    let last = stream::state(api, &names.stream).await?.last_seq;
    let start = match resume {
        // A replicated consumer outlives what its stream has lost, and would pass over what comes in its place.
        _ if delivered > last => {
            tracing::error!(consumer, %lane, delivered, last, "the stream has lost its end: all of it is handled again");
            Some(first(api, &names).await?.unwrap_or(last + 1))
        }
        Resume::FromStart => {
            // The floor also passes what belongs to other lanes.
            let start = first(api, &names).await?.filter(|seq| *seq <= floor);
            if start.is_some() {
                tracing::warn!(
                    consumer, %lane,
                    "our database knows of no event though some were acknowledged: all are handled again"
                );
            }
            start
        }
        Resume::AsAcknowledged => None,
        Resume::Behind(position) if is_new => beginning(api, lane, &names, position).await?,
        Resume::Behind(position) => {
            let start = locate::first_behind(api, lane, position).await?.filter(|seq| *seq <= floor);
            if start.is_some() {
                tracing::warn!(
                    consumer, %lane, ours = position.n,
                    "our database is behind what was acknowledged: it was restored from an older copy, or a process \
                     has ended within a batch. What came since is handled again"
                );
            }
            start
        }
    };
    match start {
        Some(seq) => reset(api, &names, &name, &json!({ "seq": seq })).await?,
        // Back to what is acknowledged without a gap: what an instance held that has ended comes again, in order.
        None if takeover && pending > 0 => reset(api, &names, &name, &Value::Null).await?,
        None => {}
    }
    Ok(name)
}

/// Where a new consumer begins whose database stands at a position; `None` for the lane's first message.
async fn beginning(api: &Api, lane: &Lane, names: &Names, position: Position) -> Result<Option<u64>, Failure> {
    // The lane may be growing: what is looked at twice may have passed the position in between.
    for _ in 0..LOOKS {
        if let Some(seq) = locate::first_behind(api, lane, position).await? {
            return Ok(Some(seq));
        }
        let tail = locate::tail(api, lane).await?;
        match tail.event.map(|event| event.position.cmp(&position)) {
            None => return Ok(None),
            // It ends where we are. Its last message comes once more.
            Some(Ordering::Equal) => return Ok(Some(tail.seq)),
            // It is being filled again, or its source was put back: nothing tells what comes next.
            Some(Ordering::Less) => break,
            Some(Ordering::Greater) => {}
        }
    }
    first(api, names).await
}

/// The sequence of the lane's first message.
async fn first(api: &Api, names: &Names) -> Result<Option<u64>, Failure> {
    let mut first = None;
    for filter in [&names.published, &names.repaired] {
        let seq = stored::next(api, &names.stream, filter, 1).await?.map(|stored| stored.seq);
        first = [first, seq].into_iter().flatten().min();
    }
    Ok(first)
}

async fn declare(api: &Api, names: &Names, name: &str, found: Option<Map<String, Value>>) -> Result<(), Failure> {
    let wanted = [
        ("durable_name", json!(name)),
        ("name", json!(name)),
        ("ack_policy", json!("explicit")),
        ("ack_wait", nanoseconds(PATIENCE)),
        // The start is set by a reset, which may go anywhere with this policy only.
        ("deliver_policy", json!("all")),
        ("replay_policy", json!("instant")),
        ("filter_subjects", json!([names.published, names.repaired])),
        ("max_ack_pending", json!(MAX_UNDONE)),
        ("max_deliver", json!(-1)),
    ];
    let is_new = found.is_none();
    let mut config = found.unwrap_or_default();
    let mut changes = Vec::new();
    for (key, value) in wanted {
        let old = config.get(key).cloned().unwrap_or(Value::Null);
        if old != value {
            changes.push(format!("{key}: {old} -> {value}"));
            config.insert(key.to_owned(), value);
        }
    }
    // Instead of it stand the filters; a backoff would replace our patience.
    for key in ["filter_subject", "backoff"] {
        if let Some(old) = config.remove(key) {
            changes.push(format!("{key}: {old} -> none"));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    let request = json!({ "stream_name": names.stream, "config": config, "action": "" });
    match api.call::<Value>(&format!("CONSUMER.CREATE.{}.{name}", names.stream), &request).await {
        Ok(_) if is_new => tracing::info!(consumer = name, stream = names.stream, "declared a consumer"),
        Ok(_) => tracing::info!(consumer = name, changes = changes.join(", "), "changed a consumer's settings"),
        Err(Failure::Refused(error)) if error.err_code != ApiError::STREAM_NOT_FOUND => {
            return Err(Failure::Lost(format!(
                "the consumer {name} of {} can't be what it should be: {error}; wanted: {}",
                names.stream,
                changes.join(", ")
            )));
        }
        Err(failure) => return Err(failure),
    }
    Ok(())
}

async fn reset(api: &Api, names: &Names, name: &str, to: &Value) -> Result<(), Failure> {
    api.call::<Value>(&format!("CONSUMER.RESET.{}.{name}", names.stream), to).await?;
    tracing::info!(consumer = name, stream = names.stream, %to, "reset a consumer");
    Ok(())
}
