//! What `meshwork deadletters` prints.

use std::fmt::Write as _;

use meshwork_api::meshwork::admin::v1::DeadLetter;
use serde_json::{Map, Value, json};

use crate::cli::Parking;
use crate::terminal::{line, plain};

/// What was listed of a service.
pub struct Listed {
    /// The service.
    pub service: Parking,
    /// Its dead letters.
    pub letters: Vec<DeadLetter>,
    /// Whether it has more.
    pub more: bool,
}

/// A line, cut to `width`.
fn cut(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if text.chars().count() > width => {
            text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => text.to_owned(),
    }
}

/// A number of things, in words.
fn count(number: i64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn tried(letter: &DeadLetter) -> String {
    count(letter.attempts.into(), "attempt", "attempts")
}

/// The letters, three lines each, by service; the last line counts them.
pub fn listed_text(listed: &[Listed], width: Option<usize>) -> String {
    let mut text = String::new();
    for Listed { service, letters, .. } in listed {
        for letter in letters {
            let parked = letter.park_time.as_ref().map(|time| format!("  {time}")).unwrap_or_default();
            let DeadLetter { name, subject, version, event_type, reason, .. } = letter;
            writeln!(text, "{}  {}{parked}", service.as_str(), line(name)).ok();
            let event = format!("{}, version {version}: {}, {}", line(subject), line(event_type), tried(letter));
            writeln!(text, "  {event}").ok();
            writeln!(text, "{}", cut(&format!("  {}", line(reason)), width)).ok();
        }
    }
    match listed.iter().map(|of_service| of_service.letters.len()).sum::<usize>() {
        0 => writeln!(text, "nothing is parked"),
        1 => writeln!(text, "\n1 event is parked"),
        all => writeln!(text, "\n{all} events are parked"),
    }
    .ok();
    for Listed { service, letters, .. } in listed.iter().filter(|of_service| of_service.more) {
        let name = service.as_str();
        writeln!(text, "{name} has more than these {}; --subject shows those of one aggregate", letters.len()).ok();
    }
    text
}

/// The letters as JSON, and the services that have more than is shown, or could not be asked, each with why.
pub fn listed_json(listed: &[Listed], unasked: &[(Parking, &str)]) -> Value {
    let letters = listed.iter().flat_map(|of_service| {
        let named = |letter| {
            let mut fields = letter_fields(letter);
            // Who was asked, whatever the letter says.
            fields.insert("service".to_owned(), of_service.service.as_str().into());
            Value::Object(fields)
        };
        of_service.letters.iter().map(named)
    });
    let more = listed.iter().filter(|of_service| of_service.more).map(|of_service| of_service.service.as_str());
    let unasked = unasked.iter().map(|(service, why)| json!({ "service": service.as_str(), "reason": why }));
    json!({
        "dead_letters": letters.collect::<Vec<_>>(),
        "more": more.collect::<Vec<_>>(),
        "unasked": unasked.collect::<Vec<_>>(),
    })
}

fn letter_fields(letter: &DeadLetter) -> Map<String, Value> {
    let fields = json!({
        "name": letter.name,
        "service": letter.service,
        "consumer": letter.consumer,
        "stream": letter.stream,
        "subject": letter.subject,
        "version": letter.version,
        "event_id": letter.event_id,
        "event_type": letter.event_type,
        "source": letter.source,
        "schema_version": letter.schema_version,
        "event_time": letter.event_time.as_ref().map(ToString::to_string),
        "actor": letter.actor,
        "causation_id": letter.causation_id,
        "correlation_id": letter.correlation_id,
        "trace_parent": letter.trace_parent,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "park_time": letter.park_time.as_ref().map(ToString::to_string),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn hex(data: &[u8]) -> String {
    data.iter().fold(String::with_capacity(data.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// All of a letter: a line for each field, and the `event`, or its bytes when it can't be read.
pub fn shown_text(letter: &DeadLetter, event: Option<&Value>) -> String {
    let mut text = String::new();
    for (field, value) in letter_rows(letter) {
        writeln!(text, "{field:<10}  {}", line(&value)).ok();
    }
    match event {
        Some(event) => {
            let lines: Vec<_> = format!("{event:#}").lines().map(plain).collect();
            writeln!(text, "\n{}", lines.join("\n"))
        }
        None => writeln!(text, "{:<10}  {}", "data", hex(&letter.data)),
    }
    .ok();
    text
}

fn letter_rows(letter: &DeadLetter) -> [(&'static str, String); 16] {
    let time = |time: Option<String>| time.unwrap_or_default();
    [
        ("name", letter.name.clone()),
        ("service", letter.service.clone()),
        ("consumer", letter.consumer.clone()),
        ("stream", letter.stream.clone()),
        ("subject", letter.subject.clone()),
        ("version", letter.version.to_string()),
        ("event id", letter.event_id.clone()),
        ("event type", letter.event_type.clone()),
        ("source", letter.source.clone()),
        ("event time", time(letter.event_time.as_ref().map(ToString::to_string))),
        ("actor", letter.actor.clone()),
        ("caused by", letter.causation_id.clone()),
        ("trace", letter.trace_parent.clone()),
        ("attempts", letter.attempts.to_string()),
        ("park time", time(letter.park_time.as_ref().map(ToString::to_string))),
        ("reason", letter.reason.clone()),
    ]
}

/// All of a letter as JSON. Its bytes are there in any case; `event` is null when they can't be read.
pub fn shown_json(letter: &DeadLetter, event: Option<&Value>) -> Value {
    let mut fields = letter_fields(letter);
    fields.insert("event".to_owned(), event.cloned().unwrap_or_default());
    fields.insert("data".to_owned(), hex(&letter.data).into());
    Value::Object(fields)
}

/// What came of applying the events of an aggregate.
pub fn handled_text(handled: i64, left: Option<&DeadLetter>) -> String {
    let handled = count(handled, "event", "events");
    match left {
        None => format!("{handled} applied, nothing of the aggregate is parked any more\n"),
        Some(left) => {
            let DeadLetter { name, subject, version, reason, .. } = left;
            let (name, subject, reason) = (line(name), line(subject), line(reason));
            format!(
                "{handled} applied\nstill parked: {name}\n  {subject}, version {version}, {}\n  {reason}\n",
                tried(left)
            )
        }
    }
}

/// As [`handled_text`], as JSON.
pub fn handled_json(handled: i64, left: Option<&DeadLetter>) -> Value {
    json!({ "handled_events": handled, "left": left.map(letter_fields) })
}

/// What came of applying the events of all aggregates.
pub fn all_handled_text(handled: i64, left: i64) -> String {
    let handled = count(handled, "event", "events");
    match left {
        0 => format!("{handled} applied, nothing is parked any more\n"),
        _ => format!("{handled} applied, {} still parked\n", count(left, "aggregate is", "aggregates are")),
    }
}

/// As [`all_handled_text`], as JSON.
pub fn all_handled_json(handled: i64, left: i64) -> Value {
    json!({ "handled_events": handled, "left_aggregates": left })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str, reason: &str) -> DeadLetter {
        DeadLetter {
            name: format!("deadLetters/{id}"),
            service: "orders".to_owned(),
            subject: "orders/42".to_owned(),
            version: 3,
            event_type: "order_confirmed".to_owned(),
            reason: reason.to_owned(),
            attempts: 8,
            data: vec![0, 0x7f, 0xff],
            ..DeadLetter::default()
        }
    }

    fn listed(service: Parking, letters: Vec<DeadLetter>, more: bool) -> Listed {
        Listed { service, letters, more }
    }

    #[test]
    fn a_list_shows_each_letter_and_cuts_reasons_to_the_terminal() {
        let long = "no \u{1b}[31m such\nreservation, and so on and on";
        let of_orders = listed(Parking::Orders, vec![letter("a", long), letter("b", "gone")], true);
        let all = [listed(Parking::Products, Vec::new(), false), of_orders];
        let text = listed_text(&all, Some(24));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "orders  deadLetters/a");
        assert_eq!(lines[1], "  orders/42, version 3: order_confirmed, 8 attempts");
        assert_eq!(lines[2], "  no  [31m such reserva…");
        assert_eq!(lines[2].chars().count(), 24);
        assert_eq!(
            lines[5..],
            [
                "  gone",
                "",
                "2 events are parked",
                "orders has more than these 2; --subject shows those of one aggregate"
            ]
        );
        assert!(listed_text(&all, None).contains("  no  [31m such reservation, and so on and on\n"));
        assert_eq!(listed_text(&[], Some(80)), "nothing is parked\n");
    }

    #[test]
    fn a_list_in_json_says_what_is_missing() {
        let all = [listed(Parking::Notifications, vec![letter("a", "gone")], true)];
        let json = listed_json(&all, &[(Parking::Products, "it is down")]);
        assert_eq!(json["dead_letters"][0]["name"], "deadLetters/a");
        assert_eq!(json["dead_letters"][0]["service"], "notifications");
        assert_eq!(json["dead_letters"][0]["park_time"], Value::Null);
        assert_eq!(json["more"], json!(["notifications"]));
        assert_eq!(json["unasked"], json!([{ "service": "products", "reason": "it is down" }]));
    }

    #[test]
    fn a_letter_is_shown_with_its_event_or_its_bytes() {
        let letter = letter("a", "gone\r\n");
        let text = shown_text(&letter, None);
        assert!(text.starts_with("name        deadLetters/a\n"), "{text}");
        assert!(text.contains("\nreason      gone\ndata        007fff\n"), "{text}");
        let event = json!({ "order": "orders/42\u{9b}" });
        let text = shown_text(&letter, Some(&event));
        assert!(text.ends_with("\n\n{\n  \"order\": \"orders/42 \"\n}\n") && !text.contains("007fff"), "{text}");
        let json = shown_json(&letter, Some(&event));
        assert_eq!((&json["event"], &json["data"], &json["attempts"]), (&event, &json!("007fff"), &json!(8)));
        assert_eq!(shown_json(&letter, None)["event"], Value::Null);
    }

    #[test]
    fn what_a_redrive_leaves_is_told() {
        assert_eq!(handled_text(1, None), "1 event applied, nothing of the aggregate is parked any more\n");
        let left = letter("a", "gone");
        let text = handled_text(2, Some(&left));
        assert_eq!(text, "2 events applied\nstill parked: deadLetters/a\n  orders/42, version 3, 8 attempts\n  gone\n");
        let json = handled_json(2, Some(&left));
        assert_eq!((&json["handled_events"], &json["left"]["name"]), (&json!(2), &json!("deadLetters/a")));
        assert_eq!(handled_json(2, None)["left"], Value::Null);
        assert_eq!(all_handled_text(0, 0), "0 events applied, nothing is parked any more\n");
        assert_eq!(all_handled_text(3, 1), "3 events applied, 1 aggregate is still parked\n");
        assert_eq!(all_handled_json(3, 2), json!({ "handled_events": 3, "left_aggregates": 2 }));
    }
}
