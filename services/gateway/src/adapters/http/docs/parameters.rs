//! The parameters of an operation: in the path, in the query and in headers.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::notes::Notes;
use super::schema::{Schemas, Usage, describe, is_single};
use super::template::{PathParameter, Template};

/// How deep the messages lie whose fields are query parameters.
const MAX_DEPTH: usize = 4;

/// The field at `path`, such as `user.name`, from `message` on.
pub(super) fn field_at(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = message.get_field_by_name(name)?;
    match rest {
        None => Some(field),
        Some(rest) => field_at(field.kind().as_message()?, rest),
    }
}

/// Those of the path.
pub(super) fn of_path(notes: &Notes, input: &MessageDescriptor, template: &Template) -> Vec<Value> {
    let describe_one = |wildcard: &PathParameter| {
        let field = field_at(input, &wildcard.field);
        let mut told = field.map(|field| notes.of_field(&field).to_owned()).unwrap_or_default();
        if template.parameters.iter().filter(|other| other.field == wildcard.field).count() > 1 {
            told = format!("The part `{{{}}}` of `{}`. {told}", wildcard.name, wildcard.field);
        }
        let pattern = if wildcard.is_rest { "^.+$" } else { "^[^/]+$" };
        let schema = json!({"type": "string", "pattern": pattern});
        parameter(&wildcard.name, "path", true, told.trim(), schema)
    };
    template.parameters.iter().map(describe_one).collect()
}

/// Those of the query: the fields of `message` that neither the path nor the body binds, the fields of messages in them by
/// names with dots.
pub(super) struct Query<'a, 'n> {
    /// What is said about the fields.
    pub notes: &'n Notes,
    /// The schemas of their types.
    pub schemas: &'a mut Schemas<'n>,
    /// The fields that are bound elsewhere, by their paths.
    pub bound: &'a [String],
}

impl Query<'_, '_> {
    /// All parameters, in the order of the fields.
    pub(super) fn of(&mut self, message: &MessageDescriptor) -> Vec<Value> {
        let mut parameters = Vec::new();
        self.fields(message, ["", ""], true, 1, &mut parameters);
        parameters
    }

    /// What the service alone says, and what doesn't belong into addresses, as passwords don't.
    fn is_no_parameter(&self, field: &FieldDescriptor) -> bool {
        self.notes.is(field, "OUTPUT_ONLY") || self.notes.is(field, "INPUT_ONLY")
    }

    /// `before` is what the fields' paths and their names begin with.
    fn fields(
        &mut self,
        message: &MessageDescriptor,
        before: [&str; 2],
        is_required: bool,
        depth: usize,
        into: &mut Vec<Value>,
    ) {
        for field in message.fields() {
            let [path, name] =
                [format!("{}{}", before[0], field.name()), format!("{}{}", before[1], field.json_name())];
            if self.bound.contains(&path) || field.is_map() || self.is_no_parameter(&field) {
                continue;
            }
            let is_required = is_required && self.notes.is(&field, "REQUIRED");
            if let Kind::Message(message) = field.kind()
                && !is_single(&message)
            {
                if !field.is_list() && depth < MAX_DEPTH {
                    let before = [format!("{path}."), format!("{name}.")];
                    self.fields(&message, [&before[0], &before[1]], is_required, depth + 1, into);
                }
                continue;
            }
            let schema = self.schemas.value(&field, Usage::Answer);
            into.push(parameter(&name, "query", is_required, self.notes.of_field(&field), schema));
        }
    }
}

/// Those in headers. `changed` is the resource in the body of a change, `upstreams` are those that answer the method.
pub(super) fn of_headers(
    input: &MessageDescriptor,
    changed: Option<&MessageDescriptor>,
    is_stream: bool,
    upstreams: &[String],
) -> Vec<Value> {
    let has = |name| input.get_field_by_name(name).is_some();
    let mut headers = Vec::new();
    if upstreams.len() > 1 {
        let told = "The service that is meant: several have this method.";
        headers.push(parameter("Meshwork-Service", "header", true, told, json!({"type": "string", "enum": upstreams})));
    }
    if has("request_id") {
        let told = "A key of the caller's own that makes the call repeatable, in place of `requestId`: the same key gives \
                    the same answer, and one effect.";
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]([ -~]*[!#-~])?$"});
        headers.push(parameter("Idempotency-Key", "header", false, told, schema));
    }
    if has("etag") || changed.is_some_and(|resource| resource.get_field_by_name("etag").is_some()) {
        let told = "The `ETag` of the version that the caller has seen, in place of `etag`. Where there is another by now, \
                    nothing is done.";
        let schema = json!({"type": "string", "pattern": r#"^(\*|"[!#-~]*")$"#});
        headers.push(parameter("If-Match", "header", false, told, schema));
    }
    if is_stream && has("resume_token") {
        let told = "The id of the last event that was handled, in place of `resumeToken`: the stream goes on after it.";
        let schema = json!({"type": "string", "pattern": "^[!-~]*$"});
        headers.push(parameter("Last-Event-ID", "header", false, told, schema));
    }
    headers
}

fn parameter(name: &str, place: &str, is_required: bool, description: &str, schema: Value) -> Value {
    let mut parameter = Map::new();
    parameter.insert("name".to_owned(), name.into());
    parameter.insert("in".to_owned(), place.into());
    parameter.insert("required".to_owned(), is_required.into());
    parameter.insert("schema".to_owned(), schema);
    describe(&mut parameter, description);
    parameter.into()
}
