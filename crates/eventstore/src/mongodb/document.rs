//! A commit as a document.
//!
//! ```text
//! _id  "<stream>/<command id>"              one commit a command; a slash in the command id is written %2F
//! p    partition      s  stream      v  first version      unique together: one commit a version
//! n    position                                            unique with p: one commit a position
//! cid  command id     ch hash of the command's payload
//! c    how many events          k  "c" for a commit, "t" for a tombstone
//! at   when, as a date          us the microseconds that a date drops
//! r    what the command was answered
//! e    [{ id, t: type, sv: schema version, d: data }]
//! x    why: { causation_id, correlation_id, trace_parent, trace_state, actor }, of which only what is known is there
//! ```
//!
//! `x` is missing where nothing is known, as in the commits of earlier releases; those pass over it where it is there. A
//! commit whose `x` can't be understood is one of which nothing is known.
//!
//! All fields of the unique indexes are always there: a missing one would be equal to another missing one on some
//! servers, and to nothing on others (MG-4).

use bytes::Bytes;
use mongodb::bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, RawArrayBuf, rawdoc};
use time::OffsetDateTime;

use meshwork_sql::{from_micros, to_micros};

use crate::{Commit, Context, Damage, Position, StoredEvent, first_version};

/// Below it, a double tells every whole number exactly.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The identity of a command's commit. No two pairs of stream and command share one: the last slash parts them.
pub(super) fn id(stream: &str, command_id: &str) -> String {
    let command_id = command_id.replace('%', "%25").replace('/', "%2F");
    format!("{stream}/{command_id}")
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

/// The document of a commit.
pub(super) fn encode(commit: &Commit) -> RawDocumentBuf {
    let mut events = RawArrayBuf::new();
    for event in &commit.events {
        events.push(rawdoc! {
            "id": format!("{}:{}", commit.stream, event.version),
            "t": event.event_type.as_str(),
            "sv": i32::from(event.schema_version),
            "d": binary(&event.data),
        });
    }
    let micros = to_micros(commit.at);
    let (p, n) = (i32::from(commit.position.partition), commit.position.n);
    let mut document = rawdoc! {
        "_id": id(&commit.stream, &commit.command_id),
        "p": p,
        "s": commit.stream.as_str(),
        "v": first_version(commit),
        "n": n,
        "cid": commit.command_id.as_str(),
        "ch": binary(&commit.command_hash),
        "c": i32::try_from(commit.events.len()).unwrap_or(i32::MAX),
        "k": if commit.is_tombstone() { "t" } else { "c" },
        "at": DateTime::from_millis(micros.div_euclid(1_000)),
        "us": i32::try_from(micros.rem_euclid(1_000)).unwrap_or_default(),
        "r": binary(&commit.result),
        "e": events,
    };
    let why = encode_context(&commit.context);
    if !why.is_empty() {
        document.append(cstr!("x"), why);
    }
    document
}

/// What is known of a context.
fn encode_context(context: &Context) -> RawDocumentBuf {
    let mut why = RawDocumentBuf::new();
    let Context { causation_id, correlation_id, trace_parent, trace_state, actor } = context;
    for (key, value) in [
        (cstr!("causation_id"), causation_id),
        (cstr!("correlation_id"), correlation_id),
        (cstr!("trace_parent"), trace_parent),
        (cstr!("trace_state"), trace_state),
        (cstr!("actor"), actor),
    ] {
        if !value.is_empty() {
            why.append(key, value.as_str());
        }
    }
    why
}

/// The context of a document; nothing is known where it can't be understood.
fn decode_context(document: &RawDocument) -> Context {
    let why = match document.get("x") {
        Ok(None) => return Context::default(),
        Ok(Some(RawBsonRef::Document(why))) => why,
        Ok(Some(_)) | Err(_) => {
            tracing::warn!("the context of a commit can't be read");
            return Context::default();
        }
    };
    let text = |key: &str| why.get_str(key).unwrap_or_default().to_owned();
    let context = Context {
        causation_id: text("causation_id"),
        correlation_id: text("correlation_id"),
        trace_parent: text("trace_parent"),
        trace_state: text("trace_state"),
        actor: text("actor"),
    };
    context.bounded()
}

/// The commit of a document, as it was found at `partition`; what can't be understood is told by [`Commit::damage`].
pub(super) fn decode(document: &RawDocument, partition: u16) -> Commit {
    match read(document, partition) {
        Ok(commit) => commit,
        Err(problem) => {
            let n = position(document).unwrap_or_default();
            let mut commit = Commit::tombstone(Position { partition, n }, OffsetDateTime::UNIX_EPOCH);
            let stream = document.get_str("s").ok();
            // The version of a tombstone is its position.
            let first_version = stream.filter(|stream| !stream.is_empty()).and_then(|_| document.get_i64("v").ok());
            commit.stream = stream.unwrap_or("an unreadable stream").to_owned();
            commit.command_id = document.get_str("cid").unwrap_or_default().to_owned();
            commit.damage = Some(Damage { problem, first_version });
            commit
        }
    }
}

/// The position of a document, as whatever type of number it is written: servers compare them by value. A fraction, which
/// is nobody's position, is rounded down.
pub(super) fn position(document: &RawDocument) -> Option<i64> {
    match document.get("n").ok()?? {
        RawBsonRef::Int64(n) => Some(n),
        RawBsonRef::Int32(n) => Some(i64::from(n)),
        #[allow(clippy::cast_possible_truncation, reason = "it is in the range")]
        RawBsonRef::Double(n) if n.abs() < MAX_WHOLE => Some(n.floor() as i64),
        _ => None,
    }
}

fn read(document: &RawDocument, partition: u16) -> Result<Commit, String> {
    let problem = |error: mongodb::bson::error::Error| error.to_string();
    let bytes = |document: &RawDocument, key: &str| -> Result<Bytes, String> {
        Ok(Bytes::copy_from_slice(document.get_binary(key).map_err(|error| error.to_string())?.bytes))
    };
    let stream = document.get_str("s").map_err(problem)?.to_owned();
    let first = document.get_i64("v").map_err(problem)?;
    let micros = document
        .get_datetime("at")
        .map_err(problem)?
        .timestamp_millis()
        .saturating_mul(1_000)
        .saturating_add(i64::from(document.get_i32("us").map_err(problem)?));
    let hash = bytes(document, "ch")?;
    let mut events = Vec::new();
    for (version, event) in (first..).zip(document.get_array("e").map_err(problem)?) {
        let event = event.map_err(problem)?;
        let event = event.as_document().ok_or("an event is no document")?;
        let schema = event.get_i32("sv").map_err(problem)?;
        events.push(StoredEvent {
            version,
            event_type: event.get_str("t").map_err(problem)?.to_owned(),
            schema_version: u16::try_from(schema).map_err(|_| format!("an event has schema version {schema}"))?,
            data: bytes(event, "d")?,
        });
    }
    let count = document.get_i32("c").map_err(problem)?;
    if usize::try_from(count) != Ok(events.len()) {
        return Err(format!("the commit should have {count} events and has {}", events.len()));
    }
    let tombstone = document.get_str("k").map_err(problem)? == "t";
    if tombstone != stream.is_empty() || tombstone != events.is_empty() {
        return Err("it is neither a commit with events nor a tombstone".to_owned());
    }
    Ok(Commit {
        stream,
        command_id: document.get_str("cid").map_err(problem)?.to_owned(),
        command_hash: hash.as_ref().try_into().map_err(|_| "the command's hash has not 32 bytes".to_owned())?,
        position: Position { partition, n: document.get_i64("n").map_err(problem)? },
        at: from_micros(micros),
        result: bytes(document, "r")?,
        events,
        context: decode_context(document),
        damage: None,
    })
}
