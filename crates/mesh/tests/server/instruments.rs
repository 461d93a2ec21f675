//! What a server and a channel measure, as Prometheus is shown it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use meshwork::metrics::{ClientMetrics, ServerMetrics};
use meshwork::observe::{Cause, Event, Observer as _, Repeats};
use meshwork::outcome::Outcome;
use meshwork::policy::Policy;
use meshwork::{Channel, Server};
use meshwork_telemetry::Telemetry;
use serde_json::Value;
use tonic::{Code, Request};

use crate::echo::codec;
use crate::support::{NAME, Running, SLEEP, STREAM, UNARY, descriptors, stream, unary, until};

/// All instruments that there are.
const LIST: &str = include_str!("../../instruments.json");

/// A server and a channel to it, which goes by `policy`, that measure with one meter.
fn measured(policy: &str) -> (Telemetry, Running, Channel) {
    let telemetry = Telemetry::builder().build().unwrap();
    let meter = telemetry.meter("test");
    let server = Running::start(Server::builder().observer(Arc::new(ServerMetrics::new(&meter))));
    let target = format!("static:///{NAME}");
    let channel = Channel::builder()
        .connector(server.network.clone())
        .policy(Policy::parse(policy).unwrap())
        .observer(ClientMetrics::new(&meter, "test").descriptors(&descriptors()).unwrap())
        .connect_lazy(&target)
        .unwrap();
    (telemetry, server, channel)
}

/// The value of a sample, `series{labels}`; 0 when there is none.
fn sample(telemetry: &Telemetry, sample: &str) -> f64 {
    let text = telemetry.prometheus().unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// Waits until so many calls of the method have ended with the status at the server.
async fn ended(telemetry: &Telemetry, method: &str, status: &str, calls: f64) {
    let count = format!("grpc_server_call_duration_seconds_count{{grpc_method=\"{method}\",grpc_status=\"{status}\"}}");
    until("the calls have ended", || sample(telemetry, &count) >= calls).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_measured_on_both_sides() {
    let (telemetry, _server, channel) = measured("{}");
    for _ in 0..2 {
        unary(&channel, UNARY, "hello").await.unwrap();
    }
    ended(&telemetry, "test.Echo/Unary", "OK", 2.0).await;
    let server = "{grpc_method=\"test.Echo/Unary\",grpc_status=\"OK\"}";
    let client = "{grpc_method=\"test.Echo/Unary\",grpc_status=\"OK\",grpc_target=\"test\"}";
    // The head of the field and the text; the prefix of the message doesn't count.
    let bytes = 2.0 * 7.0;
    for (series, value) in [
        ("grpc_server_call_started_total{grpc_method=\"test.Echo/Unary\"}".to_owned(), 2.0),
        (format!("grpc_server_call_sent_total_compressed_message_size_bytes_sum{server}"), bytes),
        (format!("grpc_server_call_rcvd_total_compressed_message_size_bytes_sum{server}"), bytes),
        ("grpc_client_attempt_started_total{grpc_method=\"test.Echo/Unary\",grpc_target=\"test\"}".to_owned(), 2.0),
        (format!("grpc_client_attempt_duration_seconds_count{client}"), 2.0),
        (format!("grpc_client_attempt_sent_total_compressed_message_size_bytes_sum{client}"), bytes),
        (format!("grpc_client_attempt_rcvd_total_compressed_message_size_bytes_sum{client}"), bytes),
        (format!("grpc_client_call_duration_seconds_count{client}"), 2.0),
    ] {
        assert_eq!(sample(&telemetry, &series), value, "{series} of {}", telemetry.prometheus().unwrap());
    }
    let text = telemetry.prometheus().unwrap();
    assert!(!text.contains("retries") && !text.contains("hedges") && !text.contains("delay"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_measured_by_its_end_and_its_time() {
    let (telemetry, _server, channel) = measured("{}");
    unary(&channel, SLEEP, "3000").await.unwrap();
    ended(&telemetry, "test.Echo/Sleep", "OK", 1.0).await;
    for bucket in ["server_call", "client_attempt", "client_call"] {
        let target = if bucket == "server_call" { "" } else { ",grpc_target=\"test\"" };
        let of = |le: &str| {
            let labels = format!("grpc_method=\"test.Echo/Sleep\",grpc_status=\"OK\"{target},le=\"{le}\"");
            sample(&telemetry, &format!("grpc_{bucket}_duration_seconds_bucket{{{labels}}}"))
        };
        assert_eq!((of("2"), of("5")), (0.0, 1.0), "{bucket}");
    }
    let mut open = stream(&channel, STREAM, Request::new(String::new())).await.unwrap();
    open.message().await.unwrap().unwrap();
    drop(open);
    ended(&telemetry, "test.Echo/Stream", "CANCELLED", 1.0).await;
    let labels = "grpc_method=\"test.Echo/Stream\",grpc_status=\"CANCELLED\",grpc_target=\"test\"";
    assert_eq!(sample(&telemetry, &format!("grpc_client_call_duration_seconds_count{{{labels}}}")), 1.0);
    let received = format!("grpc_client_attempt_rcvd_total_compressed_message_size_bytes_sum{{{labels}}}");
    assert_eq!(sample(&telemetry, &received), 3.0);
}

#[tokio::test(start_paused = true)]
async fn attempts_beyond_the_first_are_measured() {
    let retries = r#"{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":3,"initialBackoff":"1s","maxBackoff":"1s",
        "backoffMultiplier":1,"retryableStatusCodes":["UNIMPLEMENTED"]}}]}"#;
    let (telemetry, _server, channel) = measured(retries);
    unary(&channel, "/test.Echo/Nothing", "x").await.unwrap_err();
    let labels = "{grpc_method=\"other\",grpc_target=\"test\"}";
    assert_eq!(sample(&telemetry, &format!("grpc_client_attempt_started_total{labels}")), 3.0);
    assert_eq!(sample(&telemetry, &format!("grpc_client_call_retries_sum{labels}")), 2.0);
    let delay = sample(&telemetry, &format!("grpc_client_call_retry_delay_seconds_sum{labels}"));
    assert!((1.6..=2.4).contains(&delay), "{delay}");

    let hedges = r#"{"methodConfig":[{"name":[{}],"hedgingPolicy":{"maxAttempts":3,"hedgingDelay":"0.4s"}}]}"#;
    let (telemetry, _server, channel) = measured(hedges);
    unary(&channel, SLEEP, "1000").await.unwrap();
    let labels = "{grpc_method=\"test.Echo/Sleep\",grpc_target=\"test\"}";
    assert_eq!(sample(&telemetry, &format!("grpc_client_attempt_started_total{labels}")), 3.0);
    assert_eq!(sample(&telemetry, &format!("grpc_client_call_hedges_sum{labels}")), 2.0);
    assert_eq!(sample(&telemetry, &format!("grpc_client_call_retries_count{labels}")), 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_callers_make_up_adds_no_series() {
    let (telemetry, _server, channel) = measured("{}");
    let series = || telemetry.prometheus().unwrap().lines().count();
    let call = async |path: String| {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(path).unwrap();
        grpc.unary(Request::new(String::new()), path, codec()).await.unwrap_err()
    };
    assert_eq!(call("/test.Echo/First".to_owned()).await.code(), Code::Unimplemented);
    ended(&telemetry, "other", "UNIMPLEMENTED", 1.0).await;
    let one = series();
    for number in 0..100 {
        call(format!("/test.Echo/Made{number}")).await;
        call(format!("/made{number}.Up/Method")).await;
        call(format!("/grpc.health.v1.Health/Made{number}")).await;
    }
    ended(&telemetry, "other", "UNIMPLEMENTED", 301.0).await;
    assert_eq!(series(), one, "{}", telemetry.prometheus().unwrap());
}

/// The series of a text: of each its kind, what it is of, and the keys of its labels.
fn shown(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut families = BTreeMap::<String, (String, String, BTreeSet<String>)>::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            family = name.to_owned();
            families.entry(family.clone()).or_default().1 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            families.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else {
            let (_, labels) = line.split_once('{').unwrap();
            let (labels, _) = labels.rsplit_once('}').unwrap();
            // No value of these labels has a comma.
            let keys = labels.split(',').map(|label| label.split_once('=').unwrap().0).filter(|key| *key != "le");
            families.get_mut(&family).unwrap().2.extend(keys.map(str::to_owned));
        }
    }
    families
}

#[tokio::test(start_paused = true)]
async fn the_list_has_every_instrument() {
    let (telemetry, _server, channel) = measured("{}");
    unary(&channel, UNARY, "x").await.unwrap();
    ended(&telemetry, "test.Echo/Unary", "OK", 1.0).await;
    let metrics = ClientMetrics::new(&telemetry.meter("test"), "test");
    let second = Duration::from_secs(1);
    let repeats = Repeats { retries: 1, transparent_retries: 1, hedges: 1, delay: second };
    let outcome = Outcome::Status(Code::Ok);
    metrics.event(&Event::AttemptStarted { method: UNARY, cause: Cause::Call });
    metrics.event(&Event::CallEnded { method: UNARY, outcome, took: second, repeats });
    let list: Vec<Value> = serde_json::from_str(LIST).unwrap();
    let text = |instrument: &Value, key: &str| instrument[key].as_str().unwrap().to_owned();
    let listed: BTreeMap<_, _> = list
        .iter()
        .map(|instrument| {
            let attributes = instrument["attributes"].as_array().unwrap().iter();
            let labels =
                attributes.map(|attribute| attribute.as_str().unwrap().replace('.', "_")).collect::<BTreeSet<_>>();
            (text(instrument, "series"), (text(instrument, "kind"), text(instrument, "description"), labels))
        })
        .collect();
    assert_eq!(shown(&telemetry.prometheus().unwrap()), listed);
    for instrument in &list {
        let base = text(instrument, "name").replace('.', "_");
        assert!(text(instrument, "series").starts_with(&base), "{instrument}");
    }
}

#[tokio::test(start_paused = true)]
async fn attributes_of_one_s_own_tell_servers_and_channels_apart() {
    let telemetry = Telemetry::builder().build().unwrap();
    let meter = telemetry.meter("test");
    let start = |service| {
        Running::start(Server::builder().observer(Arc::new(ServerMetrics::new(&meter).attribute("service", service))))
    };
    for server in [start("users"), start("orders")] {
        unary(&server.channel(), UNARY, "x").await.unwrap();
    }
    for service in ["users", "orders"] {
        let started =
            format!("grpc_server_call_started_total{{grpc_method=\"test.Echo/Unary\",service=\"{service}\"}}");
        assert_eq!(sample(&telemetry, &started), 1.0, "{service}");
        let metrics = ClientMetrics::new(&meter, "test").descriptors(&descriptors()).unwrap();
        let metrics = metrics.attribute("service", service);
        metrics.event(&Event::AttemptStarted { method: UNARY, cause: Cause::Call });
        let labels = format!("grpc_method=\"test.Echo/Unary\",grpc_target=\"test\",service=\"{service}\"");
        assert_eq!(sample(&telemetry, &format!("grpc_client_attempt_started_total{{{labels}}}")), 1.0);
    }
}
