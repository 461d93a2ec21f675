//! Names: `dns:///host:port`.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};

use super::families::{Families, Unresolved};
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
///
/// Both families are asked for at the same time, and addresses of the one wait for the other 50 ms (RFC 8305, section 3). A
/// family that gives no answer in time keeps its last good addresses; it is looked for again after 5 s, and then less and less
/// often. That a family has no addresses is an answer.
#[derive(Debug)]
pub struct Dns {
    host: String,
    port: u16,
    server: Option<SocketAddr>,
    families: Families,
}

/// Addresses, in order, and for how long they are good; `None` is for ever.
pub(super) struct Found {
    pub addresses: Vec<SocketAddr>,
    pub ttl: Option<Duration>,
}

impl Dns {
    /// Asks for `host`, whose servers listen on `port`; the system's DNS servers unless one is named.
    pub fn new(host: impl Into<String>, port: u16, server: Option<SocketAddr>) -> Self {
        Self { host: host.into(), port, server, families: Families::default() }
    }

    /// Who is asked, and for which names.
    fn resolver(&self) -> Result<(TokioResolver, Vec<Name>), ResolveError> {
        let (config, mut options) = match self.server {
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let servers = vec![NameServerConfig::new(server.ip(), true, connections.to_vec())];
                (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
            }
            None => read_system_conf().map_err(unusable)?,
        };
        let names = candidates(&self.host, &config, options.ndots)?;
        (options.timeout, options.attempts) = QUERY;
        // Asked again because something failed, an answer from a cache would be the one that failed.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok((builder.build().map_err(unusable)?, names))
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
        let (resolver, names) = self.resolver()?;
        let (addresses, ttl) = self.families.resolve(&resolver, names).await.map_err(|unresolved| {
            let host = &self.host;
            ResolveError::new(match unresolved {
                Unresolved::NxDomain => format!("there is no host {host} (NXDOMAIN)"),
                Unresolved::NoRecords => format!("{host} has no A or AAAA records"),
                Unresolved::Failed(problem) => format!("DNS has no answer for {host}: {problem}"),
            })
        })?;
        let ttl = ttl.unwrap_or_default().max(TTL_FLOOR);
        Ok(Found { addresses: self.addresses(addresses.into_iter()), ttl: Some(ttl) })
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

/// The names that a host may go by, in the order in which they are tried (resolv.conf(5), `search` and `ndots`).
pub(super) fn candidates(host: &str, config: &ResolverConfig, ndots: usize) -> Result<Vec<Name>, ResolveError> {
    let name = Name::from_utf8(host)
        .map_err(|error| ResolveError::new(format!("{host:?} can't be the name of a host: {error}")))?;
    if name.is_fqdn() {
        return Ok(vec![name]);
    }
    let mut absolute = name.clone();
    absolute.set_fqdn(true);
    let absolute_first = usize::from(name.num_labels()) > ndots || name.is_localhost();
    let suffixes = config.domain().into_iter().chain(config.search());
    // A name that is too long with a suffix can't be meant.
    let searched = suffixes.filter_map(|suffix| name.clone().append_domain(suffix).ok());
    let mut names = Vec::new();
    for candidate in absolute_first.then(|| absolute.clone()).into_iter().chain(searched).chain([absolute]) {
        if !names.contains(&candidate) {
            names.push(candidate);
        }
    }
    Ok(names)
}

fn unusable(error: impl Display) -> ResolveError {
    ResolveError::new(format!("DNS can't be used: {error}"))
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
