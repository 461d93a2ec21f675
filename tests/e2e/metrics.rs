//! What the ops port shows of the calls of each service.

use std::collections::BTreeSet;

use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{GetProductRequest, ListProductsRequest};
use meshwork_testkit::Up;
use meshwork_testkit::up::UNLIMITED;
use serde_json::Value;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::command_line::http_get;
use crate::shop::eventually;

const LIST: &str = include_str!("../../crates/mesh/instruments.json");
const README: &str = include_str!("../../README.md");

fn list() -> Vec<Value> {
    serde_json::from_str(LIST).unwrap()
}

fn text<'a>(instrument: &'a Value, key: &str) -> &'a str {
    instrument[key].as_str().unwrap()
}

fn labels(instrument: &Value) -> Vec<String> {
    let attributes = instrument["attributes"].as_array().unwrap().iter();
    attributes.map(|attribute| attribute.as_str().unwrap().replace('.', "_")).collect()
}

/// The value of a sample, `series{labels}`; 0 when there is none.
fn sample(metrics: &str, sample: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn the_readme_has_the_list_of_instruments() {
    let mut table = "| series | labels | what |\n|---|---|---|\n".to_owned();
    for instrument in list() {
        let labels: Vec<_> = labels(&instrument).iter().map(|label| format!("`{label}`")).collect();
        let (series, what) = (text(&instrument, "series"), text(&instrument, "description"));
        table.push_str(&format!("| `{series}` | {} | {what} |\n", labels.join(", ")));
    }
    assert!(README.contains(&table), "the README's section Metrics is to have this table:\n{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ops_port_shows_the_calls_of_each_service_and_no_names_that_callers_make_up() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let metrics = || http_get(up.address("ops"), "metrics");
    let mut products = ProductServiceClient::new(up.channel());
    for _ in 0..3 {
        products.list_products(ListProductsRequest::default()).await.unwrap();
    }
    let name = "products/no-such".to_owned();
    let missing = products.get_product(GetProductRequest { name }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
    for number in 0..50 {
        for path in [format!("/meshwork.products.v1.ProductService/MadeUp{number}"), format!("/made.up{number}.A/B")] {
            let mut grpc = tonic::client::Grpc::new(up.channel());
            grpc.ready().await.unwrap();
            let codec = ProstCodec::<ListProductsRequest, ListProductsRequest>::default();
            let path = PathAndQuery::try_from(path).unwrap();
            grpc.unary(Request::new(ListProductsRequest::default()), path, codec).await.unwrap_err();
        }
    }

    let listed = "grpc_method=\"meshwork.products.v1.ProductService/ListProducts\"";
    let got = "grpc_method=\"meshwork.products.v1.ProductService/GetProduct\",grpc_status=\"NOT_FOUND\"";
    let target = format!("grpc_target=\"http://{}\"", up.address("products"));
    let expected = [
        (format!("grpc_server_call_started_total{{{listed},service=\"gateway\"}}"), 3.0),
        (format!("grpc_server_call_started_total{{{listed},service=\"products\"}}"), 3.0),
        (format!("grpc_client_attempt_started_total{{{listed},{target},service=\"gateway\"}}"), 3.0),
        (format!("grpc_server_call_duration_seconds_count{{{listed},grpc_status=\"OK\",service=\"products\"}}"), 3.0),
        (
            format!(
                "grpc_client_call_duration_seconds_count{{{listed},grpc_status=\"OK\",{target},service=\"gateway\"}}"
            ),
            3.0,
        ),
        (format!("grpc_server_call_duration_seconds_count{{{got},service=\"gateway\"}}"), 1.0),
        (format!("grpc_server_call_duration_seconds_count{{{got},service=\"products\"}}"), 1.0),
        ("grpc_server_call_started_total{grpc_method=\"other\",service=\"gateway\"}".to_owned(), 100.0),
    ];
    // The end of a call is measured when its last byte is written, which its caller may have read before.
    eventually("all calls are measured", async || {
        let metrics = metrics();
        expected.iter().all(|(series, value)| sample(&metrics, series) >= *value)
    })
    .await;
    let metrics = metrics();
    for (series, value) in &expected {
        assert_eq!(sample(&metrics, series), *value, "{series} in {metrics}");
    }
    assert!(!metrics.contains("MadeUp") && !metrics.contains("made.up"), "{metrics}");
    only_what_is_listed(&metrics);
}

/// Nothing of the calls is shown but what the list has, with its labels and the service.
#[track_caller]
fn only_what_is_listed(metrics: &str) {
    let list = list();
    let mut seen = BTreeSet::new();
    for line in metrics.lines().filter(|line| line.starts_with("grpc_")) {
        let (name, rest) = line.split_once('{').unwrap();
        let instrument = list.iter().find(|instrument| {
            let series = text(instrument, "series");
            ["", "_bucket", "_sum", "_count"].iter().any(|suffix| name.strip_suffix(suffix) == Some(series))
        });
        let instrument = instrument.unwrap_or_else(|| panic!("{name} is not in the list"));
        let allowed = labels(instrument);
        // No value has a quote, and each key stands behind one or at the begin.
        for part in rest.rsplit_once('}').unwrap().0.split("\",") {
            let key = part.split_once("=\"").unwrap().0;
            let is_allowed = key == "service" || key == "le" || allowed.iter().any(|label| label == key);
            assert!(is_allowed, "{key}: {line}");
        }
        seen.insert(text(instrument, "series"));
    }
    let begun = ["grpc_server_call_started_total", "grpc_client_attempt_started_total"];
    assert!(begun.iter().all(|series| seen.contains(series)), "{seen:?}");
}
