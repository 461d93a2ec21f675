//! Distortions of a request: one field after the other, nested ones and elements of repeated ones too.

use prost_reflect::bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::base::{DEPTH, Names, freshen, plausible};
use super::contracts::Contracts;
use super::texts::{Distort, MASKS, MOMENTS, TEXTS};

/// A step on the way to a field.
#[derive(Clone, Debug)]
struct Step {
    field: FieldDescriptor,
    /// Whether it goes on to the first element of the field, which is repeated.
    to_element: bool,
}

/// What becomes of a field. Large values are only made when they are sent.
#[derive(Clone, Debug)]
enum Change {
    Cleared,
    Text(String, Distort),
    Value(Value),
    Bytes(usize),
    /// Many equal elements.
    Many(Value, usize),
    /// Many different texts, none of which is right.
    Texts(usize),
    Mask(MessageDescriptor, fn() -> Vec<String>),
}

/// A distortion of one field.
#[derive(Clone, Debug)]
pub(crate) struct Distortion {
    /// The field and what is wrong with it, for people.
    pub(crate) what: String,
    steps: Vec<Step>,
    change: Change,
}

impl Distortion {
    /// Distorts a request that is right.
    pub(crate) fn apply(&self, request: &mut DynamicMessage) {
        put(request, &self.steps, self.change.value());
    }
}

impl Change {
    fn value(&self) -> Option<Value> {
        Some(match self {
            Self::Cleared => return None,
            Self::Text(text, distort) => Value::String(distort(text)),
            Self::Value(value) => value.clone(),
            Self::Bytes(count) => Value::Bytes(Bytes::from(vec![0xff; *count])),
            Self::Many(element, count) => Value::List(vec![element.clone(); *count]),
            Self::Texts(count) => {
                Value::List((0..*count).map(|at| Value::String(format!("No Such Thing \u{1}{at}"))).collect())
            }
            Self::Mask(kind, paths) => {
                let paths = paths().into_iter().map(Value::String).collect();
                let mut mask = DynamicMessage::new(kind.clone());
                mask.set_field_by_name("paths", Value::List(paths));
                Value::Message(mask)
            }
        })
    }
}

/// Sets what is at the end of `steps`, or clears it. Messages on the way are made when there are none.
fn put(message: &mut DynamicMessage, steps: &[Step], value: Option<Value>) {
    let Some((step, rest)) = steps.split_first() else { return };
    if rest.is_empty() {
        match value {
            None => message.clear_field(&step.field),
            Some(value) if step.to_element => message.set_field(&step.field, Value::List(vec![value])),
            Some(value) => message.set_field(&step.field, value),
        }
        return;
    }
    let through = message.get_field_mut(&step.field);
    let inner = if step.to_element {
        let elements = through.as_list_mut().unwrap();
        if elements.is_empty() {
            elements.push(step.field.kind().default_value());
        }
        elements[0].as_message_mut().unwrap()
    } else {
        through.as_message_mut().unwrap()
    };
    put(inner, rest, value);
}

/// All distortions of requests of this kind.
pub(crate) fn all(contracts: &Contracts, input: &MessageDescriptor, names: &Names) -> Vec<Distortion> {
    let mut walk = Walk { contracts, names, steps: Vec::new(), path: Vec::new(), found: Vec::new() };
    walk.message(input);
    walk.found
}

struct Walk<'a> {
    contracts: &'a Contracts,
    names: &'a Names,
    steps: Vec<Step>,
    path: Vec<String>,
    found: Vec<Distortion>,
}

impl Walk<'_> {
    fn add(&mut self, what: &str, change: Change) {
        let what = format!("{}: {what}", self.path.join("."));
        self.found.push(Distortion { what, steps: self.steps.clone(), change });
    }

    fn message(&mut self, kind: &MessageDescriptor) {
        for field in kind.fields().filter(|field| !field.is_map()) {
            if field.is_list() {
                self.at(&field, false, |walk| walk.list(&field));
                self.at(&field, true, |walk| walk.value(&field));
            } else {
                self.at(&field, false, |walk| walk.value(&field));
            }
        }
    }

    /// Does something one step further on.
    fn at(&mut self, field: &FieldDescriptor, to_element: bool, within: impl FnOnce(&mut Self)) {
        self.steps.push(Step { field: field.clone(), to_element });
        self.path.push(if to_element { format!("{}[0]", field.name()) } else { field.name().to_owned() });
        within(self);
        self.steps.pop();
        self.path.pop();
    }

    fn list(&mut self, field: &FieldDescriptor) {
        let element = self.plausible(field);
        self.add("no element", Change::Cleared);
        self.add("2 equal elements", Change::Many(element.clone(), 2));
        self.add("101 elements", Change::Many(element.clone(), 101));
        self.add("10,000 elements", Change::Many(element, 10_000));
        self.add("1,000 empty elements", Change::Many(field.kind().default_value(), 1000));
        if matches!(field.kind(), Kind::String) {
            self.add("90 bad elements", Change::Texts(90));
            self.add("1,000 bad elements", Change::Texts(1000));
        } else {
            self.add("90 empty elements", Change::Many(field.kind().default_value(), 90));
        }
    }

    /// A field that isn't repeated, or an element of one that is.
    fn value(&mut self, field: &FieldDescriptor) {
        match field.kind() {
            Kind::Message(kind) => self.nested(&kind),
            Kind::String => {
                let Value::String(text) = self.plausible(field) else { return };
                for (what, distort) in TEXTS {
                    self.add(what, Change::Text(text.clone(), *distort));
                }
            }
            Kind::Bytes => {
                self.add("no byte", Change::Bytes(0));
                self.add("1 MiB", Change::Bytes(1 << 20));
            }
            Kind::Bool => self.values([Value::Bool(true), Value::Bool(false)]),
            Kind::Enum(_) => self.values([i32::MIN, -1, 0, 99, i32::MAX].map(Value::EnumNumber)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                self.values([i32::MIN, -1, 0, 1_000_000, i32::MAX].map(Value::I32));
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                self.values([i64::MIN, -1, 0, 1_000_001, 10_i64.pow(15), i64::MAX].map(Value::I64));
            }
            Kind::Uint32 | Kind::Fixed32 => self.values([0, u32::MAX].map(Value::U32)),
            Kind::Uint64 | Kind::Fixed64 => self.values([0, u64::MAX].map(Value::U64)),
            Kind::Float => self.values([f32::MIN, -0.0, f32::MAX, f32::INFINITY, f32::NAN].map(Value::F32)),
            Kind::Double => self.values([f64::MIN, -0.0, f64::MAX, f64::INFINITY, f64::NAN].map(Value::F64)),
        }
    }

    fn values(&mut self, values: impl IntoIterator<Item = Value>) {
        for value in values {
            self.add(&format!("{value:?}"), Change::Value(value));
        }
    }

    fn nested(&mut self, kind: &MessageDescriptor) {
        self.add("missing", Change::Cleared);
        self.add("an empty message", Change::Value(Value::Message(DynamicMessage::new(kind.clone()))));
        match kind.full_name() {
            "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
                for (seconds, nanos) in MOMENTS {
                    let mut moment = DynamicMessage::new(kind.clone());
                    moment.set_field_by_name("seconds", Value::I64(*seconds));
                    moment.set_field_by_name("nanos", Value::I32(*nanos));
                    self.add(&format!("{seconds} s, {nanos} ns"), Change::Value(Value::Message(moment)));
                }
            }
            "google.protobuf.FieldMask" => {
                for (what, paths) in MASKS {
                    self.add(what, Change::Mask(kind.clone(), *paths));
                }
            }
            _ if self.steps.len() < DEPTH => self.message(kind),
            _ => {}
        }
    }

    fn plausible(&self, field: &FieldDescriptor) -> Value {
        let facts = self.contracts.facts(field);
        let mut value = plausible(self.contracts, field, &facts, self.names, self.steps.len());
        freshen(&mut value);
        value
    }
}
