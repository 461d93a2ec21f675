//! The evaluator of policies on small ones, each rule by itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::policies::{End, Pod, Policies, Port, address};

const TCP_80: Port = Port { number: 80, protocol: "TCP" };

fn pod(number: usize, namespace: &str, app: &str) -> Pod {
    Pod {
        name: format!("{namespace}/{app}"),
        namespace: namespace.to_owned(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        ports: vec![("http".to_owned(), 80, "TCP".to_owned())],
        address: address(number),
    }
}

/// Whether pod `a` may call port 80 of pod `b` of the same namespace, of pod `c` of another, and of an address outside.
fn reach(specs: &[Value], port: Port) -> [bool; 3] {
    let policies: Vec<_> = specs.iter().map(|spec| json!({ "metadata": {}, "spec": spec })).collect();
    let team = [("team".to_owned(), "x".to_owned())].into();
    let policies = Policies {
        policies: policies.iter().collect(),
        default_namespace: "one",
        namespaces: BTreeMap::from([("two".to_owned(), team)]),
    };
    let (a, b, c) = (pod(1, "one", "a"), pod(2, "one", "b"), pod(3, "two", "c"));
    let ends = [End::Pod(&b), End::Pod(&c), End::Outside("203.0.113.7".parse().unwrap())];
    ends.map(|end| policies.allow(End::Pod(&a), end, port).unwrap())
}

/// Whether pod `b`, pod `c` of another namespace, and an address outside may call port 80 of pod `a`.
fn reached(spec: Value) -> [bool; 3] {
    let policy = json!({ "metadata": { "namespace": "one" }, "spec": spec });
    let policies = Policies { policies: vec![&policy], default_namespace: "zero", namespaces: BTreeMap::new() };
    let (a, b, c) = (pod(1, "one", "a"), pod(2, "one", "b"), pod(3, "two", "c"));
    let ends = [End::Pod(&b), End::Pod(&c), End::Outside("203.0.113.7".parse().unwrap())];
    ends.map(|end| policies.allow(end, End::Pod(&a), TCP_80).unwrap())
}

#[test]
fn what_no_policy_selects_is_open_and_what_one_selects_is_closed() {
    assert_eq!(reach(&[], TCP_80), [true; 3]);
    assert_eq!(reach(&[json!({ "podSelector": {}, "policyTypes": ["Egress"] })], TCP_80), [false; 3]);
    assert_eq!(reached(json!({ "podSelector": {} })), [false; 3]);
    assert_eq!(reached(json!({ "podSelector": { "matchLabels": { "app": "b" } } })), [true; 3]);
}

#[test]
fn without_policy_types_a_policy_is_about_ingress_and_about_egress_only_with_rules_for_it() {
    assert_eq!(reach(&[json!({ "podSelector": { "matchLabels": { "app": "a" } } })], TCP_80), [true; 3]);
    assert_eq!(reach(&[json!({ "podSelector": { "matchLabels": { "app": "a" } }, "egress": [] })], TCP_80), [false; 3]);
}

#[test]
fn both_ends_have_to_allow_a_connection() {
    let out = json!({ "podSelector": { "matchLabels": { "app": "a" } }, "policyTypes": ["Egress"],
        "egress": [{ "to": [{ "podSelector": { "matchLabels": { "app": "b" } } }] }] });
    let closed = json!({ "podSelector": { "matchLabels": { "app": "b" } }, "policyTypes": ["Ingress"] });
    let open = json!({ "podSelector": { "matchLabels": { "app": "b" } }, "policyTypes": ["Ingress"],
        "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": "a" } } }] }] });
    assert_eq!(reach(std::slice::from_ref(&out), TCP_80), [true, false, false]);
    assert_eq!(reach(&[out.clone(), closed.clone()], TCP_80), [false; 3]);
    // Policies add up.
    assert_eq!(reach(&[out, closed, open], TCP_80), [true, false, false]);
}

#[test]
fn peers_are_pods_of_the_namespace_pods_of_namespaces_or_addresses() {
    let from = |peer: Value| reached(json!({ "podSelector": {}, "ingress": [{ "from": [peer] }] }));
    assert_eq!(from(json!({ "podSelector": {} })), [true, false, false]);
    assert_eq!(from(json!({ "namespaceSelector": {} })), [true, true, false]);
    let two = json!({ "matchLabels": { "kubernetes.io/metadata.name": "two" } });
    assert_eq!(from(json!({ "namespaceSelector": two })), [false, true, false]);
    let d = json!({ "matchLabels": { "app": "d" } });
    assert_eq!(from(json!({ "namespaceSelector": two, "podSelector": d })), [false; 3]);
    assert_eq!(from(json!({ "ipBlock": { "cidr": "203.0.113.0/24" } })), [false, false, true]);
    assert_eq!(from(json!({ "ipBlock": { "cidr": "0.0.0.0/0" } })), [true; 3]);
    assert_eq!(from(json!({ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] } })), [false, false, true]);
    assert_eq!(from(json!({ "ipBlock": { "cidr": "::/0" } })), [false; 3]);
    assert_eq!(reached(json!({ "podSelector": {}, "ingress": [{}] })), [true; 3]);
}

#[test]
fn labels_of_namespaces_are_selected_by() {
    let rule = json!({ "namespaceSelector": { "matchLabels": { "team": "x" } } });
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": [rule] }] });
    assert_eq!(reach(&[spec], TCP_80), [false, true, false]);
}

#[test]
fn ports_are_numbers_ranges_names_and_have_a_protocol() {
    let to = |ports: Value, port| {
        reach(&[json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "ports": ports }] })], port)
    };
    let udp_80 = Port { number: 80, protocol: "UDP" };
    let tcp_81 = Port { number: 81, protocol: "TCP" };
    assert_eq!(to(json!([{ "port": 80 }]), TCP_80), [true; 3]);
    assert_eq!(to(json!([{ "port": 80 }]), udp_80), [false; 3]);
    assert_eq!(to(json!([{ "port": 80 }]), tcp_81), [false; 3]);
    assert_eq!(to(json!([{ "port": 80, "endPort": 90 }]), tcp_81), [true; 3]);
    assert_eq!(to(json!([{ "protocol": "UDP" }]), udp_80), [true; 3]);
    // A name is looked up in the pod that is called, so it says nothing of addresses outside.
    assert_eq!(to(json!([{ "port": "http" }]), TCP_80), [true, true, false]);
    assert_eq!(to(json!([{ "port": "grpc" }]), TCP_80), [false; 3]);
}

#[test]
fn expressions_select_by_values_and_by_presence() {
    let of = |key: &str, operator: &str, values: &[&str]| {
        let expression = json!({ "key": key, "operator": operator, "values": values });
        reached(
            json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": { "matchExpressions": [expression] } }] }] }),
        )[0]
    };
    assert!(of("app", "In", &["b", "c"]));
    assert!(!of("app", "In", &["c"]));
    assert!(!of("team", "In", &["c"]));
    assert!(of("app", "NotIn", &["c"]));
    assert!(!of("app", "NotIn", &["b"]));
    assert!(of("app", "Exists", &[]));
    assert!(!of("app", "DoesNotExist", &[]));
    assert!(of("team", "DoesNotExist", &[]));
}

#[test]
fn what_is_not_understood_is_an_error() {
    let (a, b) = (pod(1, "one", "a"), pod(2, "one", "b"));
    for spec in [
        json!({ "podSelector": {}, "ingress": [{ "from": [{}] }] }),
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0" } }] }] }),
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/33" } }] }] }),
        json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "Like" }] } }),
    ] {
        let policy = json!({ "metadata": {}, "spec": spec });
        let policies = Policies { policies: vec![&policy], default_namespace: "one", namespaces: BTreeMap::new() };
        assert!(policies.allow(End::Pod(&b), End::Pod(&a), TCP_80).is_err(), "{spec}");
    }
}
