//! Servers that are known: `static:///a:1,b:2` and Unix sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::uri::{Authority, InvalidUri};

use super::dns::{Dns, Found, endpoints};
use super::{Resolution, ResolveError, Resolver};
use crate::client::endpoint::Endpoint;

/// When to ask again for names that were not found while others were.
const AGAIN: Duration = Duration::from_secs(30);

/// A fixed list of servers. Names in it are resolved by DNS, each to an endpoint an address; while one of them can't be
/// found, its last addresses hold. In a list of a target each host has its own authority.
#[derive(Debug)]
pub struct Static {
    endpoints: Vec<Endpoint>,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    dns: Dns,
    authority: Option<Authority>,
    /// The last addresses that were found.
    last: Mutex<Vec<SocketAddr>>,
}

impl Static {
    /// These endpoints.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, names: Vec::new() }
    }

    /// These hosts; names are asked for at `server`, or at the system's servers.
    pub(super) fn of_hosts(hosts: Vec<(String, u16)>, server: Option<SocketAddr>) -> Self {
        let mut list = Self::new(Vec::new());
        for (host, port) in hosts {
            // What is no authority has only that of the target.
            let authority = authority(&host, port).ok();
            match host.parse::<IpAddr>() {
                Ok(address) => {
                    let endpoint = Endpoint::new(SocketAddr::new(address, port));
                    list.endpoints.push(authority.into_iter().fold(endpoint, Endpoint::authority));
                }
                Err(_) => {
                    let dns = Dns::new(host, port, server);
                    list.names.push(Name { dns, authority, last: Mutex::default() });
                }
            }
        }
        list
    }
}

/// The authority of a host and a port.
pub(super) fn authority(host: &str, port: u16) -> Result<Authority, InvalidUri> {
    if host.contains(':') { format!("[{host}]:{port}").parse() } else { format!("{host}:{port}").parse() }
}

#[async_trait]
impl Resolver for Static {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        let mut all = self.endpoints.clone();
        let mut ttl: Option<Duration> = None;
        let mut failed = None;
        let answers = futures_util::future::join_all(self.names.iter().map(|name| name.dns.lookup())).await;
        for (name, answer) in self.names.iter().zip(answers) {
            let mut last = name.last.lock().unwrap_or_else(PoisonError::into_inner);
            let good_for = match answer {
                Ok(Found { addresses, ttl }) => {
                    *last = addresses;
                    ttl
                }
                Err(error) => {
                    failed = Some(error);
                    Some(AGAIN)
                }
            };
            let own = |endpoint: Endpoint| name.authority.iter().cloned().fold(endpoint, Endpoint::authority);
            all.extend(endpoints(&last).map(own));
            ttl = ttl.into_iter().chain(good_for).min();
        }
        match failed {
            // One name that can't be found doesn't take the others away.
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(Resolution { ttl, ..Resolution::new(all) }),
        }
    }
}
