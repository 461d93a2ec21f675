//! The OpenAPI 3.1 document of what is reached over HTTP.

use std::collections::BTreeSet;

use prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};

use super::notes::Notes;
use super::operation::Binding;
use super::parameters::field_at;
use super::rule::Rule;
use super::schema::{Schemas, describe};
use super::template::Template;
use crate::adapters::http::methods::MethodNote;

/// The names of the codes that errors have, as `error.status`.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The document of the methods in `pool` that have a `google.api.http` option and a route: `note` says more of the method
/// of a gRPC path, and is `None` where there is no route; `is_reached` says whether the method of HTTP and the template lead to it.
/// `takes_keys` says whether an API key does as well as a token. The same
/// pool gives the same text.
pub(super) fn document(
    pool: &DescriptorPool,
    note: impl Fn(&str) -> Option<MethodNote>,
    is_reached: impl Fn(&str, &str, &str) -> bool,
    takes_keys: bool,
) -> String {
    let schemes = security_schemes(takes_keys);
    let credentials: Vec<_> = schemes.keys().map(|name| json!({name.as_str(): []})).collect();
    let notes = Notes::new(pool);
    let mut schemas = Schemas::new(&notes);
    let (mut paths, mut tags, mut ids) = (Map::new(), Vec::new(), BTreeSet::new());
    for service in pool.services() {
        let mut has_paths = false;
        for method in service.methods().filter(|method| !method.is_client_streaming()) {
            let Some(option) = notes.rule(&method) else { continue };
            let grpc_path = format!("/{}/{}", service.full_name(), method.name());
            let Some(note) = note(&grpc_path) else { continue };
            let input = method.input();
            let patterns =
                |field: &str| field_at(&input, field).map(|field| notes.patterns(&field)).unwrap_or_default();
            let mut rules = Rule::all(&option);
            rules.retain(|rule| is_reached(&grpc_path, &rule.verb.to_ascii_uppercase(), &rule.template));
            for rule in rules {
                let Some(template) = Template::parse(&rule.template, patterns) else { continue };
                let path = paths.entry(template.path.clone()).or_insert_with(|| json!({}));
                // Who comes first is answered, as by the routes.
                let Some(path) = path.as_object_mut().filter(|path| !path.contains_key(&rule.verb)) else { continue };
                let id = id(&mut ids, service.name(), method.name());
                let binding = Binding {
                    method: &method,
                    rule: &rule,
                    template: &template,
                    note: &note,
                    credentials: &credentials,
                };
                path.insert(rule.verb.clone(), binding.operation(&id, &notes, &mut schemas));
                has_paths = true;
            }
        }
        if has_paths {
            let mut tag = Map::new();
            tag.insert("name".to_owned(), service.full_name().into());
            describe(&mut tag, notes.comment(&service.parent_file(), service.path()));
            tags.push(Value::from(tag));
        }
    }
    let mut components = schemas.finish();
    components.insert("Error".to_owned(), error());
    let document = json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "Meshwork",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A commerce back end, over HTTP and JSON. The same methods are reached by gRPC, gRPC-Web and Connect \
                            on the same port.",
        },
        "servers": [{"url": "/"}],
        "security": credentials,
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": responses(),
            "securitySchemes": schemes,
        },
    });
    document.to_string()
}

/// By what callers are known.
fn security_schemes(takes_keys: bool) -> Map<String, Value> {
    let bearer = json!({
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `accessToken` that `POST /v1/sessions:signIn` answers.",
    });
    let mut schemes = Map::from_iter([("bearer".to_owned(), bearer)]);
    if takes_keys {
        let key = json!({
            "type": "apiKey",
            "in": "header",
            "name": "x-api-key",
            "description": "An API key, which begins with `mwk_`.",
        });
        schemes.insert("apiKey".to_owned(), key);
    }
    schemes
}

/// An id for a binding of a method that no other has.
fn id(ids: &mut BTreeSet<String>, service: &str, method: &str) -> String {
    let mut id = format!("{service}_{method}");
    let mut number = 1;
    while !ids.insert(id.clone()) {
        number += 1;
        id = format!("{service}_{method}_{number}");
    }
    id
}

/// The schema of errors (AIP-193).
fn error() -> Value {
    json!({
        "type": "object",
        "description": "Why a call has failed.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "status", "message"],
                "properties": {
                    "code": {"type": "integer", "description": "The HTTP status."},
                    "status": {"type": "string", "enum": CODES, "description": "The gRPC code."},
                    "message": {"type": "string", "description": "What is wrong, for developers, in English."},
                    "details": {
                        "type": "array",
                        "description": "What programs can read, such as `google.rpc.ErrorInfo` with a reason; each type at \
                                        most once.",
                        "items": {
                            "type": "object",
                            "required": ["@type"],
                            "properties": {"@type": {"type": "string"}},
                        },
                    },
                },
            },
        },
    })
}

fn responses() -> Value {
    let content = || json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    json!({
        "Error": {"description": "The call has failed.", "content": content()},
        "Unauthenticated": {"description": "There is no token, or it is not valid.", "content": content()},
        "PreconditionFailed": {"description": "There is another version than `If-Match` says.", "content": content()},
        "TooManyRequests": {
            "description": "The caller has made too many calls, or has too much open.",
            "headers": {
                "Retry-After": {
                    "description": "After how many seconds to call again.",
                    "schema": {"type": "integer", "minimum": 0},
                },
                "RateLimit": {
                    "description": "What is left of each limit, and after how many seconds there is more.",
                    "schema": {"type": "string"},
                },
                "RateLimit-Policy": {"description": "The limits that hold for the call.", "schema": {"type": "string"}},
            },
            "content": content(),
        },
    })
}
