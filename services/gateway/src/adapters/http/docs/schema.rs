//! Schemas of messages and enums, by the rules of ProtoJSON.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::notes::Notes;

/// What a schema is of. Requests have more spellings than answers, and have to say what is required; answers leave out
/// what has its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// A body of a request, or a part of it.
    Request,
    /// The resource of a change, in the body of a request: nothing has to be given but what changes.
    Change,
    /// An answer, or a parameter, which is a text anyway.
    Answer,
}

/// The schemas that operations refer to, gathered while they are described.
pub(super) struct Schemas<'n> {
    notes: &'n Notes,
    /// By the name of the component.
    components: BTreeMap<String, Value>,
}

impl<'n> Schemas<'n> {
    /// None yet.
    pub(super) fn new(notes: &'n Notes) -> Self {
        Self { notes, components: BTreeMap::new() }
    }

    /// All that were referred to, by the names of the components.
    pub(super) fn finish(self) -> Map<String, Value> {
        self.components.into_iter().collect()
    }

    /// The schema of a message: a reference, or that of a well-known type, whose JSON is no object of its fields.
    pub(super) fn message(&mut self, message: &MessageDescriptor, of: Usage) -> Value {
        if let Some(schema) = well_known(message.full_name()) {
            return schema;
        }
        let suffix = match of {
            Usage::Request => "-request",
            Usage::Change => "-patch",
            Usage::Answer => "",
        };
        self.component(format!("{}{suffix}", message.full_name()), |schemas| schemas.object(message, &[], of))
    }

    /// The schema of an object with the fields of `message` but those that the path binds, each `bound` as a path from
    /// the message on. What has a field that is bound is a resource that there is already, and so the request changes
    /// it.
    pub(super) fn object(&mut self, message: &MessageDescriptor, bound: &[String], of: Usage) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields().filter(|field| !bound.iter().any(|path| path == field.name())) {
            let is = |behavior| self.notes.is(&field, behavior);
            if of == Usage::Answer && is("INPUT_ONLY") {
                continue;
            }
            let is_required = of == Usage::Request && is("REQUIRED") && !is("OUTPUT_ONLY");
            let names_field = |path: &String| path.strip_prefix(field.name()).is_some_and(|rest| rest.starts_with('.'));
            let inner = match of {
                Usage::Request if bound.iter().any(names_field) => Usage::Change,
                // What is in a resource is as it is given.
                Usage::Change => Usage::Request,
                of => of,
            };
            let property = self.property(&field, inner, of != Usage::Answer && !is_required);
            properties.insert(field.json_name().to_owned(), property);
            if is_required {
                required.push(field.json_name().to_owned());
            }
        }
        let mut description = self.notes.comment(&message.parent_file(), message.path()).to_owned();
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let members: Vec<_> = oneof.fields().map(|field| format!("`{}`", field.json_name())).collect();
            description.push_str(&format!("\n\nAt most one of {} is given.", members.join(", ")));
        }
        let mut object = Map::new();
        object.insert("type".to_owned(), "object".into());
        object.insert("properties".to_owned(), properties.into());
        if of != Usage::Answer {
            // What the contracts don't have is refused. Answers may get more fields in time.
            object.insert("additionalProperties".to_owned(), false.into());
        }
        if !required.is_empty() {
            object.insert("required".to_owned(), required.into());
        }
        describe(&mut object, description.trim());
        object.into()
    }

    /// The schema of a field's value, without what is said about the field.
    pub(super) fn value(&mut self, field: &FieldDescriptor, of: Usage) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return json!({"type": "object"}) };
            let value = self.kind(&entry.map_entry_value_field(), of);
            return json!({"type": "object", "additionalProperties": value});
        }
        let one = self.kind(field, of);
        if field.is_list() { json!({"type": "array", "items": one}) } else { one }
    }

    /// The schema of a field with all that is said about it. Where null is as nothing, it `may_be_null`.
    fn property(&mut self, field: &FieldDescriptor, of: Usage, may_be_null: bool) -> Value {
        let Value::Object(mut property) = self.value(field, of) else { return json!({}) };
        if may_be_null {
            property = nullable(property);
        }
        describe(&mut property, self.notes.of_field(field));
        let mut others = Vec::new();
        for behavior in self.notes.behaviors(field) {
            match behavior.as_str() {
                "OUTPUT_ONLY" => drop(property.insert("readOnly".to_owned(), true.into())),
                "INPUT_ONLY" => drop(property.insert("writeOnly".to_owned(), true.into())),
                "IDENTIFIER" | "IMMUTABLE" => others.push(Value::from(behavior)),
                _ => {}
            }
        }
        // OpenAPI has no word for them.
        if !others.is_empty() {
            property.insert("x-field-behavior".to_owned(), others.into());
        }
        property.into()
    }

    /// The schema of one value of a field.
    fn kind(&mut self, field: &FieldDescriptor, of: Usage) -> Value {
        match field.kind() {
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
            }
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 if of != Usage::Answer => json!({
                "type": ["string", "integer"], "format": "int64", "pattern": "^-?[0-9]{1,19}$",
                "minimum": i64::MIN, "maximum": i64::MAX,
            }),
            Kind::Uint64 | Kind::Fixed64 if of != Usage::Answer => json!({
                "type": ["string", "integer"], "format": "uint64", "pattern": "^[0-9]{1,20}$",
                "minimum": 0, "maximum": u64::MAX,
            }),
            // JSON's numbers can't hold all of them.
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"})
            }
            Kind::Uint64 | Kind::Fixed64 => {
                json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"})
            }
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => match self.notes.format(field) {
                Some(format) => json!({"type": "string", "format": format}),
                None => json!({"type": "string"}),
            },
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Enum(descriptor) if of != Usage::Answer && descriptor.full_name() != NULL_VALUE => {
                let names = self.enumeration(&descriptor);
                json!({"anyOf": [names, {"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}]})
            }
            Kind::Enum(descriptor) => self.enumeration(&descriptor),
            Kind::Message(message) => self.message(&message, of),
        }
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor) -> Value {
        if descriptor.full_name() == NULL_VALUE {
            return json!({"type": "null"});
        }
        let notes = self.notes;
        self.component(descriptor.full_name().to_owned(), |_| {
            let (file, mut names, mut meanings) = (descriptor.parent_file(), Vec::new(), Vec::new());
            for value in descriptor.values() {
                names.push(Value::from(value.name()));
                let comment = notes.comment(&file, value.path());
                if !comment.is_empty() {
                    meanings.push(format!("- `{}`: {comment}", value.name()));
                }
            }
            let mut schema = Map::new();
            schema.insert("type".to_owned(), "string".into());
            schema.insert("enum".to_owned(), names.into());
            let comment = notes.comment(&file, descriptor.path());
            describe(&mut schema, format!("{comment}\n\n{}", meanings.join("\n")).trim());
            schema.into()
        })
    }

    /// A reference to the component `name`, which `make` describes when it is referred to for the first time.
    fn component(&mut self, name: String, make: impl FnOnce(&mut Self) -> Value) -> Value {
        let reference = json!({"$ref": format!("#/components/schemas/{name}")});
        if !self.components.contains_key(&name) {
            // It is there before its fields are read: a message may hold itself.
            self.components.insert(name.clone(), Value::Null);
            let schema = make(self);
            self.components.insert(name, schema);
        }
        reference
    }
}

/// `schema`, or null.
fn nullable(mut schema: Map<String, Value>) -> Map<String, Value> {
    let null = || Value::from("null");
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.push(json!({"type": "null"}));
    } else if let Some(reference) = schema.remove("$ref") {
        schema.insert("anyOf".to_owned(), json!([{"$ref": reference}, {"type": "null"}]));
    } else if let Some(kind) = schema.get_mut("type") {
        match kind {
            Value::Array(kinds) => kinds.push(null()),
            kind if *kind != null() => *kind = Value::Array(vec![kind.take(), null()]),
            _ => {}
        }
    }
    schema
}

/// Adds a description where there is one.
pub(super) fn describe(schema: &mut Map<String, Value>, description: &str) {
    if !description.is_empty() {
        schema.insert("description".to_owned(), description.into());
    }
}

/// The enum whose one value is JSON's null.
const NULL_VALUE: &str = "google.protobuf.NullValue";

/// The schemas of the types with a JSON of their own.
fn well_known(name: &str) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"}),
        // Paths in lower camel case, with commas between them.
        "FieldMask" => json!({"type": "string"}),
        "Empty" => json!({"type": "object", "additionalProperties": false}),
        "Any" => json!({"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]}),
        "Struct" => json!({"type": "object"}),
        "Value" => json!({}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "DoubleValue" | "FloatValue" => json!({"type": "number"}),
        "Int32Value" => json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}),
        "UInt32Value" => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        "Int64Value" => json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"}),
        "UInt64Value" => json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"}),
        "BoolValue" => json!({"type": "boolean"}),
        "StringValue" => json!({"type": "string"}),
        "BytesValue" => json!({"type": "string", "contentEncoding": "base64"}),
        _ => return None,
    })
}

/// Whether the JSON of a message is a single value, which a query parameter can hold.
pub(super) fn is_single(message: &MessageDescriptor) -> bool {
    well_known(message.full_name())
        .and_then(|schema| Some(!matches!(schema.get("type")?.as_str()?, "object" | "array")))
        .unwrap_or_default()
}
