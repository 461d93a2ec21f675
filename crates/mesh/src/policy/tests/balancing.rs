//! loadBalancingConfig (§3.1 rule 5), least_request (§3.6) and outlier detection (§3.7 rule 1).

use std::time::Duration;

use serde_json::{Value, json};

use super::{parsed, refused};
use crate::policy::{FailurePercentageEjection, LoadBalancing, OutlierDetection, SuccessRateEjection};

fn config(list: Value) -> String {
    json!({"loadBalancingConfig": list}).to_string()
}

fn balancing(list: Value) -> LoadBalancing {
    parsed(&config(list)).channel().load_balancing.clone()
}

#[test]
fn rule_5_the_first_policy_that_is_supported_wins() {
    assert_eq!(balancing(json!([{"grpclb": {}}, {"round_robin": {}}, {"pick_first": {}}])), LoadBalancing::RoundRobin);
    assert_eq!(balancing(json!([{"meshwork_peak_ewma": {}}, {"round_robin": {}}])), LoadBalancing::PeakEwma);
    assert_eq!(balancing(json!([{"pick_first": {}}])), LoadBalancing::PickFirst { shuffle_address_list: true });
    let shuffled = balancing(json!([{"pick_first": {"shuffleAddressList": false}}]));
    assert_eq!(shuffled, LoadBalancing::PickFirst { shuffle_address_list: false });
}

#[test]
fn rule_5_a_list_with_none_that_is_supported_is_invalid() {
    let error = refused(&config(json!([{"grpclb": {}}, {"rls_experimental": {}}])));
    assert!(
        error.starts_with("loadBalancingConfig: names no policy that is known; there is meshwork_peak_ewma"),
        "{error}"
    );
    assert_eq!(balancing(json!([])), LoadBalancing::PeakEwma);
}

#[test]
fn rule_5_an_item_is_one_policy_with_an_object() {
    let error = refused(&config(json!([{"round_robin": {}, "pick_first": {}}])));
    assert_eq!(error, "loadBalancingConfig[0]: must have one field: the name of a policy");
    refused(&config(json!([{}])));
    refused(&config(json!(["round_robin"])));
    assert_eq!(
        refused(&config(json!([{"round_robin": 1}]))),
        "loadBalancingConfig[0].round_robin: must be an object, not 1"
    );
    let error = refused(&config(json!([{"pick_first": {"shuffleAddressList": "x"}}])));
    assert_eq!(error, r#"loadBalancingConfig[0].pick_first.shuffleAddressList: must be true or false, not "x""#);
}

#[test]
fn the_deprecated_name_counts_where_there_is_no_list() {
    let policy = |json: Value| parsed(&json.to_string()).channel().load_balancing.clone();
    assert_eq!(policy(json!({"loadBalancingPolicy": "ROUND_ROBIN"})), LoadBalancing::RoundRobin);
    assert_eq!(
        policy(json!({"loadBalancingPolicy": "round_robin", "loadBalancingConfig": [{"meshwork_peak_ewma": {}}]})),
        LoadBalancing::PeakEwma
    );
    let error = refused(r#"{"loadBalancingPolicy": "grpclb"}"#);
    assert!(error.starts_with("loadBalancingPolicy: is not known; there is"), "{error}");
}

#[test]
fn a48_choice_count_is_2_unless_said_10_at_most_and_refused_below_2() {
    for name in ["least_request_experimental", "least_request"] {
        let count = |config: Value| balancing(json!([{name: config}]));
        assert_eq!(count(json!({})), LoadBalancing::LeastRequest { choice_count: 2 });
        assert_eq!(count(json!({"choiceCount": 3})), LoadBalancing::LeastRequest { choice_count: 3 });
        assert_eq!(count(json!({"choiceCount": 11})), LoadBalancing::LeastRequest { choice_count: 10 });
        let error = refused(&config(json!([{name: {"choiceCount": 1}}])));
        assert_eq!(error, format!("loadBalancingConfig[0].{name}.choiceCount: must be an integer above 1, not 1"));
    }
}

fn outliers(config: Value) -> OutlierDetection {
    let policy = parsed(&self::config(json!([{"outlier_detection_experimental": config}])));
    policy.channel().outlier_detection.clone().expect("set")
}

#[test]
fn a50_rule_1_defaults() {
    let expected = OutlierDetection {
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        max_ejection_percent: 10,
        success_rate: None,
        failure_percentage: None,
    };
    assert_eq!(outliers(json!({})), expected);
    let both = outliers(json!({"successRateEjection": {}, "failurePercentageEjection": {}}));
    let rate =
        SuccessRateEjection { stdev_factor: 1900, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 100 };
    let failures =
        FailurePercentageEjection { threshold: 85, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 50 };
    assert_eq!((both.success_rate, both.failure_percentage), (Some(rate), Some(failures)));
}

#[test]
fn a50_rule_1_every_field_is_read() {
    let json = json!({"interval": "1s", "baseEjectionTime": "2s", "maxEjectionTime": "3s", "maxEjectionPercent": 4,
        "successRateEjection": {"stdevFactor": 5, "enforcementPercentage": 6, "minimumHosts": 7, "requestVolume": 8},
        "failurePercentageEjection": {"threshold": 9, "enforcementPercentage": 10, "minimumHosts": 11, "requestVolume": 12}});
    let expected = OutlierDetection {
        interval: Duration::from_secs(1),
        base_ejection_time: Duration::from_secs(2),
        max_ejection_time: Duration::from_secs(3),
        max_ejection_percent: 4,
        success_rate: Some(SuccessRateEjection {
            stdev_factor: 5,
            enforcement_percentage: 6,
            minimum_hosts: 7,
            request_volume: 8,
        }),
        failure_percentage: Some(FailurePercentageEjection {
            threshold: 9,
            enforcement_percentage: 10,
            minimum_hosts: 11,
            request_volume: 12,
        }),
    };
    assert_eq!(outliers(json), expected);
}

#[test]
fn a50_rule_1_percentages_above_100_and_negative_durations_are_invalid() {
    for (config, path) in [
        (json!({"maxEjectionPercent": 101}), "maxEjectionPercent: must be an integer from 0 to 100, not 101"),
        (
            json!({"successRateEjection": {"enforcementPercentage": 101}}),
            "successRateEjection.enforcementPercentage: must be",
        ),
        (json!({"failurePercentageEjection": {"threshold": 101}}), "failurePercentageEjection.threshold: must be"),
        (
            json!({"failurePercentageEjection": {"enforcementPercentage": 101}}),
            "failurePercentageEjection.enforcementPercentage: must be",
        ),
        (json!({"interval": "-1s"}), "interval: must be a duration that is not negative"),
        (json!({"baseEjectionTime": "-1s"}), "baseEjectionTime: must be a duration that is not negative"),
        (json!({"maxEjectionTime": "-1s"}), "maxEjectionTime: must be a duration that is not negative"),
    ] {
        let error = refused(&self::config(json!([{"outlier_detection_experimental": config}])));
        assert!(error.starts_with(&format!("loadBalancingConfig[0].outlier_detection_experimental.{path}")), "{error}");
    }
}

#[test]
fn a50_an_interval_of_zero_is_valid() {
    assert_eq!(outliers(json!({"interval": "0s"})).interval, Duration::ZERO);
}

#[test]
fn a50_the_child_policy_is_the_one_that_picks() {
    let policy = parsed(&config(json!([{"outlier_detection_experimental": {
        "childPolicy": [{"xds_wrr": {}}, {"round_robin": {}}]}}])));
    assert_eq!(policy.channel().load_balancing, LoadBalancing::RoundRobin);
    assert!(policy.channel().outlier_detection.is_some());
    let without = parsed(&config(json!([{"outlier_detection_experimental": {}}])));
    assert_eq!(without.channel().load_balancing, LoadBalancing::PeakEwma);
    let error = refused(&config(json!([{"outlier_detection_experimental": {"childPolicy": [{"xds_wrr": {}}]}}])));
    let path = "loadBalancingConfig[0].outlier_detection_experimental.childPolicy: names no policy that is known";
    assert!(error.starts_with(path), "{error}");
    refused(&config(
        json!([{"outlier_detection_experimental": {"childPolicy": [{"outlier_detection_experimental": {}}]}}]),
    ));
}
