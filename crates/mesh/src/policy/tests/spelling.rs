//! Durations and numbers as proto3 JSON spells them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{parsed, refused};

fn with_timeout(value: Value) -> String {
    json!({"methodConfig": [{"name": [{}], "timeout": value}]}).to_string()
}

#[test]
fn durations_are_seconds_with_up_to_nine_decimals() {
    for (text, expected) in [
        ("0s", Duration::ZERO),
        ("-0s", Duration::ZERO),
        ("1s", Duration::from_secs(1)),
        ("1.5s", Duration::from_millis(1500)),
        ("0.000000001s", Duration::from_nanos(1)),
        ("3.000000001s", Duration::new(3, 1)),
        ("315576000000s", Duration::from_secs(315_576_000_000)),
    ] {
        let timeout = parsed(&with_timeout(json!(text))).method("/a.A/M").timeout;
        assert_eq!(timeout, Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_duration_is_refused() {
    let texts = [
        "",
        "s",
        "1",
        "1m",
        "1 s",
        " 1s",
        "1.s",
        ".5s",
        "1.0000000001s",
        "1e3s",
        "+1s",
        "--1s",
        "1,5s",
        "-1s",
        "-0.1s",
        "315576000001s",
        "99999999999999999999s",
        "infs",
        "NaNs",
        "1.-5s",
        "١s",
    ];
    for text in texts {
        let error = refused(&with_timeout(json!(text)));
        assert!(error.starts_with("methodConfig[0].timeout: must be a duration"), "{text}: {error}");
    }
}

#[test]
fn integers_may_be_spelled_as_integral_floats_and_strings() {
    let most = |value: Value| json!({"meshwork": {"maxConcurrentRequests": value}}).to_string();
    for value in [json!(20), json!(20.0), json!(2e1), json!("20"), json!("20.0"), json!("2e1")] {
        assert_eq!(parsed(&most(value.clone())).channel().max_concurrent_requests, Some(20), "{value}");
    }
    for value in
        [json!("20 "), json!(" 20"), json!(20.5), json!("20.5"), json!(""), json!("inf"), json!(-1), json!(1e10)]
    {
        let error = refused(&most(value.clone()));
        assert!(error.starts_with("meshwork.maxConcurrentRequests: must be an integer"), "{value}: {error}");
    }
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let error = refused(&with_timeout(json!("x".repeat(10_000))));
    assert!(error.len() < 200, "{error}");
}
