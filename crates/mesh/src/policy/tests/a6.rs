//! gRFC A6, validation: mesh.md §3.2.

use std::time::Duration;

use serde_json::{Value, json};
use tonic::Code;

use super::{parsed, refused};
use crate::policy::{HedgingPolicy, Repeat, RetryPolicy, RetryThrottling};

fn config(field: &str, policy: &Value) -> String {
    json!({"methodConfig": [{"name": [{}], field: policy}]}).to_string()
}

fn retry_json() -> Value {
    json!({"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
           "retryableStatusCodes": ["UNAVAILABLE"]})
}

fn retry_with(field: &str, value: Value) -> String {
    let mut policy = retry_json();
    policy[field] = value;
    config("retryPolicy", &policy)
}

fn retry(json: &str) -> RetryPolicy {
    match &parsed(json).method("/a.A/M").repeat {
        Repeat::Retry(policy) => (**policy).clone(),
        other => panic!("{other:?}"),
    }
}

fn hedging(policy: &Value) -> HedgingPolicy {
    match &parsed(&config("hedgingPolicy", policy)).method("/a.A/M").repeat {
        Repeat::Hedge(policy) => (**policy).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a6_a_retry_policy_is_read() {
    let expected = RetryPolicy {
        max_attempts: 3,
        initial_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        backoff_multiplier: 2.0,
        retryable_status_codes: [Code::Unavailable].into_iter().collect(),
    };
    assert_eq!(retry(&config("retryPolicy", &retry_json())), expected);
}

#[test]
fn a6_every_field_of_a_retry_policy_is_required() {
    for field in ["maxAttempts", "initialBackoff", "maxBackoff", "backoffMultiplier", "retryableStatusCodes"] {
        let error = refused(&retry_with(field, Value::Null));
        assert_eq!(error, format!("methodConfig[0].retryPolicy.{field}: is missing"));
    }
}

#[test]
fn a6_max_attempts_is_an_integer_above_1() {
    for bad in [json!(1), json!(0), json!(-3), json!(2.5), json!("two"), json!(true), json!([3])] {
        let error = refused(&retry_with("maxAttempts", bad.clone()));
        assert_eq!(error, format!("methodConfig[0].retryPolicy.maxAttempts: must be an integer above 1, not {bad}"));
    }
    assert_eq!(retry(&retry_with("maxAttempts", json!(2))).max_attempts, 2);
}

#[test]
fn a6_max_attempts_above_the_clients_cap_are_clamped_without_error() {
    assert_eq!(retry(&retry_with("maxAttempts", json!(5))).max_attempts, 5);
    assert_eq!(retry(&retry_with("maxAttempts", json!(6))).max_attempts, 5);
    assert_eq!(hedging(&json!({"maxAttempts": 100})).max_attempts, 5);
}

#[test]
fn a6_backoffs_are_durations_above_zero() {
    for field in ["initialBackoff", "maxBackoff"] {
        for bad in [json!("0s"), json!("-1s"), json!("1"), json!(1), json!("0.0000000001s"), json!("")] {
            let error = refused(&retry_with(field, bad));
            assert!(error.starts_with(&format!("methodConfig[0].retryPolicy.{field}: must be a duration")), "{error}");
        }
    }
}

#[test]
fn a6_the_multiplier_is_above_zero() {
    for bad in [json!(0), json!(-2), json!("NaN"), json!("Infinity")] {
        let error = refused(&retry_with("backoffMultiplier", bad));
        assert!(
            error.starts_with("methodConfig[0].retryPolicy.backoffMultiplier: must be a number above 0"),
            "{error}"
        );
    }
    assert_eq!(retry(&retry_with("backoffMultiplier", json!(0.5))).backoff_multiplier, 0.5);
}

#[test]
fn a6_codes_are_integers_or_names_in_any_case() {
    let codes =
        retry(&retry_with("retryableStatusCodes", json!([14, "unavailable", "Resource_Exhausted", 1, "CANCELLED"])));
    let expected = [Code::Unavailable, Code::ResourceExhausted, Code::Cancelled].into_iter().collect();
    assert_eq!(codes.retryable_status_codes, expected);
}

#[test]
fn a6_each_code_has_its_number() {
    for (number, code) in (0..17).map(|number| (number, Code::from_i32(number))) {
        // Tonic's `Debug` has the name without its underscores.
        let name = format!("{code:?}").chars().enumerate().fold(String::new(), |mut name, (index, letter)| {
            if letter.is_uppercase() && index > 0 {
                name.push('_');
            }
            name.push(letter);
            name
        });
        for spelled in [json!(number), json!(name)] {
            let policy = retry(&retry_with("retryableStatusCodes", json!([spelled])));
            assert_eq!(policy.retryable_status_codes, [code].into_iter().collect(), "{spelled}");
        }
    }
}

#[test]
fn a6_codes_that_are_none_are_refused_with_their_place() {
    for bad in [json!("UNAVAILABEL"), json!(17), json!(-1), json!(14.5), json!(null), json!("14")] {
        let error = refused(&retry_with("retryableStatusCodes", json!([14, bad])));
        assert!(error.starts_with("methodConfig[0].retryPolicy.retryableStatusCodes[1]: must be"), "{error}");
    }
    let error = refused(&retry_with("retryableStatusCodes", json!([])));
    assert_eq!(error, "methodConfig[0].retryPolicy.retryableStatusCodes: must name at least one code");
}

#[test]
fn a6_a_hedging_policy_needs_only_its_attempts() {
    let expected = HedgingPolicy {
        max_attempts: 3,
        hedging_delay: Duration::ZERO,
        non_fatal_status_codes: [].into_iter().collect(),
    };
    assert_eq!(hedging(&json!({"maxAttempts": 3})), expected);
    assert_eq!(hedging(&json!({"maxAttempts": 3, "hedgingDelay": "0s", "nonFatalStatusCodes": []})), expected);
    let full = hedging(&json!({"maxAttempts": 2, "hedgingDelay": "0.5s", "nonFatalStatusCodes": ["INTERNAL"]}));
    assert_eq!(full.hedging_delay, Duration::from_millis(500));
    assert!(full.non_fatal_status_codes.contains(Code::Internal));
}

#[test]
fn a6_a_hedging_policy_is_checked() {
    for (policy, path) in [
        (json!({}), "maxAttempts: is missing"),
        (json!({"maxAttempts": 1}), "maxAttempts: must be an integer above 1, not 1"),
        (json!({"maxAttempts": 2, "hedgingDelay": "-1s"}), "hedgingDelay: must be a duration that is not negative"),
        (json!({"maxAttempts": 2, "nonFatalStatusCodes": ["MAYBE"]}), "nonFatalStatusCodes[0]: must be a status code"),
    ] {
        let error = refused(&config("hedgingPolicy", &policy));
        assert!(error.starts_with(&format!("methodConfig[0].hedgingPolicy.{path}")), "{error}");
    }
}

#[test]
fn a6_only_one_of_the_two_policies_is_valid() {
    let entry =
        json!({"methodConfig": [{"name": [{}], "retryPolicy": retry_json(), "hedgingPolicy": {"maxAttempts": 2}}]});
    let error = refused(&entry.to_string());
    assert!(error.starts_with("methodConfig[0]: has a retryPolicy and a hedgingPolicy"), "{error}");
}

fn throttling(max: Value, ratio: Value) -> String {
    json!({"retryThrottling": {"maxTokens": max, "tokenRatio": ratio}}).to_string()
}

#[test]
fn a6_throttling_takes_up_to_1000_tokens_and_a_ratio_of_three_decimals() {
    let of = |max, ratio| parsed(&throttling(max, ratio)).channel().retry_throttling.expect("set");
    let tokens = |max_milli_tokens, milli_token_ratio| RetryThrottling { max_milli_tokens, milli_token_ratio };
    assert_eq!(of(json!(10), json!(0.1)), tokens(10_000, 100));
    assert_eq!(of(json!(1000), json!(1)), tokens(1_000_000, 1000));
    assert_eq!(of(json!(1), json!(0.5466)), tokens(1000, 546));
    assert_eq!(of(json!(1), json!(0.57)), tokens(1000, 570));
    assert_eq!(of(json!(1), json!("0.1239")), tokens(1000, 123));
    assert_eq!(of(json!(1), json!(0.001)), tokens(1000, 1));
}

#[test]
fn a6_throttling_is_checked() {
    for (max, ratio, message) in [
        (json!(0), json!(1), "maxTokens: must be an integer from 1 to 1000, not 0"),
        (json!(1001), json!(1), "maxTokens: must be an integer from 1 to 1000, not 1001"),
        (json!(1.5), json!(1), "maxTokens: must be an integer from 1 to 1000, not 1.5"),
        (json!(null), json!(1), "maxTokens: is missing"),
        (json!(1), json!(0), "tokenRatio: must be a number of at least 0.001, not 0"),
        (json!(1), json!(-1), "tokenRatio: must be a number of at least 0.001, not -1"),
        (json!(1), json!(0.0009), "tokenRatio: must be a number of at least 0.001, not 0.0009"),
        (json!(1), json!(null), "tokenRatio: is missing"),
    ] {
        assert_eq!(refused(&throttling(max, ratio)), format!("retryThrottling.{message}"));
    }
}
