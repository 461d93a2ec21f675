//! Who may talk to whom: the rendered network policies against the list of edges that the shop needs. Every other pair
//! of pods is cut off, on every port, and so is everything outside but for what is named here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::chart::{Mode, NAMESPACE, mode, modes, values};
use crate::objects::{SERVICES, list, of_kind, pods, text};
use crate::policies::{End, Pod, Policies, Port, address};
use crate::programs::assert_none;

/// The port of every service's gRPC.
const GRPC: u16 = 8080;

/// The port of metrics and of health over HTTP.
const OPS: u16 = 9090;

/// Which services a part of the release calls.
pub const CALLS: [(&str, &[&str]); 6] = [
    ("users", &[]),
    ("products", &["users", "orders"]),
    ("orders", &["users", "products"]),
    ("notifications", &["users", "orders"]),
    ("gateway", &["users", "products", "orders", "notifications"]),
    ("test", &["gateway"]),
];

/// Which stores a part of the release uses.
const STORES: [(&str, &[&str]); 6] = [
    ("users", &["postgresql", "nats", "redis"]),
    ("products", &["postgresql", "nats", "redis"]),
    ("orders", &["postgresql", "mongodb", "nats"]),
    ("notifications", &["postgresql", "nats", "smtp"]),
    ("gateway", &["redis"]),
    ("migrate", &["postgresql", "mongodb", "nats"]),
];

/// The port of each store that the chart runs, and the section of the values for one that it doesn't.
const OF_STORES: [(&str, u16, &str); 5] = [
    ("postgresql", 5432, "externalPostgresql"),
    ("mongodb", 27017, "externalMongodb"),
    ("redis", 6379, "externalRedis"),
    ("nats", 4222, "externalNats"),
    ("smtp", 0, "smtp"),
];

/// Ports on which nobody is to be reached, besides those that containers tell of.
const OTHER_PORTS: [u16; 8] = [1, 22, 25, 80, 443, 465, 6443, 10250];

/// The entry of a table for a part of the release.
pub fn of<'a>(table: &'a [(&str, &'a [&'a str])], component: &str) -> &'a [&'a str] {
    table.iter().find(|(name, _)| *name == component).map_or(&[], |(_, entry)| entry)
}

/// All ends and ports of one mode.
struct World<'a> {
    /// The pods of the release, each with its component.
    own: Vec<(&'a str, Pod)>,
    /// Pods that are none of the release.
    foreign: Vec<Pod>,
    /// Addresses outside.
    outside: Vec<IpAddr>,
    ports: BTreeSet<Port>,
    policies: Policies<'a>,
    values: Value,
}

impl<'a> World<'a> {
    fn new(objects: &'a [Value], values: Value) -> Self {
        let rendered = pods(objects);
        let own: Vec<_> = rendered
            .iter()
            .enumerate()
            .map(|(number, pod)| {
                let namespace = pod.owner["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE).to_owned();
                let (name, labels, ports) = (pod.shown(), pod.labels(), pod.ports());
                (pod.component(), Pod { name, namespace, labels, ports, address: address(number) })
            })
            .collect();
        let foreign = |number: usize, namespace: &str, (key, value): (&str, &str)| Pod {
            name: format!("a foreign pod in {namespace}"),
            namespace: namespace.to_owned(),
            labels: [(key.to_owned(), value.to_owned())].into(),
            ports: vec![("grpc".to_owned(), GRPC, "TCP".to_owned()), ("dns".to_owned(), 53, "UDP".to_owned())],
            address: address(100 + number),
        };
        let foreign = vec![
            foreign(1, NAMESPACE, ("app", "another")),
            foreign(2, "elsewhere", ("app", "another")),
            // One that claims to be a part of such a release, in a namespace of its own.
            foreign(3, "elsewhere", ("app.kubernetes.io/name", "meshwork")),
            foreign(4, "kube-system", ("k8s-app", "kube-dns")),
        ];
        let mut outside: Vec<IpAddr> = vec!["203.0.113.9".parse().unwrap(), "10.96.0.1".parse().unwrap()];
        ranges(&values, &mut outside);
        let tcp = |number| Port { number, protocol: "TCP" };
        let told = own.iter().flat_map(|(_, pod)| pod.ports.iter().map(|(_, number, _)| tcp(*number)));
        let external = OF_STORES.iter().flat_map(|(_, _, section)| numbers(&values[*section]["ports"]).map(tcp));
        let ports = told.chain(external).chain(OTHER_PORTS.map(tcp));
        let ports =
            ports.chain([tcp(53), Port { number: 53, protocol: "UDP" }, Port { number: GRPC, protocol: "UDP" }]);
        let ports = ports.collect();
        let policies = Policies {
            policies: of_kind(objects, "NetworkPolicy").collect(),
            default_namespace: NAMESPACE,
            namespaces: BTreeMap::new(),
        };
        Self { own, foreign, outside, ports, policies, values }
    }

    /// All ends that are none of the release.
    fn others(&self) -> impl Iterator<Item = (String, End<'_>)> {
        let foreign = self.foreign.iter().map(|pod| (pod.name.clone(), End::Pod(pod)));
        foreign.chain(self.outside.iter().map(|address| (format!("the address {address}"), End::Outside(*address))))
    }

    /// Whether an end is among the peers of a value.
    fn is_among(&self, section: &str, key: &str, end: End<'_>) -> bool {
        self.policies.is_peer(&self.values[section][key], NAMESPACE, end).unwrap()
    }

    /// Whether the chart runs a store.
    fn runs(&self, store: &str) -> bool {
        self.values[store]["enabled"] == true
    }

    /// Whether one part of the release has to reach another.
    fn is_edge(&self, from: &str, to: &str, port: Port) -> bool {
        let is_store = OF_STORES.iter().any(|(store, number, _)| {
            *store == to && *number == port.number && self.runs(store) && of(&STORES, from).contains(store)
        });
        port.protocol == "TCP" && ((port.number == GRPC && of(&CALLS, from).contains(&to)) || is_store)
    }

    /// Whether what is none of the release may reach a part of it.
    fn is_let_in(&self, end: End<'_>, to: &str, port: Port) -> bool {
        let may_call = to == "gateway" && port.number == GRPC && self.is_among("networkPolicy", "gatewayFrom", end);
        let is_asked = list(&self.values["networkPolicy"]["metricsFrom"]).count() > 0;
        let may_measure = SERVICES.contains(&to)
            && port.number == OPS
            && is_asked
            && self.is_among("networkPolicy", "metricsFrom", end);
        port.protocol == "TCP" && (may_call || may_measure)
    }

    /// Whether a part of the release may reach what is none of it.
    fn is_let_out(&self, from: &str, end: End<'_>, port: Port) -> bool {
        // Stores call nobody, so they need no names.
        let is_caller = SERVICES.contains(&from) || ["migrate", "test"].contains(&from);
        let asks_names = is_caller && port.number == 53 && self.is_among("networkPolicy", "dnsTo", end);
        let watches = SERVICES.contains(&from)
            && !of(&CALLS, from).is_empty()
            && self.values["discovery"] == "kubernetes"
            && numbers(&self.values["networkPolicy"]["apiServerPorts"]).any(|number| number == port.number)
            && self.is_among("networkPolicy", "apiServerTo", end);
        let stores = OF_STORES.iter().any(|(store, _, section)| {
            let external = &self.values[*section];
            let is_set = !text(&external["existingSecret"]).is_empty() || !text(&external["url"]).is_empty();
            of(&STORES, from).contains(store)
                && (!self.runs(store) && is_set)
                && numbers(&external["ports"]).any(|number| number == port.number)
                && self.is_among(section, "peers", end)
        });
        asks_names || (port.protocol == "TCP" && (watches || stores))
    }

    fn judge(&self, found: &mut Vec<String>, shown: [&str; 2], ends: [End<'_>; 2], port: Port, is_wanted: bool) {
        match self.policies.allow(ends[0], ends[1], port) {
            Ok(is_allowed) if is_allowed == is_wanted => {}
            Ok(is_allowed) => found.push(format!(
                "{} → {} on {} {}: is {}, and should be {}",
                shown[0],
                shown[1],
                port.protocol,
                port.number,
                if is_allowed { "allowed" } else { "refused" },
                if is_wanted { "allowed" } else { "refused" },
            )),
            Err(error) => found.push(error),
        }
    }

    /// The connections for which the policies decide otherwise than the list.
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for &port in &self.ports {
            for (from, caller) in &self.own {
                for (to, callee) in &self.own {
                    let ends = [End::Pod(caller), End::Pod(callee)];
                    self.judge(&mut found, [from, to], ends, port, self.is_edge(from, to, port));
                }
            }
            for (name, own) in &self.own {
                for (shown, other) in self.others() {
                    let ends = [other, End::Pod(own)];
                    self.judge(&mut found, [&shown, name], ends, port, self.is_let_in(other, name, port));
                    let ends = [End::Pod(own), other];
                    self.judge(&mut found, [name, &shown], ends, port, self.is_let_out(name, other, port));
                }
            }
        }
        found
    }
}

/// The numbers of a list.
fn numbers(value: &Value) -> impl Iterator<Item = u16> {
    list(value).filter_map(Value::as_u64).filter_map(|number| u16::try_from(number).ok())
}

/// An address of each range that the values name.
fn ranges(values: &Value, found: &mut Vec<IpAddr>) {
    match values {
        Value::Object(fields) => {
            if let Some((base, _)) = fields.get("cidr").and_then(Value::as_str).and_then(|range| range.split_once('/'))
            {
                found.push(base.parse().unwrap());
            }
            fields.values().for_each(|value| ranges(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| ranges(item, found)),
        _ => {}
    }
}

/// The connections of the pods among `objects` for which the policies among them decide otherwise than the list.
pub fn violations(objects: &[Value], values: Value) -> Vec<String> {
    World::new(objects, values).violations()
}

fn world<'a>(mode: &Mode, objects: &'a [Value]) -> World<'a> {
    World::new(objects, values(mode))
}

#[test]
fn policies_let_through_what_the_shop_needs_and_nothing_else() {
    let mut violations = Vec::new();
    let mut judged = 0;
    for mode in modes() {
        let world = world(mode, &mode.objects);
        if world.values["networkPolicy"]["enabled"] == false {
            assert!(world.policies.policies.is_empty(), "{}: has policies, which are switched off", mode.name);
            continue;
        }
        judged += 1;
        violations.extend(world.violations().into_iter().map(|violation| format!("{}: {violation}", mode.name)));
    }
    assert!(judged >= 4, "only {judged} modes have policies");
    assert_none(&violations);
}

#[test]
fn every_pod_is_of_a_part_that_the_list_knows() {
    let known = |component: &str| {
        SERVICES.contains(&component)
            || OF_STORES.map(|(store, ..)| store).contains(&component)
            || ["migrate", "test"].contains(&component)
    };
    for mode in modes() {
        for pod in pods(&mode.objects) {
            assert!(known(pod.component()), "{}: {} is of `{}`", mode.name, pod.shown(), pod.component());
        }
    }
}

#[test]
fn planted_holes_and_planted_walls_are_found() {
    let trial = mode("trial");
    let plant = |policy: Value| {
        let mut objects = trial.objects.clone();
        objects.push(policy);
        world(trial, &objects).violations()
    };
    let hole = |direction: &str, rules: &str| {
        plant(json!({ "kind": "NetworkPolicy", "metadata": { "name": "hole" },
            "spec": { "podSelector": {}, "policyTypes": [direction], rules: [{}] } }))
    };
    assert!(hole("Ingress", "ingress").iter().any(|found| found.contains("is allowed, and should be refused")));
    assert!(hole("Egress", "egress").iter().any(|found| found.contains("is allowed, and should be refused")));
    // One edge alone is lost: the policies that let orders call users.
    let mut objects = trial.objects.clone();
    objects.retain(|object| {
        object["kind"] != "NetworkPolicy" || object["metadata"]["labels"]["app.kubernetes.io/component"] != "orders"
    });
    let found = world(trial, &objects).violations();
    assert!(found.iter().any(|found| found.contains("orders")), "{found:?}");
}
