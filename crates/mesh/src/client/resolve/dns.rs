//! Names: `dns:///host:port`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use super::{Resolution, ResolveError, Resolver};
use crate::client::endpoint::Endpoint;

/// The shortest time for which an answer is good: servers that say 0 would be asked without end.
const TTL_FLOOR: Duration = Duration::from_secs(5);

/// How long what `/etc/hosts` says is good: it has no TTL, and people edit it.
const HOSTS_TTL: Duration = Duration::from_secs(30);

/// How long a server may take to answer one query, and how often it is asked again.
const QUERY: (Duration, usize) = (Duration::from_secs(2), 2);

/// The A and AAAA records of a name, each an endpoint.
///
/// `/etc/hosts` comes first, then the servers of `/etc/resolv.conf` with its search list; both files are read at each
/// resolution, so that edits count. An answer is good for its TTL, but at least for 5 s; one of `/etc/hosts` for 30 s. A
/// host that is an address needs no query.
#[derive(Debug)]
pub struct Dns {
    host: String,
    port: u16,
    server: Option<SocketAddr>,
}

/// Addresses, in order, and for how long they are good; `None` is for ever.
pub(super) struct Found {
    pub addresses: Vec<SocketAddr>,
    pub ttl: Option<Duration>,
}

impl Dns {
    /// Asks for `host`, whose servers listen on `port`; the system's DNS servers unless one is named.
    pub fn new(host: impl Into<String>, port: u16, server: Option<SocketAddr>) -> Self {
        Self { host: host.into(), port, server }
    }

    fn resolver(&self) -> Result<TokioResolver, ResolveError> {
        let unusable = |error| ResolveError::new(format!("DNS can't be used: {error}"));
        let mut builder = match self.server {
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let servers = vec![NameServerConfig::new(server.ip(), true, connections.to_vec())];
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio().map_err(unusable)?,
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        (options.timeout, options.attempts) = QUERY;
        // Asked again because something failed, an answer from a cache would be the one that failed.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        builder.build().map_err(unusable)
    }

    /// The addresses of the host.
    pub(super) async fn lookup(&self) -> Result<Found, ResolveError> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(Found { addresses: vec![SocketAddr::new(address, self.port)], ttl: None });
        }
        if self.server.is_none()
            && let Some(found) = Hosts::from_system().ok().and_then(|hosts| self.among(&hosts))
        {
            return Ok(found);
        }
        let host = &self.host;
        let answer = self.resolver()?.lookup_ip(host.as_str()).await.map_err(|error| {
            ResolveError::new(if error.is_nx_domain() {
                format!("there is no host {host} (NXDOMAIN)")
            } else if error.is_no_records_found() {
                format!("{host} has no A or AAAA records")
            } else {
                format!("DNS has no answer for {host}: {error}")
            })
        })?;
        let addresses = self.addresses(answer.iter());
        if addresses.is_empty() {
            return Err(ResolveError::new(format!("{host} has no A or AAAA records")));
        }
        let ttl = answer.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        Ok(Found { addresses, ttl: Some(Duration::from_secs(u64::from(ttl)).max(TTL_FLOOR)) })
    }

    /// What a hosts file says of the host. When it says anything, no server is asked, as everywhere on the system.
    pub(super) fn among(&self, hosts: &Hosts) -> Option<Found> {
        let name = Name::from_str(&self.host).ok()?;
        let types = [RecordType::A, RecordType::AAAA];
        let lookups = types.map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        let records = lookups.iter().flatten().flat_map(|lookup| lookup.answers());
        let addresses = self.addresses(records.filter_map(|record| record.data.ip_addr()));
        (!addresses.is_empty()).then_some(Found { addresses, ttl: Some(HOSTS_TTL) })
    }

    /// In order, so that servers which rotate their answers don't seem to change them.
    fn addresses(&self, addresses: impl Iterator<Item = IpAddr>) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = addresses.map(|address| SocketAddr::new(address, self.port)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// An endpoint for each address: DNS does not tell which of them are one server.
pub(super) fn endpoints(addresses: &[SocketAddr]) -> impl Iterator<Item = Endpoint> {
    addresses.iter().map(|address| Endpoint::new(*address))
}

#[async_trait]
impl Resolver for Dns {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        let Found { addresses, ttl } = self.lookup().await?;
        Ok(Resolution { ttl, ..Resolution::new(endpoints(&addresses).collect()) })
    }
}
