//! Policies from code, and what descriptors add.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::method_options::IdempotencyLevel;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    MethodOptions, ServiceDescriptorProto,
};
use tonic::Code;

use super::parsed;
use crate::policy::{Descriptors, HedgingPolicy, MethodPolicy, Policy, Repeat, RequestIdField, RetryPolicy};

fn hedging(max_attempts: u32) -> HedgingPolicy {
    HedgingPolicy { max_attempts, hedging_delay: Duration::ZERO, non_fatal_status_codes: [].into_iter().collect() }
}

#[test]
fn a_builder_says_the_same_as_json() {
    let json = parsed(
        r#"{"methodConfig": [{"name": [{}], "timeout": "2s"}, {"name": [{"service": "a.A"}], "waitForReady": true},
            {"name": [{"service": "a.A", "method": "M"}], "hedgingPolicy": {"maxAttempts": 3}}],
            "healthCheckConfig": {"serviceName": ""}, "meshwork": {"circuitBreaker": {}}}"#,
    );
    let code = Policy::builder()
        .timeout(Duration::from_secs(2))
        .service("a.A", MethodPolicy { wait_for_ready: Some(true), ..MethodPolicy::default() })
        .method("a.A", "M", MethodPolicy { repeat: Repeat::Hedge(Arc::new(hedging(3))), ..MethodPolicy::default() })
        .health_check("")
        .circuit_breaker(crate::policy::CircuitBreaker::default())
        .build();
    assert_eq!(code, json);
}

#[test]
fn more_attempts_than_the_cap_are_clamped_in_code_too() {
    let retry = RetryPolicy { max_attempts: 9, ..RetryPolicy::default() };
    let policy = |repeat| MethodPolicy { repeat, ..MethodPolicy::default() };
    let policy = Policy::builder()
        .retry(retry.clone())
        .service("a.A", policy(Repeat::Retry(Arc::new(retry))))
        .method("a.A", "M", policy(Repeat::Hedge(Arc::new(hedging(9)))))
        .build();
    let attempts = |path| match &policy.method(path).repeat {
        Repeat::Once => 1,
        Repeat::Retry(policy) => policy.max_attempts,
        Repeat::Hedge(policy) => policy.max_attempts,
    };
    assert_eq!([attempts("/b.B/M"), attempts("/a.A/N"), attempts("/a.A/M")], [5, 5, 5]);
}

/// A request id with this number.
fn id(number: i32) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some("request_id".into()),
        number: Some(number),
        r#type: Some(Type::String.into()),
        label: Some(Label::Optional.into()),
        ..FieldDescriptorProto::default()
    }
}

fn message(name: &str, fields: &[FieldDescriptorProto]) -> DescriptorProto {
    DescriptorProto { name: Some(name.into()), field: fields.to_vec(), ..DescriptorProto::default() }
}

fn descriptors(package: &str) -> Descriptors {
    let scope = if package.is_empty() { String::new() } else { format!(".{package}") };
    let method = |name: &str, level: Option<IdempotencyLevel>| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(format!("{scope}.{name}Request")),
        client_streaming: Some(name == "Upload"),
        options: level.map(|level| MethodOptions { idempotency_level: Some(level.into()), ..MethodOptions::default() }),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Service".into()),
        method: vec![
            method("Get", Some(IdempotencyLevel::NoSideEffects)),
            method("Put", Some(IdempotencyLevel::Idempotent)),
            method("Set", Some(IdempotencyLevel::Idempotent)),
            method("Upload", Some(IdempotencyLevel::Idempotent)),
            method("Odd", Some(IdempotencyLevel::IdempotencyUnknown)),
            method("Post", None),
        ],
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        package: (!package.is_empty()).then(|| package.into()),
        service: vec![service],
        message_type: vec![
            message("GetRequest", &[id(1)]),
            message("PutRequest", &[id(3)]),
            message("SetRequest", &[]),
            message("UploadRequest", &[id(1)]),
            message("OddRequest", &[id(1)]),
            message("PostRequest", &[id(1)]),
        ],
        ..FileDescriptorProto::default()
    };
    Descriptors::decode(&FileDescriptorSet { file: vec![file] }.encode_to_vec()).expect("a descriptor set")
}

#[test]
fn descriptors_name_the_methods_that_may_be_repeated() {
    let names = |descriptors: &Descriptors| descriptors.idempotent().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(&descriptors("users.v1")), ["/users.v1.Service/Get", "/users.v1.Service/Put"]);
    assert_eq!(names(&descriptors("")), ["/Service/Get", "/Service/Put"]);
    assert!(Descriptors::decode(b"\xff\xff").is_err());
}

#[test]
fn e4_methods_without_side_effects_or_with_a_request_id_get_3_attempts_on_unavailable() {
    let policy = Policy::default().with_descriptors(&descriptors("users.v1"));
    let expected = RetryPolicy {
        max_attempts: 3,
        initial_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(1),
        backoff_multiplier: 2.0,
        retryable_status_codes: [Code::Unavailable].into_iter().collect(),
    };
    for path in ["/users.v1.Service/Get", "/users.v1.Service/Put"] {
        assert_eq!(policy.method(path).repeat, Repeat::Retry(Arc::new(expected.clone())));
    }
    for name in ["users.v1.Service/Odd", "users.v1.Service/Post", "users.v1.Service/Set", "users.v1.Service/Upload"] {
        assert_eq!(policy.method(&format!("/{name}")).repeat, Repeat::Once, "{name}");
    }
    assert_eq!(policy.method("/other.Service/Get").repeat, Repeat::Once);
    assert_eq!(policy.method("/users.v1.Service/Get").request_id, None);
    let id = policy.method("/users.v1.Service/Put").request_id;
    assert_eq!(id, Some(RequestIdField { number: 3, required: true }));
    assert_eq!(policy.with_descriptors(&descriptors("users.v1")), policy, "said twice, it is the same");
}

#[test]
fn e4_a_request_id_is_a_text_of_its_own_at_the_top_of_the_request() {
    let decoded = |request: DescriptorProto, input: &str| {
        let options =
            MethodOptions { idempotency_level: Some(IdempotencyLevel::Idempotent.into()), ..MethodOptions::default() };
        let method = MethodDescriptorProto {
            name: Some("Put".into()),
            input_type: Some(input.into()),
            options: Some(options),
            ..MethodDescriptorProto::default()
        };
        let service = ServiceDescriptorProto { name: Some("S".into()), method: vec![method], ..Default::default() };
        let file = FileDescriptorProto { service: vec![service], message_type: vec![request], ..Default::default() };
        let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
        Descriptors::decode(&set).unwrap().idempotent().count()
    };
    let of = |field: FieldDescriptorProto| decoded(message("Request", &[field]), ".Request");
    assert_eq!(of(id(1)), 1);
    assert_eq!(of(FieldDescriptorProto { oneof_index: Some(0), proto3_optional: Some(true), ..id(1) }), 1);
    assert_eq!(of(FieldDescriptorProto { oneof_index: Some(0), ..id(1) }), 0);
    assert_eq!(of(FieldDescriptorProto { label: Some(Label::Repeated.into()), ..id(1) }), 0);
    assert_eq!(of(FieldDescriptorProto { r#type: Some(Type::Bytes.into()), ..id(1) }), 0);
    assert_eq!(of(FieldDescriptorProto { name: Some("request".into()), ..id(1) }), 0);
    let within = DescriptorProto { nested_type: vec![message("Inner", &[id(1)])], ..message("Outer", &[]) };
    assert_eq!(decoded(within.clone(), ".Outer"), 0, "not at the top");
    assert_eq!(decoded(within, ".Outer.Inner"), 1);
    assert_eq!(decoded(message("Request", &[id(1)]), ".other.Request"), 0, "the request isn't in the set");
}

#[test]
fn descriptors_keep_the_rest_of_the_entry_that_applies() {
    let policy = parsed(r#"{"methodConfig": [{"name": [{"service": "users.v1.Service"}], "timeout": "2s"}]}"#)
        .with_descriptors(&descriptors("users.v1"));
    let get = policy.method("/users.v1.Service/Get");
    assert_eq!(get.timeout, Some(Duration::from_secs(2)));
    assert!(matches!(get.repeat, Repeat::Retry(_)));
    assert_eq!(policy.method("/users.v1.Service/Post").repeat, Repeat::Once);
}

#[test]
fn what_the_policy_says_comes_before_descriptors() {
    for entry in [
        r#""hedgingPolicy": {"maxAttempts": 2}"#,
        r#""retryPolicy": {"maxAttempts": 2, "initialBackoff": "1s", "maxBackoff": "1s", "backoffMultiplier": 1,
            "retryableStatusCodes": [8]}"#,
        r#""meshwork": {"repeat": false}"#,
    ] {
        let policy = parsed(&format!(r#"{{"methodConfig": [{{"name": [{{}}], {entry}}}]}}"#));
        let with_descriptors = policy.with_descriptors(&descriptors("users.v1"));
        for name in ["Get", "Set", "Odd", "Post"] {
            let path = format!("/users.v1.Service/{name}");
            assert_eq!(with_descriptors.method(&path), policy.method(&path), "{name}");
        }
        let (before, put) = (policy.method("/"), with_descriptors.method("/users.v1.Service/Put"));
        let id = (before.repeat != Repeat::Once).then_some(RequestIdField { number: 3, required: false });
        assert_eq!(**put, MethodPolicy { request_id: id, ..(**before).clone() });
    }
}
