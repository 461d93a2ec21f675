//! What NetworkPolicies let through, by the rules of Kubernetes' API: no cluster of a test machine enforces them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

type Labels = BTreeMap<String, String>;

/// A pod as policies see it.
#[derive(Debug, Clone)]
pub struct Pod {
    /// What it is called in messages.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// Its named ports, as (name, number, protocol).
    pub ports: Vec<(String, u16, String)>,
    /// Its address. Ranges of addresses are read to hold for pods too, as some networks do.
    pub address: IpAddr,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// A pod of the cluster.
    Pod(&'a Pod),
    /// An address outside.
    Outside(IpAddr),
}

impl End<'_> {
    fn address(&self) -> IpAddr {
        match self {
            Self::Pod(pod) => pod.address,
            Self::Outside(address) => *address,
        }
    }
}

/// A port of the end that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: &'static str,
}

/// The policies of a cluster, and the labels of its namespaces.
#[derive(Debug)]
pub struct Policies<'a> {
    /// The NetworkPolicies; one that tells no namespace is of `default_namespace`.
    pub policies: Vec<&'a Value>,
    /// The namespace that was rendered for.
    pub default_namespace: &'a str,
    /// Labels of namespaces besides their name.
    pub namespaces: BTreeMap<String, Labels>,
}

impl Policies<'_> {
    /// Whether `from` may connect to a port of `to`: both have to allow it.
    ///
    /// # Errors
    /// When a policy says something that isn't understood here.
    pub fn allow(&self, from: End<'_>, to: End<'_>, port: Port) -> Result<bool, String> {
        Ok(self.allow_one_way("Egress", from, to, to, port)? && self.allow_one_way("Ingress", to, from, to, port)?)
    }

    /// Whether the policies of `own` let it talk to `peer`, `called` being the one of them that is called.
    fn allow_one_way(
        &self,
        direction: &str,
        own: End<'_>,
        peer: End<'_>,
        called: End<'_>,
        port: Port,
    ) -> Result<bool, String> {
        let End::Pod(own) = own else { return Ok(true) };
        let (mut is_isolated, mut is_allowed) = (false, false);
        for policy in &self.policies {
            let namespace = policy["metadata"]["namespace"].as_str().unwrap_or(self.default_namespace);
            let spec = &policy["spec"];
            if namespace != own.namespace
                || !directions(spec).contains(&direction)
                || !selects(&spec["podSelector"], &own.labels)?
            {
                continue;
            }
            is_isolated = true;
            let (rules, peers) = if direction == "Ingress" { ("ingress", "from") } else { ("egress", "to") };
            for rule in items(&spec[rules]) {
                is_allowed |=
                    is_on_port(&rule["ports"], called, port)? && self.is_peer(&rule[peers], namespace, peer)?;
            }
        }
        Ok(!is_isolated || is_allowed)
    }

    /// Whether a rule of a policy in `namespace` is about the peer; one that names no peers is about all.
    ///
    /// # Errors
    /// When one of the peers isn't understood here.
    pub fn is_peer(&self, peers: &Value, namespace: &str, peer: End<'_>) -> Result<bool, String> {
        let peers = items(peers);
        let mut is = peers.is_empty();
        for described in peers {
            is |= if described["ipBlock"].is_object() {
                is_in_block(&described["ipBlock"], peer.address())?
            } else {
                self.is_selected(described, namespace, peer)?
            };
        }
        Ok(is)
    }

    fn is_selected(&self, described: &Value, namespace: &str, peer: End<'_>) -> Result<bool, String> {
        let (pods, namespaces) = (&described["podSelector"], &described["namespaceSelector"]);
        if pods.is_null() && namespaces.is_null() {
            return Err(format!("a peer of a policy has neither selector nor ipBlock: {described}"));
        }
        let End::Pod(peer) = peer else { return Ok(false) };
        let is_in_namespace = if namespaces.is_null() {
            peer.namespace == namespace
        } else {
            let mut labels = self.namespaces.get(&peer.namespace).cloned().unwrap_or_default();
            labels.insert("kubernetes.io/metadata.name".to_owned(), peer.namespace.clone());
            selects(namespaces, &labels)?
        };
        Ok(is_in_namespace && (pods.is_null() || selects(pods, &peer.labels)?))
    }
}

/// The directions that a policy is about: its own word, else inwards, and outwards when it has rules for that.
fn directions(spec: &Value) -> Vec<&str> {
    let told: Vec<_> = items(&spec["policyTypes"]).iter().filter_map(Value::as_str).collect();
    match (told.is_empty(), spec["egress"].is_null()) {
        (false, _) => told,
        (true, true) => vec!["Ingress"],
        (true, false) => vec!["Ingress", "Egress"],
    }
}

/// Whether a label selector takes these labels; an empty one takes all.
pub fn selects(selector: &Value, labels: &Labels) -> Result<bool, String> {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let mut does = exact.fold(true, |does, (key, value)| does && labels.get(key).map(String::as_str) == value.as_str());
    for expression in items(&selector["matchExpressions"]) {
        let key = expression["key"].as_str().unwrap_or_default();
        let value = labels.get(key).map(String::as_str);
        let is_among = items(&expression["values"]).iter().any(|among| value.is_some() && among.as_str() == value);
        does &= match expression["operator"].as_str().unwrap_or_default() {
            "In" => is_among,
            "NotIn" => !is_among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            other => return Err(format!("a selector has the operator {other:?}, which there isn't")),
        };
    }
    Ok(does)
}

/// Whether a rule with these ports is about `port` of the end that is called; one that names no ports is about all.
fn is_on_port(ports: &Value, called: End<'_>, port: Port) -> Result<bool, String> {
    let ports = items(ports);
    let mut is = ports.is_empty();
    for described in ports {
        let is_number = match &described["port"] {
            Value::Null => true,
            Value::Number(first) => {
                let first = first.as_u64().ok_or_else(|| format!("no port: {first}"))?;
                let last = described["endPort"].as_u64().unwrap_or(first);
                (first..=last).contains(&u64::from(port.number))
            }
            // The name of a port is looked up in the pod that is called.
            Value::String(name) => match called {
                End::Pod(pod) => pod.ports.iter().any(|(found, number, protocol)| {
                    found == name && *number == port.number && protocol == port.protocol
                }),
                End::Outside(_) => false,
            },
            other => return Err(format!("a policy has the port {other}, which is neither number nor name")),
        };
        is |= is_number && described["protocol"].as_str().unwrap_or("TCP") == port.protocol;
    }
    Ok(is)
}

/// Whether a block of addresses has the address.
fn is_in_block(block: &Value, address: IpAddr) -> Result<bool, String> {
    let mut is = is_in_range(&block["cidr"], address)?;
    for except in items(&block["except"]) {
        is &= !is_in_range(except, address)?;
    }
    Ok(is)
}

fn is_in_range(range: &Value, address: IpAddr) -> Result<bool, String> {
    let parsed = range
        .as_str()
        .and_then(|range| range.split_once('/'))
        .and_then(|(base, length)| Some((base.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?)));
    let (base, length) = parsed.ok_or_else(|| format!("{range} is no range of addresses"))?;
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((base, of_base), (address, of_address)) = (bits(base), bits(address));
    if length > of_base {
        return Err(format!("{range} is no range of addresses"));
    }
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Ok(of_base == of_address && base & mask == address & mask)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The address of a pod, the one with this number.
pub fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(10, 244, 0, u8::try_from(number + 1).unwrap_or(u8::MAX)).into()
}
