//! What EndpointSlices come to.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::client::endpoint::Endpoint;
use crate::client::resolve::kubernetes::name::Port;
use crate::client::resolve::kubernetes::slices::{MOST_ENDPOINTS, MOST_SLICES, Slices};

/// A slice with one port, `grpc`, 8080.
fn slice(name: &str, endpoints: Vec<Value>) -> EndpointSlice {
    with_ports(name, "IPv4", json!([{"name": "grpc", "port": 8080, "protocol": "TCP"}]), endpoints)
}

fn with_ports(name: &str, family: &str, ports: Value, endpoints: Vec<Value>) -> EndpointSlice {
    serde_json::from_value(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "resourceVersion": "1"},
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    }))
    .unwrap()
}

fn ready(address: &str) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}})
}

/// An endpoint with further keys.
fn with(mut endpoint: Value, more: Value) -> Value {
    let object = endpoint.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    endpoint
}

fn pod(address: &str, uid: &str) -> Value {
    with(ready(address), json!({"targetRef": {"kind": "Pod", "namespace": "shop", "name": uid, "uid": uid}}))
}

fn for_zones(address: &str, zone: &str, hints: &[&str]) -> Value {
    let hints: Vec<_> = hints.iter().map(|name| json!({"name": name})).collect();
    with(ready(address), json!({"zone": zone, "hints": {"forZones": hints}}))
}

fn slices(all: impl IntoIterator<Item = EndpointSlice>) -> Slices {
    let mut slices = Slices::default();
    all.into_iter().for_each(|slice| slices.apply(slice));
    slices
}

fn named(port: &str) -> Port {
    Port::Name(port.to_owned())
}

fn found(slices: &Slices) -> Vec<Endpoint> {
    slices.endpoints(Some(&named("grpc")), None, 1).unwrap()
}

fn shown(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(ToString::to_string).collect()
}

#[test]
fn endpoints_of_all_slices_are_taken_each_once() {
    let mut slices = slices([
        slice("one", vec![ready("10.0.0.2"), pod("10.0.0.1", "a")]),
        slice("two", vec![ready("10.0.0.3"), pod("10.0.0.1", "a"), ready("10.0.0.2")]),
    ]);
    assert_eq!(shown(&found(&slices)), ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]);
    slices.remove("two");
    assert_eq!(shown(&found(&slices)), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    slices.apply(slice("one", vec![ready("10.0.0.9")]));
    assert_eq!(shown(&found(&slices)), ["10.0.0.9:8080"]);
    slices.apply(with_ports("one", "IPv4", Value::Null, Vec::new()));
    assert!(found(&slices).is_empty());
}

#[test]
fn an_address_that_a_new_pod_has_already_is_one_endpoint() {
    let slices = slices([slice("one", vec![pod("10.0.0.1", "old")]), slice("two", vec![pod("10.0.0.1", "new")])]);
    assert_eq!(shown(&found(&slices)), ["10.0.0.1:8080"]);
}

#[test]
fn a_pod_with_ipv4_and_ipv6_is_one_endpoint_that_stays_the_same_while_one_slice_is_behind() {
    let ports = || json!([{"name": "grpc", "port": 8080}]);
    let conditions = |ready: bool| json!({"conditions": {"ready": ready, "serving": ready}});
    for (four, six) in [(true, true), (true, false), (false, true)] {
        let slices = slices([
            with_ports("four", "IPv4", ports(), vec![with(pod("10.0.0.1", "a"), conditions(four))]),
            with_ports("six", "IPv6", ports(), vec![with(pod("fd00::1", "a"), conditions(six))]),
        ]);
        assert_eq!(shown(&found(&slices)), ["10.0.0.1:8080|[fd00::1]:8080"], "{four} {six}");
    }
    let slices = slices([with_ports("six", "IPv6", ports(), vec![ready("fd00::1")])]);
    assert_eq!(shown(&found(&slices)), ["[fd00::1]:8080"]);
}

#[test]
fn slices_of_names_and_endpoints_without_an_address_are_left_out() {
    let ports = json!([{"name": "grpc", "port": 8080}]);
    let slices = slices([
        with_ports("names", "FQDN", ports, vec![ready("orders.example.com")]),
        slice("one", vec![ready("10.0.0.1"), ready("nonsense"), json!({"addresses": []})]),
    ]);
    assert_eq!(shown(&found(&slices)), ["10.0.0.1:8080"]);
}

#[test]
fn only_ready_endpoints_are_taken_and_what_is_not_said_is_ready() {
    let conditions = |conditions: Value| with(ready("10.0.0.2"), json!({"conditions": conditions}));
    for (other, expected) in [
        (conditions(json!({})), 2),
        (conditions(json!({"ready": true})), 2),
        (conditions(json!({"ready": false})), 1),
        (conditions(json!({"ready": false, "serving": true, "terminating": true})), 1),
        (json!({"addresses": ["10.0.0.2"]}), 2),
    ] {
        let shown = shown(&found(&slices([slice("one", vec![ready("10.0.0.1"), other.clone()])])));
        assert_eq!(shown.len(), expected, "{other}: {shown:?}");
    }
}

#[test]
fn when_none_is_ready_those_that_terminate_and_still_serve_are_taken() {
    let with_conditions = |address: &str, conditions: Value| with(ready(address), json!({"conditions": conditions}));
    let slices = slices([slice(
        "one",
        vec![
            with_conditions("10.0.0.1", json!({"ready": false, "serving": true, "terminating": true})),
            with_conditions("10.0.0.2", json!({"ready": false, "terminating": true})),
            with_conditions("10.0.0.3", json!({"ready": false, "serving": false, "terminating": true})),
            with_conditions("10.0.0.4", json!({"ready": false, "serving": false, "terminating": false})),
            with_conditions("10.0.0.5", json!({"ready": false})),
        ],
    )]);
    assert_eq!(shown(&found(&slices)), ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn a_port_is_found_by_name_or_number_and_may_have_another_number_in_each_slice() {
    let two = |grpc: u16| {
        json!([
            {"name": "grpc", "port": grpc, "protocol": "TCP"},
            {"name": "ops", "port": 9090},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ])
    };
    let slices = slices([
        with_ports("one", "IPv4", two(8080), vec![ready("10.0.0.1")]),
        with_ports("two", "IPv4", two(8081), vec![ready("10.0.0.2")]),
    ]);
    let at = |port: &Port| slices.endpoints(Some(port), None, 1).map(|endpoints| shown(&endpoints));
    assert_eq!(at(&named("grpc")).unwrap(), ["10.0.0.1:8080", "10.0.0.2:8081"]);
    assert_eq!(at(&named("ops")).unwrap(), ["10.0.0.1:9090", "10.0.0.2:9090"]);
    assert_eq!(at(&Port::Number(8081)).unwrap(), ["10.0.0.2:8081"]);
    let all = "grpc (8080), grpc (8081), ops (9090)";
    assert_eq!(
        at(&Port::Number(53)).unwrap_err(),
        format!("has no TCP port 53 in its EndpointSlices; there is {all}"),
        "UDP is no way for gRPC"
    );
    assert_eq!(at(&named("http")).unwrap_err(), format!("has no TCP port http in its EndpointSlices; there is {all}"));
    assert_eq!(slices.endpoints(None, None, 1).unwrap_err(), format!("has several ports; name one of {all}"));
}

#[test]
fn without_a_port_it_is_the_only_one_named_or_not() {
    for name in [json!("grpc"), json!(""), Value::Null] {
        let ports = |number: u16| json!([{"name": name, "port": number}]);
        let slices = slices([
            with_ports("one", "IPv4", ports(8080), vec![ready("10.0.0.1")]),
            with_ports("two", "IPv4", ports(8081), vec![ready("10.0.0.2")]),
        ]);
        let endpoints = slices.endpoints(None, None, 1).unwrap();
        assert_eq!(shown(&endpoints), ["10.0.0.1:8080", "10.0.0.2:8081"], "{name}");
    }
    let none = slices([with_ports("one", "IPv4", Value::Null, vec![ready("10.0.0.1")])]);
    assert_eq!(none.endpoints(None, None, 1).unwrap_err(), "has no TCP port in its EndpointSlices; there is none",);
}

#[test]
fn a_service_without_pods_has_no_endpoints_and_no_wrong_port() {
    let slices = slices([with_ports("one", "IPv4", Value::Null, Vec::new())]);
    assert!(!slices.is_empty());
    assert!(slices.endpoints(Some(&named("grpc")), None, 1).unwrap().is_empty());
    assert!(slices.endpoints(None, None, 1).unwrap().is_empty());
}

#[test]
fn zones_are_told_and_hints_decide_only_when_all_have_them_and_one_is_for_this_zone() {
    let hinted = slices([slice(
        "one",
        vec![
            for_zones("10.0.0.1", "a", &["a"]),
            for_zones("10.0.0.2", "a", &["b", "c"]),
            for_zones("10.0.0.3", "b", &["b"]),
        ],
    )]);
    let at = |slices: &Slices, zone| shown(&slices.endpoints(Some(&named("grpc")), zone, 1).unwrap());
    assert_eq!(at(&hinted, Some("a")), ["10.0.0.1:8080"]);
    assert_eq!(at(&hinted, Some("b")), ["10.0.0.2:8080", "10.0.0.3:8080"]);
    assert_eq!(at(&hinted, Some("d")).len(), 3, "none is meant for it");
    assert_eq!(at(&hinted, None).len(), 3, "it does not know its zone");
    let zones: Vec<_> = found(&hinted).iter().map(|endpoint| endpoint.get_zone().unwrap().to_owned()).collect();
    assert_eq!(zones, ["a", "a", "b"]);

    let partly = slices([slice("one", vec![for_zones("10.0.0.1", "a", &["a"]), ready("10.0.0.2")])]);
    assert_eq!(at(&partly, Some("a")).len(), 2, "one has no hint");

    let unready = with(ready("10.0.0.2"), json!({"conditions": {"ready": false}}));
    let rest = slices([slice("one", vec![for_zones("10.0.0.1", "b", &["a"]), unready])]);
    assert_eq!(at(&rest, Some("a")), ["10.0.0.1:8080"], "what is not usable needs no hint");
}

#[test]
fn of_too_many_endpoints_each_client_takes_a_part_of_its_own_and_keeps_it() {
    let many = |from: usize| {
        let endpoints = |slice: usize| {
            let address = |index: usize| format!("10.{}.{}.{}", index / 65_536, index / 256 % 256, index % 256);
            (slice * 100..(slice + 1) * 100).map(|index| ready(&address(from + index))).collect()
        };
        slices((0..15).map(|number| slice(&format!("slice-{number}"), endpoints(number))))
    };
    let taken = |slices: &Slices, seed| shown(&slices.endpoints(None, None, seed).unwrap());
    let all = many(0);
    let one = taken(&all, 1);
    assert_eq!(one.len(), MOST_ENDPOINTS);
    assert_eq!(one, taken(&all, 1));
    let other = taken(&all, 2);
    assert_ne!(one, other);
    // A few come and go: what is taken changes by about as many.
    let later = taken(&many(15), 1);
    let kept = later.iter().filter(|address| one.contains(address)).count();
    assert!(kept > MOST_ENDPOINTS - 40, "{kept}");
}

#[test]
fn more_slices_than_any_service_has_are_not_kept() {
    let name = |number: usize| format!("slice-{number}");
    let mut slices = slices((0..MOST_SLICES).map(|number| slice(&name(number), Vec::new())));
    assert!(slices.is_full());
    slices.apply(slice("more", vec![ready("10.0.0.1")]));
    assert!(found(&slices).is_empty());
    slices.apply(slice(&name(0), vec![ready("10.0.0.1")]));
    assert_eq!(found(&slices).len(), 1, "those that are known may change");
}
