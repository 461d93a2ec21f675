//! EndpointSlices, and the endpoints that they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint as Member, EndpointPort, EndpointSlice};

use super::name::Port;
use crate::client::endpoint::{Address, Endpoint};

/// How many endpoints are taken at most. A channel keeps a connection and a task for each, and so does each server for
/// each of its clients: beyond this a client takes a part of its own of them.
pub(super) const MOST_ENDPOINTS: usize = 1000;

/// How many slices are kept at most. The controller puts 100 endpoints into one, and leaves some half empty.
pub(super) const MOST_SLICES: usize = 256;

/// The slices of one service, each with what matters of it.
#[derive(Debug, Default)]
pub(super) struct Slices(BTreeMap<String, Slice>);

#[derive(Debug)]
struct Slice {
    /// The TCP ports: name and number.
    ports: Vec<(String, u16)>,
    places: Vec<Place>,
}

/// A pod, or whatever else takes calls, as one slice has it.
#[derive(Debug)]
struct Place {
    ip: IpAddr,
    /// What is the same wherever the same pod is listed; `None` for what isn't a pod.
    pod: Option<Arc<str>>,
    zone: Option<Arc<str>>,
    ready: bool,
    /// It terminates, and takes calls until then.
    draining: bool,
    hints: Vec<Arc<str>>,
}

/// A pod, as all slices together have it.
#[derive(Default)]
struct Server {
    addresses: BTreeSet<SocketAddr>,
    zone: Option<Arc<str>>,
    ready: bool,
    draining: bool,
    hints: BTreeSet<Arc<str>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Pod(Arc<str>),
    Address(SocketAddr),
}

impl Slices {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no other slice would be kept.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST_SLICES
    }

    /// Takes a slice that is new or has changed.
    pub(super) fn apply(&mut self, slice: EndpointSlice) {
        let name = slice.metadata.name.unwrap_or_default();
        if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
            let kind = &slice.address_type;
            tracing::warn!(
                target: "meshwork::resolve", slice = name, kind,
                "an EndpointSlice without IP addresses is left out"
            );
            self.0.remove(&name);
            return;
        }
        if self.is_full() && !self.0.contains_key(&name) {
            tracing::warn!(
                target: "meshwork::resolve", slice = name, most = MOST_SLICES,
                "more EndpointSlices are left out"
            );
            return;
        }
        let ports = slice.ports.into_iter().flatten().filter_map(port).collect();
        let places = slice.endpoints.into_iter().flatten().filter_map(place).collect();
        self.0.insert(name, Slice { ports, places });
    }

    /// Forgets a slice.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The endpoints that take calls, in the order of their addresses.
    ///
    /// Ready ones; when there are none, those that terminate but still serve, as kube-proxy has it. Of these the ones
    /// that are meant for `zone`, if each has a hint and any is meant for it (KEP-2433).
    ///
    /// # Errors
    /// When no slice has the port.
    pub(super) fn endpoints(
        &self,
        port: Option<&Port>,
        zone: Option<&str>,
        seed: u64,
    ) -> Result<Vec<Endpoint>, String> {
        let servers = self.servers(port)?;
        let mut usable: Vec<&Server> = servers.iter().filter(|server| server.ready).collect();
        if usable.is_empty() {
            usable = servers.iter().filter(|server| server.draining).collect();
        }
        if let Some(zone) = zone {
            let is_for_zone = |server: &Server| server.hints.iter().any(|hint| **hint == *zone);
            let are_hinted = usable.iter().all(|server| !server.hints.is_empty());
            if are_hinted && usable.iter().any(|server| is_for_zone(server)) {
                usable.retain(|server| is_for_zone(server));
            }
        }
        let mut endpoints: Vec<Endpoint> = usable.into_iter().filter_map(endpoint).collect();
        endpoints.sort_by(|one, other| one.addresses().cmp(other.addresses()));
        // The address of a pod that ends may be that of a new one already.
        endpoints.dedup_by(|one, other| one.addresses() == other.addresses());
        if endpoints.len() > MOST_ENDPOINTS {
            part(&mut endpoints, seed);
        }
        Ok(endpoints)
    }

    /// The pods, each once. While a pod moves from slice to slice it is in two, and with IPv4 and IPv6 it always is;
    /// one of them hears of a change first, so a pod has all addresses that any has, and is ready as soon as one says
    /// so: its set of addresses, which is its identity for a channel, stays the same then.
    fn servers(&self, port: Option<&Port>) -> Result<Vec<Server>, String> {
        let mut servers: BTreeMap<Key, Server> = BTreeMap::new();
        for (slice, number) in self.with_port(port)? {
            for place in &slice.places {
                let address = SocketAddr::new(place.ip, number);
                let key = place.pod.clone().map_or(Key::Address(address), Key::Pod);
                let server = servers.entry(key).or_default();
                server.addresses.insert(address);
                server.ready |= place.ready;
                server.draining |= place.draining;
                server.hints.extend(place.hints.iter().cloned());
                if server.zone.is_none() {
                    server.zone.clone_from(&place.zone);
                }
            }
        }
        Ok(servers.into_values().collect())
    }

    /// The slices that have endpoints, with the number of the port there: behind one name may be another number from
    /// slice to slice, such as while a deployment changes it.
    fn with_port(&self, port: Option<&Port>) -> Result<Vec<(&Slice, u16)>, String> {
        let filled: Vec<&Slice> = self.0.values().filter(|slice| !slice.places.is_empty()).collect();
        let ports = || filled.iter().flat_map(|slice| &slice.ports);
        if port.is_none() && ports().map(|(name, _)| name).collect::<BTreeSet<_>>().len() > 1 {
            return Err(format!("has several ports; name one of {}", port_list(ports())));
        }
        let found: Vec<_> = filled.iter().filter_map(|slice| Some((*slice, slice.number(port)?))).collect();
        if found.is_empty() && !filled.is_empty() {
            let wanted = port.map(|port| format!(" {port}")).unwrap_or_default();
            return Err(format!("has no TCP port{wanted} in its EndpointSlices; there is {}", port_list(ports())));
        }
        Ok(found)
    }
}

impl Slice {
    fn number(&self, port: Option<&Port>) -> Option<u16> {
        let is_wanted = |(name, number): &&(String, u16)| match port {
            Some(Port::Number(wanted)) => number == wanted,
            Some(Port::Name(wanted)) => name == wanted,
            None => true,
        };
        self.ports.iter().find(is_wanted).map(|(_, number)| *number)
    }
}

/// The ports for a message: `grpc (8080), ops (9090)`.
fn port_list<'a>(ports: impl Iterator<Item = &'a (String, u16)>) -> String {
    let ports: BTreeSet<String> = ports
        .map(|(name, number)| if name.is_empty() { number.to_string() } else { format!("{name} ({number})") })
        .collect();
    if ports.is_empty() { "none".to_owned() } else { ports.into_iter().collect::<Vec<_>>().join(", ") }
}

fn port(port: EndpointPort) -> Option<(String, u16)> {
    let is_tcp = port.protocol.is_none_or(|protocol| protocol == "TCP");
    let number = u16::try_from(port.port?).ok().filter(|number| *number > 0 && is_tcp)?;
    Some((port.name.unwrap_or_default(), number))
}

fn place(member: Member) -> Option<Place> {
    // Nobody says what further addresses would mean, and there are none.
    let address = member.addresses.first()?;
    let Ok(ip) = address.parse::<IpAddr>() else {
        tracing::warn!(target: "meshwork::resolve", address, "an endpoint whose address is no IP address is left out");
        return None;
    };
    let conditions = member.conditions.unwrap_or_default();
    let pod = member.target_ref.and_then(|target| {
        let by_name = || Some(format!("{}/{}/{}", target.kind?, target.namespace?, target.name?));
        target.uid.or_else(by_name)
    });
    let hints = member.hints.and_then(|hints| hints.for_zones).unwrap_or_default();
    Some(Place {
        ip,
        pod: pod.map(Into::into),
        zone: member.zone.map(Into::into),
        // What is not said is true, but for the end.
        ready: conditions.ready.unwrap_or(true),
        draining: conditions.terminating.unwrap_or(false) && conditions.serving.unwrap_or(true),
        hints: hints.into_iter().map(|zone| zone.name.into()).collect(),
    })
}

fn endpoint(server: &Server) -> Option<Endpoint> {
    let endpoint = Endpoint::with_addresses(server.addresses.iter().map(|address| Address::Tcp(*address)))?;
    Some(match &server.zone {
        Some(zone) => endpoint.zone(Arc::clone(zone)),
        None => endpoint,
    })
}

/// Leaves as many endpoints as are taken: by rendezvous hashing, so that each client has others, and keeps its own
/// while some come and go.
fn part(endpoints: &mut Vec<Endpoint>, seed: u64) {
    endpoints.sort_by_cached_key(|endpoint| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        endpoint.addresses().hash(&mut hasher);
        hasher.finish()
    });
    endpoints.truncate(MOST_ENDPOINTS);
    endpoints.sort_by(|one, other| one.addresses().cmp(other.addresses()));
}
