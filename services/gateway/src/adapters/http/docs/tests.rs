//! Tests of the document and the page.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use meshwork_api::FILE_DESCRIPTOR_SET;
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};

use super::notes::Notes;
use super::rule::Rule;
use super::{Docs, openapi, page};
use crate::adapters::contracts::BuiltIn;
use crate::adapters::http::methods::MethodNote;
use crate::domain::{RouteSettings, RouteTable, Upstream};
use crate::ports::Contracts;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
}

fn notes() -> impl Fn(&str) -> Option<MethodNote> {
    let methods = BuiltIn::load().unwrap().methods();
    let routes = RouteTable::new(methods, &BTreeSet::new(), &RouteSettings::default(), Vec::new()).unwrap();
    move |path| {
        let upstreams = routes.find(path)?.route.upstreams.iter().map(ToString::to_string).collect();
        Some(MethodNote { upstreams, callers: None })
    }
}

fn document() -> Value {
    serde_json::from_str(&openapi::document(&pool(), notes(), |_, _, _| true, true)).unwrap()
}

/// The operations by their lines, such as `POST /v1/orders/{order}:cancel`.
fn operations(document: &Value) -> BTreeMap<String, Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            operations.insert(format!("{} {path}", verb.to_uppercase()), operation.clone());
        }
    }
    operations
}

fn parameter<'o>(operation: &'o Value, name: &str) -> Option<&'o Value> {
    operation["parameters"].as_array().unwrap().iter().find(|parameter| parameter["name"] == name)
}

/// The values of the key `$ref`, wherever it is.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member.as_str() {
                    Some(target) if key == "$ref" => drop(into.insert(target.to_owned())),
                    _ => references(member, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

#[test]
fn every_routed_method_with_a_rule_is_in_the_document() {
    let (pool, note) = (pool(), notes());
    let notes = Notes::new(&pool);
    let mut expected = BTreeMap::<String, usize>::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        if let (Some(option), Some(_)) = (notes.rule(&method), note(&path)) {
            expected.insert(path, Rule::all(&option).len());
        }
    }
    assert!(expected.len() > 40, "{expected:?}");
    let mut found = BTreeMap::new();
    for operation in operations(&document()).values() {
        *found.entry(operation["x-grpc-method"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(found, expected);
}

#[test]
fn references_lead_somewhere_and_ids_are_unique() {
    let document = document();
    let mut targets = BTreeSet::new();
    references(&document, &mut targets);
    assert!(targets.len() > 30);
    for target in targets {
        let component = document.pointer(target.strip_prefix('#').unwrap());
        assert!(component.is_some_and(Value::is_object), "{target}");
    }
    let operations = operations(&document);
    let ids: BTreeSet<_> = operations.values().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len());
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).map(Value::to_string).collect();
    for (line, operation) in &operations {
        assert!(tags.contains(&operation["tags"][0].to_string()), "{line}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{line}");
    }
}

/// The same path with other names would be the same path twice.
#[test]
fn paths_differ_and_have_their_parameters() {
    let document = document();
    let mut shapes = BTreeSet::new();
    for (line, operation) in operations(&document) {
        let mut wildcards = BTreeSet::new();
        let mut shape = String::new();
        for part in line.split('{') {
            match part.split_once('}') {
                Some((name, rest)) => {
                    assert!(wildcards.insert(name.to_owned()), "{line}");
                    shape.push_str("{}");
                    shape.push_str(rest);
                }
                None => shape.push_str(part),
            }
        }
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let named: BTreeSet<_> = parameters
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(named, wildcards, "{line}");
        assert!(shapes.insert(shape), "{line}");
    }
}

#[test]
fn it_says_what_the_contracts_say() {
    let document = document();
    let operations = operations(&document);
    let schemas = &document["components"]["schemas"];
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["security"], json!([{"apiKey": []}, {"bearer": []}]));
    let key = &document["components"]["securitySchemes"]["apiKey"];
    assert_eq!((&key["type"], &key["in"], &key["name"]), (&json!("apiKey"), &json!("header"), &json!("x-api-key")));
    let tokens: Value = serde_json::from_str(&openapi::document(&pool(), notes(), |_, _, _| true, false)).unwrap();
    assert_eq!(tokens["security"], json!([{"bearer": []}]));
    assert!(tokens["components"]["securitySchemes"]["apiKey"].is_null());

    let cancel = &operations["POST /v1/orders/{order}:cancel"];
    assert_eq!(cancel["x-grpc-method"], "/meshwork.orders.v1.OrderService/CancelOrder");
    assert_eq!(cancel["x-callers"], json!(["OWNER", "STAFF"]));
    assert_eq!(cancel["security"], Value::Null);
    assert!(cancel["responses"]["412"].is_object());
    assert_eq!(cancel["requestBody"]["required"], false);
    let body = &cancel["requestBody"]["content"]["application/json"]["schema"];
    let fields: Vec<_> = body["properties"].as_object().unwrap().keys().collect();
    // The path has the name.
    assert_eq!(fields, ["etag", "reason", "requestId"]);
    assert_eq!(body["properties"]["requestId"]["format"], "uuid");
    for (header, is_there) in [("Idempotency-Key", true), ("If-Match", true), ("Meshwork-Service", false)] {
        assert_eq!(parameter(cancel, header).is_some(), is_there, "{header}");
    }

    let create = &operations["POST /v1/users"];
    assert_eq!(create["security"], json!([{}, {"apiKey": []}, {"bearer": []}]));
    let user = "#/components/schemas/meshwork.users.v1.User";
    assert_eq!(create["requestBody"]["content"]["application/json"]["schema"]["$ref"], format!("{user}-request"));
    assert_eq!(parameter(create, "userId").unwrap()["in"], "query");
    assert_eq!(create["responses"]["200"]["content"]["application/json"]["schema"]["$ref"], user);
    let new = &schemas["meshwork.users.v1.User-request"];
    assert_eq!((&new["required"], &new["additionalProperties"]), (&json!(["email", "displayName"]), &json!(false)));
    assert_eq!(new["properties"]["password"]["writeOnly"], true);
    assert_eq!(new["properties"]["createTime"]["readOnly"], true);
    assert_eq!(
        (&new["properties"]["email"]["type"], &new["properties"]["etag"]["type"]),
        (&json!("string"), &json!(["string", "null"]))
    );
    let role = "#/components/schemas/meshwork.users.v1.Role";
    let kinds = &new["properties"]["role"]["anyOf"];
    assert_eq!(
        (&kinds[0]["$ref"], &kinds[1]["type"], &kinds[2]["type"]),
        (&json!(role), &json!("integer"), &json!("null"))
    );
    // Defaults are left out, and a password is never answered.
    let answered = &schemas["meshwork.users.v1.User"];
    assert_eq!((&answered["required"], &answered["additionalProperties"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&answered["properties"]["password"], &answered["properties"]["role"]["$ref"]),
        (&Value::Null, &json!(role))
    );

    let update = &operations["PATCH /v1/users/{user}"];
    assert_eq!(update["requestBody"]["content"]["application/json"]["schema"]["$ref"], format!("{user}-patch"));
    assert_eq!(schemas["meshwork.users.v1.User-patch"]["required"], Value::Null);
    assert!(parameter(update, "updateMask").is_some());
    assert!(parameter(update, "currentPassword").is_none(), "addresses are kept in logs");
    let update = &operations["POST /v1/users/{user}:update"];
    assert!(parameter(update, "If-Match").is_some() && update["responses"]["412"].is_object());
    let update = &update["requestBody"];
    let body = &update["content"]["application/json"]["schema"];
    assert_eq!((&update["required"], &body["required"]), (&json!(true), &json!(["user"])));
    assert_eq!(body["properties"]["user"]["$ref"], format!("{user}-patch"), "the path names one that there is");
    assert_eq!(body["properties"]["currentPassword"]["writeOnly"], true);

    let order = &schemas["meshwork.orders.v1.Order"]["properties"];
    assert_eq!(order["state"]["$ref"], "#/components/schemas/meshwork.orders.v1.Order.State");
    assert!(order["total"]["description"].as_str().unwrap().starts_with("The sum"));
    let line = &schemas["meshwork.orders.v1.Order.Line"]["properties"];
    assert_eq!((&line["quantity"]["type"], &line["quantity"]["format"]), (&json!("string"), &json!("int64")));
    let line = &schemas["meshwork.orders.v1.Order.Line-request"]["properties"];
    assert_eq!(line["quantity"]["type"], json!(["string", "integer"]));

    let watch = &operations["GET /v1/orders/{order}:watch"];
    let kinds: Vec<_> = watch["responses"]["200"]["content"].as_object().unwrap().keys().collect();
    assert_eq!(kinds, ["application/x-ndjson", "text/event-stream"]);
    assert!(parameter(watch, "Last-Event-ID").is_some());

    let place = &operations["POST /v1/orders"];
    assert_eq!(parameter(place, "expectedTotal.currencyCode").unwrap()["in"], "query");
    let letters = &operations["GET /v1/deadLetters"];
    let service = parameter(letters, "Meshwork-Service").unwrap();
    assert_eq!(service["schema"]["enum"].as_array().unwrap().len(), Upstream::ALL.len());
    assert_eq!(service["required"], true);
    assert!(operations.contains_key("POST /v1/users/{user}/sessions/{session}:revoke"));
    assert!(operations.contains_key("GET /v1/jsonWebKeySet"));
}

#[test]
fn the_same_contracts_give_the_same_text() {
    assert_eq!(
        openapi::document(&pool(), notes(), |_, _, _| true, true),
        openapi::document(&pool(), notes(), |_, _, _| true, true)
    );
}

#[test]
fn what_has_no_route_is_not_told() {
    let nothing: Value = serde_json::from_str(&openapi::document(&pool(), |_| None, |_, _, _| true, true)).unwrap();
    assert_eq!((&nothing["paths"], &nothing["tags"]), (&json!({}), &json!([])));
}

#[tokio::test]
async fn files_are_answered_with_a_policy_and_again_with_304() {
    let docs = Docs::new(&pool(), notes(), |_, _, _| true, true);
    for path in page::FILES.map(|(path, ..)| path).into_iter().chain(["/openapi.json", "/docs/"]) {
        let answer = docs.answer(path, None).unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let etag = answer.headers()[header::ETAG].clone();
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(answer.headers()[header::CONTENT_SECURITY_POLICY], page::POLICY);
        assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");

        let weak = HeaderValue::try_from(format!("\"other\", W/{}", etag.to_str().unwrap())).unwrap();
        for known in [&etag, &weak, &HeaderValue::from_static("*")] {
            let answer = docs.answer(path, Some(known)).unwrap();
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{path}");
            assert_eq!(answer.headers()[header::ETAG], etag);
            assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");
        }
        let other = HeaderValue::from_static("\"other\"");
        assert_eq!(docs.answer(path, Some(&other)).unwrap().status(), StatusCode::OK);
    }
    for path in ["/", "/docs/../docs", "/docs/other.js", "/openapi", "/openapi.json/"] {
        assert!(docs.answer(path, None).is_none(), "{path}");
    }
}

/// Its policy would stop most of it, in silence.
#[test]
fn the_page_needs_nothing_from_elsewhere_and_makes_no_markup() {
    for (path, _, text) in page::FILES {
        for refused in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "sessionStorage",
            "style=",
        ] {
            assert!(!text.contains(refused), "{path}: {refused}");
        }
        // The name of a namespace, which nobody fetches, is the only address.
        let addresses = text.matches("http://").count() + text.matches("https://").count();
        assert_eq!(addresses, text.matches("http://www.w3.org/2000/svg").count(), "{path}");
        // What it names is there.
        for name in text.split(['"', '\'']).filter(|name| name.starts_with("/docs/")) {
            assert!(page::FILES.iter().any(|(path, ..)| *path == name), "{path}: {name}");
        }
    }
}

#[test]
fn what_is_not_reached_is_not_in_the_document() {
    let is_reached = |path: &str, verb: &str, template: &str| {
        (path, verb, template) == ("/meshwork.orders.v1.OrderService/ListOrders", "GET", "/v1/orders")
    };
    let document: Value = serde_json::from_str(&openapi::document(&pool(), notes(), is_reached, true)).unwrap();
    assert_eq!(operations(&document).into_keys().collect::<Vec<_>>(), ["GET /v1/orders"]);
    assert_eq!(document["tags"].as_array().unwrap().len(), 1);
}
