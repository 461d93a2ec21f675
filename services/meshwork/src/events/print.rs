//! What `meshwork events` prints.

use std::fmt::Write as _;

use meshwork_events::Envelope;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::event::decoded;
use crate::terminal::line;

/// The moment of an event.
fn moment(event: &Envelope) -> String {
    event.time.format(&Rfc3339).unwrap_or_default()
}

/// The trace that an event belongs to: the second part of a `traceparent`; empty when it belongs to none.
fn trace_id(event: &Envelope) -> &str {
    event.context.trace_parent.split('-').nth(1).unwrap_or_default()
}

/// An event in two lines: what has happened, and what it says.
pub fn text(stream: &str, event: &Envelope) -> String {
    let Envelope { event_type, subject, version, context, data, .. } = event;
    let (event_type, subject) = (line(event_type), line(subject));
    let mut text = format!("{}  {stream}  {event_type}  {subject}, version {version}", moment(event));
    for (what, value) in [("by", context.actor.as_str()), ("trace", trace_id(event))] {
        if !value.is_empty() {
            write!(text, ", {what} {}", line(value)).ok();
        }
    }
    match decoded(&event.event_type, data) {
        Some(says) => writeln!(text, "\n  {}", line(&says.to_string())),
        None => writeln!(text, "\n  {} bytes that this program has no contract for", data.len()),
    }
    .ok();
    text
}

/// All of an event as JSON; `event` is null when its bytes can't be read.
pub fn json(stream: &str, event: &Envelope) -> Value {
    let Envelope { context, position, .. } = event;
    json!({
        "time": moment(event),
        "stream": stream,
        "partition": position.partition,
        "position": position.n,
        "index": position.index,
        "id": event.id,
        "source": event.source,
        "type": event.event_type,
        "schema_version": event.schema_version,
        "subject": event.subject,
        "version": event.version,
        "actor": context.actor,
        "causation_id": context.causation_id,
        "correlation_id": context.correlation_id,
        "trace_id": trace_id(event),
        "trace_parent": context.trace_parent,
        "data_bytes": event.data.len(),
        "event": decoded(&event.event_type, &event.data),
    })
}

#[cfg(test)]
mod tests {
    use meshwork_api::meshwork::events::v1::OrderConfirmed;
    use meshwork_events::{Context, Position};
    use prost::Message;
    use time::OffsetDateTime;

    use super::*;

    fn confirmed() -> Envelope {
        let data = OrderConfirmed { order: "orders/42".to_owned(), ..OrderConfirmed::default() };
        let context = Context {
            actor: "users/anna\u{1b}[31m".to_owned(),
            trace_parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            ..Context::default()
        };
        Envelope {
            id: "orders/42:2".to_owned(),
            source: "orders".to_owned(),
            event_type: "order_confirmed".to_owned(),
            schema_version: 1,
            subject: "orders/42".to_owned(),
            version: 2,
            position: Position { partition: 3, n: 7, index: 1 },
            time: OffsetDateTime::UNIX_EPOCH,
            context,
            data: data.encode_to_vec().into(),
        }
    }

    #[test]
    fn an_event_tells_what_has_happened_by_whom_and_what_it_says() {
        let text = text("orders", &confirmed());
        let (first, second) = text.split_once('\n').unwrap();
        assert_eq!(
            first,
            "1970-01-01T00:00:00Z  orders  order_confirmed  orders/42, version 2, by users/anna [31m, trace \
             4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(second, "  {\"order\":\"orders/42\"}\n");
        let fields = super::json("orders", &confirmed());
        assert_eq!((&fields["event"]["order"], &fields["position"]), (&json!("orders/42"), &json!(7)));
        assert_eq!(fields["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn an_event_without_a_contract_appears_with_its_size() {
        let unknown = Envelope { event_type: "order_eaten".to_owned(), context: Context::default(), ..confirmed() };
        let text = text("orders", &unknown);
        assert!(text.contains("  order_eaten  orders/42, version 2\n  11 bytes that"), "{text}");
        let fields = super::json("orders", &unknown);
        assert_eq!(
            (&fields["event"], &fields["data_bytes"], &fields["trace_id"]),
            (&Value::Null, &json!(11), &json!(""))
        );
    }
}
