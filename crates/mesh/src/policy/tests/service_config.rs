//! gRFC A2, A21, A17, A105 and methodConfig: mesh.md §3.1 rules 4 to 6.

use std::sync::Arc;
use std::time::Duration;

use super::{parsed, refused};
use crate::policy::{LoadBalancing, MethodPolicy, Policy, Repeat};

fn timeout(policy: &Policy, path: &str) -> Option<u64> {
    policy.method(path).timeout.map(|timeout| timeout.as_secs())
}

#[test]
fn a21_an_invalid_value_in_a_known_field_refuses_the_whole_config() {
    let json = r#"{"methodConfig": [
        {"name": [{"service": "a.A"}], "timeout": "1s"},
        {"name": [{"service": "b.B"}], "retryPolicy": {"maxAttempts": 1, "initialBackoff": "1s", "maxBackoff": "1s",
            "backoffMultiplier": 2, "retryableStatusCodes": [14]}}]}"#;
    assert_eq!(refused(json), "methodConfig[1].retryPolicy.maxAttempts: must be an integer above 1, not 1");
    let error = Policy::parse(json).expect_err("refused");
    assert_eq!(error.path(), "methodConfig[1].retryPolicy.maxAttempts");
}

#[test]
fn a21_each_known_field_has_its_type() {
    for (json, message) in [
        ("[]", "the policy must be a JSON object"),
        (r#"{"methodConfig": {}}"#, "methodConfig: must be a list, not {}"),
        (r#"{"methodConfig": [1]}"#, "methodConfig[0]: must be an object, not 1"),
        (
            r#"{"methodConfig": [{"timeout": 5}]}"#,
            r#"methodConfig[0].timeout: must be a duration such as "1.5s", not 5"#,
        ),
        (
            r#"{"methodConfig": [{"waitForReady": "yes"}]}"#,
            r#"methodConfig[0].waitForReady: must be true or false, not "yes""#,
        ),
        (
            r#"{"methodConfig": [{"maxRequestMessageBytes": -1}]}"#,
            "methodConfig[0].maxRequestMessageBytes: must be an integer of 0 or more, not -1",
        ),
        (
            r#"{"methodConfig": [{"maxResponseMessageBytes": 1.5}]}"#,
            "methodConfig[0].maxResponseMessageBytes: must be an integer of 0 or more, not 1.5",
        ),
        (r#"{"methodConfig": [{"name": {}}]}"#, "methodConfig[0].name: must be a list, not {}"),
        (
            r#"{"methodConfig": [{"name": [{"service": 1}]}]}"#,
            "methodConfig[0].name[0].service: must be a string, not 1",
        ),
        (r#"{"healthCheckConfig": "users"}"#, r#"healthCheckConfig: must be an object, not "users""#),
        (r#"{"healthCheckConfig": {"serviceName": 1}}"#, "healthCheckConfig.serviceName: must be a string, not 1"),
    ] {
        assert_eq!(refused(json), message);
    }
}

#[test]
fn a21_unknown_fields_are_ignored() {
    let policy = parsed(
        r#"{"clientTelemetry": 5, "methodConfig": [{"name": [{"service": "a.A", "shard": 3}], "timeout": "1s", "colour": "red"}],
            "healthCheckConfig": {"every": "1s"}}"#,
    );
    assert_eq!(timeout(&policy, "/a.A/M"), Some(1));
    assert_eq!(policy.channel().health_check, None);
}

#[test]
fn a21_an_empty_config_is_the_default_policy() {
    assert_eq!(parsed("{}"), Policy::default());
    assert_eq!(parsed(r#"{"methodConfig": null, "loadBalancingConfig": null, "meshwork": null}"#), Policy::default());
    assert_eq!(Policy::default().channel().load_balancing, LoadBalancing::PeakEwma);
}

#[test]
fn what_is_not_json_is_refused_with_its_line() {
    assert!(refused("{").contains("line 1 column 1"));
    assert!(refused("").contains("EOF"));
    assert!(refused("{} {}").contains("trailing characters"));
}

#[test]
fn a_field_that_appears_twice_is_refused() {
    let error = refused("{\"methodConfig\": [{\"timeout\": \"1s\",\n \"timeout\": \"2s\"}]}");
    assert!(error.contains(r#"the field "timeout" appears twice"#) && error.contains("line 2"), "{error}");
    parsed(r#"{"methodConfig": [{"timeout": "1s"}, {"timeout": "1s"}]}"#);
}

#[test]
fn rule_6_a_method_comes_before_its_service_and_that_before_the_default() {
    let policy = parsed(
        r#"{"methodConfig": [
            {"name": [{}], "timeout": "1s"},
            {"name": [{"service": "a.A"}], "timeout": "2s"},
            {"name": [{"service": "a.A", "method": "M"}, {"service": "b.B", "method": "N"}], "timeout": "3s"}]}"#,
    );
    assert_eq!(timeout(&policy, "/a.A/M"), Some(3));
    assert_eq!(timeout(&policy, "/a.A/N"), Some(2));
    assert_eq!(timeout(&policy, "/b.B/N"), Some(3));
    assert_eq!(timeout(&policy, "/b.B/M"), Some(1));
    for odd in ["", "/", "a.A/M", "/a.A", "//", "/a.A/M/"] {
        assert_eq!(timeout(&policy, odd), Some(1), "{odd:?}");
    }
}

#[test]
fn rule_6_an_entry_takes_nothing_over_from_one_that_is_less_exact() {
    let policy = parsed(
        r#"{"methodConfig": [{"name": [{}], "timeout": "1s"},
            {"name": [{"service": "a.A", "method": "M"}], "waitForReady": true}]}"#,
    );
    let entry = MethodPolicy { wait_for_ready: Some(true), ..MethodPolicy::default() };
    assert_eq!(policy.method("/a.A/M"), &Arc::new(entry));
}

#[test]
fn rule_6_without_a_default_other_methods_have_no_policy() {
    let policy = parsed(r#"{"methodConfig": [{"name": [{"service": "a.A"}], "timeout": "1s"}]}"#);
    assert_eq!(**policy.method("/b.B/M"), MethodPolicy::default());
}

#[test]
fn rule_6_duplicate_names_are_invalid() {
    for (one, other) in [
        (r#"{"service": "a.A"}"#, r#"{"service": "a.A", "method": ""}"#),
        (r#"{"service": "a.A", "method": "M"}"#, r#"{"service": "a.A", "method": "M"}"#),
        ("{}", r#"{"service": ""}"#),
    ] {
        let json = format!(r#"{{"methodConfig": [{{"name": [{one}]}}, {{"name": [{{"service": "b.B"}}, {other}]}}]}}"#);
        let error = refused(&json);
        assert!(error.starts_with("methodConfig[1].name[1]: ") && error.contains("second time"), "{error}");
    }
}

#[test]
fn rule_6_a_method_without_its_service_is_invalid() {
    let error = refused(r#"{"methodConfig": [{"name": [{"method": "M"}]}]}"#);
    assert_eq!(error, r#"methodConfig[0].name[0]: the method "M" has no service"#);
}

#[test]
fn an_entry_without_names_applies_to_nothing_but_must_be_valid() {
    let policy = parsed(r#"{"methodConfig": [{"timeout": "1s"}, {"name": [], "timeout": "1s"}]}"#);
    assert_eq!(timeout(&policy, "/a.A/M"), None);
    refused(r#"{"methodConfig": [{"timeout": "soon"}]}"#);
}

#[test]
fn an_entry_says_what_it_says() {
    let policy = parsed(
        r#"{"methodConfig": [{"name": [{"service": "a.A"}], "timeout": "0.25s", "waitForReady": false,
            "maxRequestMessageBytes": 10, "maxResponseMessageBytes": "20", "meshwork": {"attemptTimeout": "0.1s"}}]}"#,
    );
    let expected = MethodPolicy {
        timeout: Some(Duration::from_millis(250)),
        attempt_timeout: Some(Duration::from_millis(100)),
        wait_for_ready: Some(false),
        max_request_message_bytes: Some(10),
        max_response_message_bytes: Some(20),
        repeat: Repeat::Once,
        request_id: None,
        says_once: false,
    };
    assert_eq!(**policy.method("/a.A/M"), expected);
}

#[test]
fn a17_health_checks_are_off_unless_a_name_is_given_and_an_empty_name_is_one() {
    let name = |json| parsed(json).channel().health_check.clone();
    assert_eq!(name("{}"), None);
    assert_eq!(name(r#"{"healthCheckConfig": {}}"#), None);
    assert_eq!(name(r#"{"healthCheckConfig": {"serviceName": ""}}"#).as_deref(), Some(""));
    assert_eq!(name(r#"{"healthCheckConfig": {"serviceName": "a.A"}}"#).as_deref(), Some("a.A"));
}

#[test]
fn a105_connections_of_a_subchannel_are_1_unless_said_and_10_at_most() {
    let most = |json| parsed(json).channel().max_connections_per_subchannel;
    assert_eq!(most("{}"), 1);
    assert_eq!(most(r#"{"connectionScaling": {"maxConnectionsPerSubchannel": 4}}"#), 4);
    assert_eq!(most(r#"{"connectionScaling": {"maxConnectionsPerSubchannel": 20}}"#), 10);
    assert_eq!(most(r#"{"meshwork": {"maxConnectionsPerSubchannel": 11}}"#), 10);
    let both =
        r#"{"connectionScaling": {"maxConnectionsPerSubchannel": 4}, "meshwork": {"maxConnectionsPerSubchannel": 2}}"#;
    assert_eq!(most(both), 2);
    let error = refused(r#"{"connectionScaling": {"maxConnectionsPerSubchannel": 0}}"#);
    assert_eq!(error, "connectionScaling.maxConnectionsPerSubchannel: must be an integer above 0, not 0");
}
