//! What stands under the `meshwork` key.

use std::time::Duration;

use serde_json::{Value, json};

use super::{parsed, refused};
use crate::policy::{ChannelPolicy, CircuitBreaker, FailureRate, RateLimit, RetryBudget};

fn channel(value: Value) -> ChannelPolicy {
    parsed(&json!({"meshwork": value}).to_string()).channel().clone()
}

fn no(value: Value) -> String {
    refused(&json!({"meshwork": value}).to_string())
}

#[test]
fn an_unknown_field_is_named_with_what_there_is() {
    for (value, message) in [
        (
            json!({"circuitBraker": {}}),
            "meshwork: circuitBraker is not known; there is circuitBreaker, rateLimit, maxConcurrentRequests, \
             maxConnectionsPerSubchannel, retryBudget",
        ),
        (
            json!({"circuitBreaker": {"openfor": "1s"}}),
            "meshwork.circuitBreaker: openfor is not known; there is consecutiveFailures, failureRate, openFor, probes, \
             maxOpenPercent",
        ),
        (
            json!({"circuitBreaker": {"failureRate": {"percentage": 1}}}),
            "meshwork.circuitBreaker.failureRate: percentage is not known; there is percent, minCalls, window",
        ),
        (
            json!({"rateLimit": {"perMinute": 1}}),
            "meshwork.rateLimit: perMinute is not known; there is perSecond, burst",
        ),
        (
            json!({"retryBudget": {"percent": 1}}),
            "meshwork.retryBudget: percent is not known; there is ratio, minPerSecond, ttl",
        ),
    ] {
        assert_eq!(no(value), message);
    }
    let error = refused(r#"{"methodConfig": [{"name": [{}], "meshwork": {"timeout": "1s"}}]}"#);
    assert_eq!(error, "methodConfig[0].meshwork: timeout is not known; there is attemptTimeout, repeat");
}

#[test]
fn the_breaker_opens_after_5_failures_for_60_s_and_takes_3_probes_unless_said() {
    let defaults = CircuitBreaker {
        consecutive_failures: Some(5),
        failure_rate: None,
        open_for: Duration::from_secs(60),
        probes: 3,
        max_open_percent: 50,
    };
    assert_eq!(channel(json!({"circuitBreaker": {}})).circuit_breaker, Some(defaults));
    assert_eq!(channel(json!({})).circuit_breaker, None);
    let rate = FailureRate { percent: 50, min_calls: 20, window: Duration::from_secs(10) };
    let full = json!({"circuitBreaker": {"consecutiveFailures": 7, "openFor": "5s", "probes": 1,
        "maxOpenPercent": 34,
        "failureRate": {"percent": 50, "minCalls": 20, "window": "10s"}}});
    let expected = CircuitBreaker {
        consecutive_failures: Some(7),
        failure_rate: Some(rate),
        open_for: Duration::from_secs(5),
        probes: 1,
        max_open_percent: 34,
    };
    assert_eq!(channel(full).circuit_breaker, Some(expected));
    // A rate alone: only the rate counts.
    let only = json!({"circuitBreaker": {"failureRate": {"percent": 50, "minCalls": 20, "window": "10s"}}});
    let breaker = channel(only).circuit_breaker.expect("set");
    assert_eq!((breaker.consecutive_failures, breaker.failure_rate), (None, Some(rate)));
}

#[test]
fn the_breaker_is_checked() {
    for (value, message) in [
        (json!({"consecutiveFailures": 0}), "consecutiveFailures: must be an integer above 0, not 0"),
        (json!({"openFor": "0s"}), r#"openFor: must be a duration above zero, not "0s""#),
        (json!({"probes": 0}), "probes: must be an integer above 0, not 0"),
        (json!({"failureRate": {}}), "failureRate.percent: is missing"),
        (json!({"failureRate": {"percent": 1}}), "failureRate.minCalls: is missing"),
        (json!({"failureRate": {"percent": 1, "minCalls": 1}}), "failureRate.window: is missing"),
        (json!({"failureRate": {"percent": 0}}), "failureRate.percent: must be an integer from 1 to 100, not 0"),
        (json!({"failureRate": {"percent": 101}}), "failureRate.percent: must be an integer from 1 to 100, not 101"),
    ] {
        assert_eq!(no(json!({"circuitBreaker": value})), format!("meshwork.circuitBreaker.{message}"));
    }
}

#[test]
fn limits_are_read_and_checked() {
    let limits = channel(json!({"rateLimit": {"perSecond": 100, "burst": 10}, "maxConcurrentRequests": 7}));
    assert_eq!(limits.rate_limit, Some(RateLimit { per_second: 100, burst: 10 }));
    assert_eq!(limits.max_concurrent_requests, Some(7));
    let burst = channel(json!({"rateLimit": {"perSecond": 100}})).rate_limit;
    assert_eq!(burst, Some(RateLimit { per_second: 100, burst: 100 }));
    assert_eq!(channel(json!({})).max_concurrent_requests, None, "a plain channel has no limit");
    assert_eq!(no(json!({"rateLimit": {}})), "meshwork.rateLimit.perSecond: is missing");
    assert_eq!(
        no(json!({"rateLimit": {"perSecond": 0}})),
        "meshwork.rateLimit.perSecond: must be an integer above 0, not 0"
    );
}

#[test]
fn a_retry_budget_is_read_and_checked() {
    let budget = |ratio, min_per_second, secs| RetryBudget { ratio, min_per_second, ttl: Duration::from_secs(secs) };
    assert_eq!(channel(json!({"retryBudget": {"ratio": 0.2}})).retry_budget, Some(budget(0.2, 10, 10)));
    let full = json!({"retryBudget": {"ratio": 1, "minPerSecond": 0, "ttl": "60s"}});
    assert_eq!(channel(full).retry_budget, Some(budget(1.0, 0, 60)));
    for (value, message) in [
        (json!({}), "ratio: is missing"),
        (json!({"ratio": -0.1}), "ratio: must be a number from 0 to 1000, not -0.1"),
        (json!({"ratio": 1, "ttl": "0.9s"}), r#"ttl: must be a duration from 1s to 60s, not "0.9s""#),
        (json!({"ratio": 1, "ttl": "60.1s"}), r#"ttl: must be a duration from 1s to 60s, not "60.1s""#),
    ] {
        assert_eq!(no(json!({"retryBudget": value})), format!("meshwork.retryBudget.{message}"));
    }
}

#[test]
fn attempt_timeouts_are_above_zero() {
    let json = |timeout| json!({"methodConfig": [{"name": [{}], "meshwork": {"attemptTimeout": timeout}}]}).to_string();
    assert_eq!(parsed(&json("0.25s")).method("/a.A/M").attempt_timeout, Some(Duration::from_millis(250)));
    assert!(refused(&json("0s")).starts_with("methodConfig[0].meshwork.attemptTimeout: must be a duration above zero"));
}

#[test]
fn an_entry_can_say_that_nothing_is_repeated_but_not_both() {
    let json = |hedging: Value| {
        json!({"methodConfig": [{"name": [{}], "hedgingPolicy": hedging, "meshwork": {"repeat": false}}]}).to_string()
    };
    assert!(parsed(&json(Value::Null)).method("/a.A/M").says_once);
    let error = refused(&json(json!({"maxAttempts": 2})));
    assert!(error.starts_with("methodConfig[0].meshwork.repeat: is false, but"), "{error}");
}
