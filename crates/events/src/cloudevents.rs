//! Envelopes as CloudEvents 1.0 in binary mode: attributes as headers, the encoded event as the body.
//!
//! Values are percent-encoded as the NATS binding asks. Beside the attributes of the specification stand its extensions
//! `partitionkey`, `sequence` and `traceparent`/`tracestate`, and `aggregateversion`, `causationid`, `correlationid`
//! and `actor`. The trace is given once more under its plain names, where tracing systems look for it.

use bytes::Bytes;
use meshwork_eventstore::{Context, MAX_CONTEXT_FIELD_BYTES};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::{Envelope, MAX_MESSAGE_BYTES, Position};

/// What the binding has encoded: spaces, double quotes, percent signs and what is not printable ASCII.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// What is encoded within a URN.
const URN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// How long a header may be before it is decoded: as long as all headers of a message on NATS.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// A message is not an event that can be placed in its lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} can't be read")]
    Malformed(&'static str),
    #[error("it has {0} bytes")]
    TooLarge(usize),
}

/// The headers of an event, with names of ASCII and values of printable ASCII.
pub(crate) fn encode(event: &Envelope) -> Vec<(&'static str, String)> {
    let Position { n, index, .. } = event.position;
    let schema = utf8_percent_encode(&event.event_type, URN);
    let mut headers = vec![
        ("Content-Type", "application/protobuf".to_owned()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", value(&event.id)),
        ("ce-source", value(&event.source)),
        ("ce-type", value(&event.event_type)),
        ("ce-subject", value(&event.subject)),
        ("ce-dataschema", value(&format!("urn:event-schema:{schema}:{}", event.schema_version))),
        ("ce-partitionkey", value(&event.subject)),
        // Padded, so that a plain comparison of texts orders them.
        ("ce-sequence", format!("{n:020}.{index:010}")),
        ("ce-aggregateversion", event.version.to_string()),
    ];
    // A time that can't be written is left out: readers then take the time at which the message was stored.
    headers.extend(event.time.to_offset(UtcOffset::UTC).format(&Rfc3339).ok().map(|time| ("ce-time", time)));
    let context = &event.context;
    for (name, text) in [
        ("ce-causationid", &context.causation_id),
        ("ce-correlationid", &context.correlation_id),
        ("ce-actor", &context.actor),
        ("ce-traceparent", &context.trace_parent),
        ("ce-tracestate", &context.trace_state),
    ] {
        if !text.is_empty() {
            headers.push((name, value(text)));
        }
    }
    for (name, text) in [("traceparent", &context.trace_parent), ("tracestate", &context.trace_state)] {
        if !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            headers.push((name, text.clone()));
        }
    }
    headers
}

/// Names a publication of an event, for a bus that drops what it has just seen. The position belongs to it: a source
/// that was put back to an older copy gives ids again.
pub(crate) fn publication(event: &Envelope) -> String {
    let Position { partition, n, index } = event.position;
    format!("{}@{partition}.{n}.{index}", value(&event.id))
}

/// Reads an event of a partition; `stored` is when its message was stored. Headers that aren't known are ignored.
///
/// # Errors
/// When its id, type, subject, version or position is missing or can't be read, or when it is too large.
pub(crate) fn decode<'a>(
    partition: u16,
    header: impl Fn(&str) -> Option<&'a str>,
    data: Bytes,
    stored: OffsetDateTime,
) -> Result<Envelope, DecodeError> {
    if data.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLarge(data.len()));
    }
    let optional = |name: &'static str| match header(name) {
        None => Ok(String::new()),
        Some(text) if text.len() > MAX_HEADER_BYTES => Err(DecodeError::TooLarge(text.len())),
        Some(text) => percent_decode_str(text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| DecodeError::Malformed(name)),
    };
    let required = |name: &'static str| match optional(name)? {
        text if text.is_empty() => Err(DecodeError::Missing(name)),
        text => Ok(text),
    };
    if !required("ce-specversion")?.starts_with("1.") {
        return Err(DecodeError::Malformed("ce-specversion"));
    }
    let (id, subject) = (required("ce-id")?, required("ce-subject")?);
    let version = match optional("ce-aggregateversion")? {
        text if text.is_empty() => id.rsplit(':').next().and_then(|last| last.parse().ok()),
        text => text.parse().ok(),
    };
    let version = version.filter(|version| *version > 0).ok_or(DecodeError::Malformed("ce-aggregateversion"))?;
    let (n, index) = place(&required("ce-sequence")?).ok_or(DecodeError::Malformed("ce-sequence"))?;
    let schema_version = optional("ce-dataschema")?;
    let schema_version = schema_version.rsplit(':').next().and_then(|last| last.parse().ok()).unwrap_or(1);
    let time = OffsetDateTime::parse(&optional("ce-time")?, &Rfc3339).unwrap_or(stored);
    // A field of the context helps to understand an event; it is no reason to refuse one.
    let field = |name| optional(name).ok().filter(|text| text.len() <= MAX_CONTEXT_FIELD_BYTES).unwrap_or_default();
    let context = Context {
        causation_id: field("ce-causationid"),
        correlation_id: field("ce-correlationid"),
        trace_parent: field("ce-traceparent"),
        trace_state: field("ce-tracestate"),
        actor: field("ce-actor"),
    };
    Ok(Envelope {
        id,
        source: optional("ce-source")?,
        event_type: required("ce-type")?,
        schema_version,
        subject,
        version,
        position: Position { partition, n, index },
        time,
        context,
        data,
    })
}

fn value(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

/// Reads `<n>.<index>`.
fn place(text: &str) -> Option<(i64, u32)> {
    let (n, index) = text.split_once('.')?;
    Some((n.parse().ok().filter(|n| *n > 0)?, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn event() -> Envelope {
        Envelope {
            id: "orders/42:3".to_owned(),
            source: "orders".to_owned(),
            event_type: "order_created".to_owned(),
            schema_version: 2,
            subject: "orders/42".to_owned(),
            version: 3,
            position: Position { partition: 3, n: 17, index: 1 },
            time: OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap(),
            context: Context::default(),
            data: Bytes::from_static(b"\x00\xff"),
        }
    }

    fn read(headers: &[(&'static str, String)], data: &Bytes) -> Result<Envelope, DecodeError> {
        let header = |name: &str| headers.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str());
        decode(3, header, data.clone(), OffsetDateTime::UNIX_EPOCH)
    }

    fn without(name: &str) -> Result<Envelope, DecodeError> {
        let mut headers = encode(&event());
        headers.retain(|(given, _)| *given != name);
        read(&headers, &event().data)
    }

    fn with(name: &'static str, value: &str) -> Result<Envelope, DecodeError> {
        let mut headers = encode(&event());
        headers.retain(|(given, _)| *given != name);
        headers.push((name, value.to_owned()));
        read(&headers, &event().data)
    }

    #[test]
    fn attributes_are_those_of_the_specification() {
        let mut event = event();
        event.context.actor = "users/Zoë \"%\"\n".to_owned();
        event.context.trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
        let headers = encode(&event);
        let get = |name: &str| headers.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str());
        assert_eq!(get("ce-specversion"), Some("1.0"));
        assert_eq!(get("ce-sequence"), Some("00000000000000000017.0000000001"));
        assert_eq!(get("ce-dataschema"), Some("urn:event-schema:order_created:2"));
        assert_eq!(get("ce-partitionkey"), Some("orders/42"));
        assert_eq!(get("ce-time"), Some("2023-11-14T22:13:20Z"));
        assert_eq!(get("ce-actor"), Some("users/Zo%C3%AB%20%22%25%22%0A"));
        assert_eq!(get("traceparent"), Some(event.context.trace_parent.as_str()));
        assert_eq!(get("ce-causationid"), None);
        let attribute = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        assert!(headers.iter().filter_map(|(name, _)| name.strip_prefix("ce-")).all(attribute));
        assert_eq!(publication(&event), "orders/42:3@3.17.1");
    }

    #[test]
    fn what_is_missing_is_made_up_for_where_it_can_be() {
        assert_eq!(without("ce-aggregateversion").unwrap(), event());
        assert_eq!(without("ce-time").unwrap().time, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(without("ce-dataschema").unwrap().schema_version, 1);
        assert_eq!(without("ce-source").unwrap().source, "");
        assert_eq!(with("ce-unknown", "%ff").unwrap(), event());
        assert_eq!(with("ce-actor", "%ff").unwrap(), event());
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        for name in ["ce-specversion", "ce-id", "ce-subject", "ce-type", "ce-sequence"] {
            assert_eq!(without(name), Err(DecodeError::Missing(name)));
        }
        for sequence in ["17", "0.0", "-1.0", "x.0", "1.-1", "99999999999999999999.0", "1.4294967296"] {
            assert_eq!(with("ce-sequence", sequence), Err(DecodeError::Malformed("ce-sequence")), "{sequence}");
        }
        assert_eq!(with("ce-id", "%ff"), Err(DecodeError::Malformed("ce-id")));
        assert_eq!(with("ce-specversion", "0.3"), Err(DecodeError::Malformed("ce-specversion")));
        assert_eq!(with("ce-aggregateversion", "0"), Err(DecodeError::Malformed("ce-aggregateversion")));
        let large = Bytes::from(vec![0; MAX_MESSAGE_BYTES + 1]);
        assert_eq!(read(&encode(&event()), &large), Err(DecodeError::TooLarge(large.len())));
    }

    prop_compose! {
        fn context()(fields in prop::array::uniform5(any::<String>())) -> Context {
            let [causation_id, correlation_id, trace_parent, trace_state, actor] = fields.map(|mut field| {
                while field.len() > MAX_CONTEXT_FIELD_BYTES {
                    field.pop();
                }
                field
            });
            Context { causation_id, correlation_id, trace_parent, trace_state, actor }
        }
    }

    prop_compose! {
        fn events()(
            texts in prop::array::uniform3("[\\PC \"%\\n\\r\\t]{1,40}"),
            source in any::<String>(),
            schema_version in any::<u16>(),
            version in 1..=i64::MAX,
            n in 1..=i64::MAX,
            index in any::<u32>(),
            // The years that RFC 3339 knows.
            nanoseconds in -62_167_219_200_000_000_000_i128..=253_402_300_799_999_999_999,
            context in context(),
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) -> Envelope {
            let [id, event_type, subject] = texts;
            Envelope {
                id,
                source,
                event_type,
                schema_version,
                subject,
                version,
                position: Position { partition: 3, n, index },
                time: OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap(),
                context,
                data: data.into(),
            }
        }
    }

    fn headers() -> impl Strategy<Value = std::collections::HashMap<String, String>> {
        let name = "ce-(id|type|subject|sequence|time|dataschema|specversion|aggregateversion|actor)";
        prop::collection::hash_map(name, ".*", 0..9)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_again(event in events()) {
            let headers = encode(&event);
            for (name, value) in &headers {
                prop_assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value}");
            }
            prop_assert!(publication(&event).bytes().all(|byte| matches!(byte, b'!'..=b'~')));
            prop_assert_eq!(read(&headers, &event.data).unwrap(), event);
        }

        #[test]
        fn nothing_that_comes_in_panics(headers in headers()) {
            let header = |name: &str| headers.get(name).map(String::as_str);
            let _ = decode(0, header, Bytes::new(), OffsetDateTime::UNIX_EPOCH);
        }
    }
}
