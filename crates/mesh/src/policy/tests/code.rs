//! Policies from code, and what descriptors add.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions, ServiceDescriptorProto,
};
use tonic::Code;

use super::parsed;
use crate::policy::{Descriptors, HedgingPolicy, MethodPolicy, Policy, Repeat, RetryPolicy};

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

fn descriptors(package: &str) -> Descriptors {
    let method = |name: &str, level: Option<IdempotencyLevel>| MethodDescriptorProto {
        name: Some(name.into()),
        options: level.map(|level| MethodOptions { idempotency_level: Some(level.into()), ..MethodOptions::default() }),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Service".into()),
        method: vec![
            method("Get", Some(IdempotencyLevel::NoSideEffects)),
            method("Put", Some(IdempotencyLevel::Idempotent)),
            method("Odd", Some(IdempotencyLevel::IdempotencyUnknown)),
            method("Post", None),
        ],
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        package: (!package.is_empty()).then(|| package.into()),
        service: vec![service],
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
fn idempotent_methods_get_3_attempts_on_unavailable() {
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
    for path in ["/users.v1.Service/Odd", "/users.v1.Service/Post", "/other.Service/Get"] {
        assert_eq!(policy.method(path).repeat, Repeat::Once);
    }
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
        assert_eq!(policy.with_descriptors(&descriptors("users.v1")), policy);
    }
}
