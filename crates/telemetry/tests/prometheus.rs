//! What Prometheus scrapes.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroUsize;

use meshwork_telemetry::{KeyValue, Telemetry};

#[test]
fn what_was_not_measured_is_not_shown() {
    let telemetry = Telemetry::builder().build().unwrap();
    let _counter = telemetry.meter("test").u64_counter("calls").build();
    assert_eq!(telemetry.prometheus().unwrap(), "");
}

#[test]
fn instruments_have_names_and_units_of_prometheus_and_no_labels_but_their_attributes() {
    let telemetry = Telemetry::builder().build().unwrap();
    let meter = telemetry.meter("test");
    let calls = meter.u64_counter("rpc.calls").with_unit("{call}").with_description("Calls.").build();
    calls.add(2, &[KeyValue::new("rpc.method", "a\"b")]);
    let times = meter.f64_histogram("rpc.time").with_unit("s").with_description("Times.");
    times.with_boundaries(vec![0.5, 1.0]).build().record(0.7, &[]);
    let expected = "# HELP rpc_calls_total Calls.\n\
                    # TYPE rpc_calls_total counter\n\
                    rpc_calls_total{rpc_method=\"a\\\"b\"} 2\n\
                    # HELP rpc_time_seconds Times.\n\
                    # TYPE rpc_time_seconds histogram\n\
                    rpc_time_seconds_bucket{le=\"0.5\"} 0\n\
                    rpc_time_seconds_bucket{le=\"1\"} 1\n\
                    rpc_time_seconds_bucket{le=\"+Inf\"} 1\n\
                    rpc_time_seconds_sum 0.7\n\
                    rpc_time_seconds_count 1\n";
    assert_eq!(telemetry.prometheus().unwrap(), expected);
    // A scrape takes nothing away.
    assert_eq!(telemetry.clone().prometheus().unwrap(), expected);
}

#[test]
fn an_instrument_has_so_many_series_and_no_measurement_is_lost() {
    let telemetry = Telemetry::builder().series(NonZeroUsize::new(3).unwrap()).build().unwrap();
    let calls = telemetry.meter("test").u64_counter("calls").build();
    for user in 0..1000_i64 {
        calls.add(1, &[KeyValue::new("user", user)]);
    }
    let text = telemetry.prometheus().unwrap();
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(samples.len() <= 4, "{text}");
    assert!(samples.iter().any(|sample| sample.contains("otel_metric_overflow=\"true\"")), "{text}");
    let value = |sample: &&str| sample.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(samples.iter().map(value).sum::<u64>(), 1000, "{text}");
}

#[test]
fn two_that_measure_the_same_have_one_instrument() {
    let telemetry = Telemetry::builder().build().unwrap();
    for _ in 0..2 {
        telemetry.meter("test").u64_counter("calls").build().add(1, &[]);
    }
    assert!(telemetry.prometheus().unwrap().ends_with("\ncalls_total 2\n"));
    assert_eq!(Telemetry::builder().build().unwrap().prometheus().unwrap(), "", "another has its own");
}
