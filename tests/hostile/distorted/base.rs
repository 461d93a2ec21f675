//! Requests that are right, by their descriptors: what is distorted.

use prost_reflect::bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use uuid::Uuid;

use super::contracts::{Contracts, Facts};

/// How deep messages are looked into.
pub(crate) const DEPTH: usize = 4;
/// What stands in a base for something that is another one in each request.
const FRESH: &str = "{fresh}";

/// Names of resources that there are, by their type. Of other types the names are plausible, and name nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(pub(crate) Vec<(&'static str, String)>);

impl Names {
    /// The same names, but for those of a type.
    pub(crate) fn instead(&self, resource: &'static str, name: &str) -> Self {
        let others = self.0.iter().filter(|(of, _)| *of != resource).cloned();
        Self(others.chain([(resource, name.to_owned())]).collect())
    }
}

/// A plausible request: what must be given is, and what need not be is left out. Each call needs one that is
/// [`freshened`].
pub(crate) fn request(contracts: &Contracts, input: &MessageDescriptor, names: &Names) -> DynamicMessage {
    message(contracts, input, names, 0)
}

fn message(contracts: &Contracts, kind: &MessageDescriptor, names: &Names, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    if kind.full_name() == "google.type.Money" {
        message.set_field_by_name("currency_code", Value::String("EUR".to_owned()));
        message.set_field_by_name("units", Value::I64(12));
        return message;
    }
    for field in kind.fields() {
        let facts = contracts.facts(&field);
        if (!facts.is_given && !facts.is_uuid) || field.is_map() || depth >= DEPTH {
            continue;
        }
        let value = plausible(contracts, &field, &facts, names, depth);
        let value = if field.is_list() { Value::List(vec![value]) } else { value };
        message.set_field(&field, value);
    }
    message
}

/// A plausible value of a field, or of an element of a repeated one.
pub(crate) fn plausible(
    contracts: &Contracts,
    field: &FieldDescriptor,
    facts: &Facts,
    names: &Names,
    depth: usize,
) -> Value {
    match field.kind() {
        Kind::Message(kind) => Value::Message(message(contracts, &kind, names, depth + 1)),
        Kind::String => Value::String(text(contracts, field, facts, names)),
        Kind::Bytes => Value::Bytes(Bytes::from_static(b"bytes")),
        Kind::Enum(kind) => {
            let first = kind.values().map(|value| value.number()).find(|number| *number != 0);
            Value::EnumNumber(first.unwrap_or_default())
        }
        Kind::Bool => Value::Bool(false),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(1),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
        Kind::Float => Value::F32(1.0),
        Kind::Double => Value::F64(1.0),
    }
}

fn text(contracts: &Contracts, field: &FieldDescriptor, facts: &Facts, names: &Names) -> String {
    if let Some(resource) = &facts.resource {
        let there = names.0.iter().find(|(kind, _)| kind == resource).map(|(_, name)| name.clone());
        return there.unwrap_or_else(|| named(contracts.pattern(resource).unwrap_or_default()));
    }
    match field.name() {
        _ if facts.is_uuid => FRESH.to_owned(),
        "email" => format!("distorted-{FRESH}@example.com"),
        _ => format!("plausible {}", field.name()),
    }
}

/// A name of a pattern that names nothing.
fn named(pattern: &str) -> String {
    let segments = pattern.split('/');
    let filled = segments.map(|segment| if segment.starts_with('{') { FRESH } else { segment });
    filled.collect::<Vec<_>>().join("/")
}

/// The message with what must be another one in each request.
pub(crate) fn freshened(mut message: DynamicMessage) -> DynamicMessage {
    for (_, value) in message.fields_mut() {
        freshen(value);
    }
    message
}

/// Puts something new into a value, wherever it needs it.
pub(crate) fn freshen(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(FRESH) => *text = text.replace(FRESH, &Uuid::new_v4().to_string()),
        Value::Message(message) => message.fields_mut().for_each(|(_, value)| freshen(value)),
        Value::List(values) => values.iter_mut().for_each(freshen),
        _ => {}
    }
}
