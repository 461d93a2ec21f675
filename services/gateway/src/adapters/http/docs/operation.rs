//! A binding of a method as an operation of OpenAPI.

use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::notes::Notes;
use super::parameters::{Query, field_at, of_headers, of_path};
use super::rule::Rule;
use super::schema::{Schemas, Usage, describe};
use super::template::Template;
use crate::adapters::http::methods::MethodNote;

/// A binding of a method.
pub(super) struct Binding<'a> {
    /// The method.
    pub method: &'a MethodDescriptor,
    /// How it is reached.
    pub rule: &'a Rule,
    /// The rule's path.
    pub template: &'a Template,
    /// What is said of it beside its contract.
    pub note: &'a MethodNote,
    /// What a caller may show, one of them.
    pub credentials: &'a [Value],
}

impl Binding<'_> {
    /// The operation, with the id `id`.
    pub(super) fn operation<'n>(&self, id: &str, notes: &'n Notes, schemas: &mut Schemas<'n>) -> Value {
        let (method, service) = (self.method, self.method.parent_service());
        let mut operation = Map::new();
        operation.insert("operationId".to_owned(), id.into());
        operation.insert("tags".to_owned(), json!([service.full_name()]));
        let comment = notes.comment(&method.parent_file(), method.path());
        operation.insert("summary".to_owned(), first_sentence(comment).into());
        describe(&mut operation, comment);
        operation.insert("x-grpc-method".to_owned(), format!("/{}/{}", service.full_name(), method.name()).into());
        if method.method_descriptor_proto().options.as_ref().is_some_and(prost_types::MethodOptions::deprecated) {
            operation.insert("deprecated".to_owned(), true.into());
        }

        let callers = self.note.callers.clone().unwrap_or_else(|| notes.callers(method));
        let is_open = callers.iter().any(|caller| caller == "ANYONE");
        if is_open {
            // A token is welcome: staff may do more.
            let or_nothing = [&[json!({})], self.credentials].concat();
            operation.insert("security".to_owned(), or_nothing.into());
        }
        operation.insert("x-callers".to_owned(), callers.into());
        let parameters = self.parameters(notes, schemas);
        let is_conditional = parameters.iter().any(|parameter| parameter["name"] == "If-Match");
        operation.insert("parameters".to_owned(), parameters.into());
        if let Some(body) = self.body(schemas) {
            operation.insert("requestBody".to_owned(), body);
        }
        operation.insert("responses".to_owned(), self.responses(is_open, is_conditional, schemas));
        operation.into()
    }

    /// The resource that the body holds, where the binding changes one.
    fn changed(&self) -> Option<MessageDescriptor> {
        let name = match self.rule.body.as_str() {
            // What the path names within the request.
            "*" => self.template.fields.iter().find_map(|path| Some(path.split_once('.')?.0))?,
            body => matches!(self.rule.verb.as_str(), "patch" | "put").then_some(body)?,
        };
        let field = self.method.input().get_field_by_name(name)?;
        field.kind().as_message().cloned()
    }

    fn parameters<'n>(&self, notes: &'n Notes, schemas: &mut Schemas<'n>) -> Vec<Value> {
        let input = self.method.input();
        let mut parameters = of_path(notes, &input, self.template);
        if self.rule.body != "*" {
            let mut bound = self.template.fields.clone();
            bound.push(self.rule.body.clone());
            parameters.extend(Query { notes, schemas, bound: &bound }.of(&input));
        }
        let changed = self.changed();
        let is_stream = self.method.is_server_streaming();
        parameters.extend(of_headers(&input, changed.as_ref(), is_stream, &self.note.upstreams));
        parameters
    }

    fn body(&self, schemas: &mut Schemas<'_>) -> Option<Value> {
        let input = self.method.input();
        let mut is_required = true;
        let schema = match (self.rule.body.as_str(), self.changed()) {
            ("", _) => return None,
            // A path binds fields of its messages as well: those stay, and are as the path says.
            ("*", _) => {
                let schema = schemas.object(&input, &self.template.fields, Usage::Request);
                // None is as an object without fields.
                is_required = schema.get("required").is_some();
                schema
            }
            (_, Some(resource)) if self.rule.verb == "patch" => schemas.message(&resource, Usage::Change),
            (field, _) => schemas.value(&input.get_field_by_name(field)?, Usage::Request),
        };
        Some(json!({"required": is_required, "content": {"application/json": {"schema": schema}}}))
    }

    fn responses(&self, is_open: bool, is_conditional: bool, schemas: &mut Schemas<'_>) -> Value {
        let output = self.method.output();
        let whole = field_at(&output, &self.rule.response_body).is_none();
        let schema = match field_at(&output, &self.rule.response_body) {
            Some(field) => schemas.value(&field, Usage::Answer),
            None => schemas.message(&output, Usage::Answer),
        };
        let mut ok = Map::new();
        if self.method.is_server_streaming() {
            let result = json!({
                "type": "object",
                "properties": {"result": schema},
                "required": ["result"],
                "additionalProperties": false,
            });
            let line = json!({"anyOf": [result, {"$ref": "#/components/schemas/Error"}]});
            let event = json!({
                "type": "string",
                "description": "Events with a message as JSON in `data`, and the place to go on from in `id`, if there is one. \
                                The last one is an `error` or an `end`.",
            });
            let told = "A stream: a line of JSON for each message, or server-sent events where the caller accepts \
                        `text/event-stream`. The status is sent before what may fail: a stream that has failed ends with an \
                        error.";
            ok.insert("description".to_owned(), told.into());
            let content = json!({"application/x-ndjson": {"schema": line}, "text/event-stream": {"schema": event}});
            ok.insert("content".to_owned(), content);
        } else {
            ok.insert("description".to_owned(), "What was asked for.".into());
            ok.insert("content".to_owned(), json!({"application/json": {"schema": schema}}));
            if whole && output.get_field_by_name("etag").is_some() {
                let etag = json!({"description": "The version, for `If-Match`.", "schema": {"type": "string"}});
                ok.insert("headers".to_owned(), json!({"ETag": etag}));
            }
        }
        let mut responses = Map::new();
        responses.insert("200".to_owned(), ok.into());
        if !is_open {
            responses.insert("401".to_owned(), json!({"$ref": "#/components/responses/Unauthenticated"}));
        }
        if is_conditional {
            responses.insert("412".to_owned(), json!({"$ref": "#/components/responses/PreconditionFailed"}));
        }
        responses.insert("429".to_owned(), json!({"$ref": "#/components/responses/TooManyRequests"}));
        responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Error"}));
        responses.into()
    }
}

/// The first sentence of a comment, without its full stop.
fn first_sentence(comment: &str) -> &str {
    let paragraph = comment.lines().next().unwrap_or_default();
    let sentence = paragraph.split_once(". ").map_or(paragraph, |(sentence, _)| sentence);
    sentence.strip_suffix('.').unwrap_or(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_first_sentence() {
        assert_eq!(first_sentence("Opens a session. Then more.\n\nErrors."), "Opens a session");
        assert_eq!(first_sentence("Takes v1.2 of it:\n- one"), "Takes v1.2 of it:");
        assert_eq!(first_sentence(""), "");
    }
}
