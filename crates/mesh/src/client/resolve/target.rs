//! Targets: what a channel is told to connect to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::uri::Authority;

#[cfg(feature = "kubernetes")]
use super::kubernetes::{Kubernetes, Service};
use super::{Dns, Resolver, Static, fixed};
use crate::client::endpoint::{Address, Endpoint};

/// A target that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the target {target:?} {problem}")]
pub struct TargetError {
    target: String,
    problem: String,
}

/// What a channel connects to, by gRPC's names:
///
/// | target | meaning |
/// |---|---|
/// | `dns:///host:port`, `dns:host:port`, `host:port` | the A and AAAA records of a name; `dns://server:53/host:port` asks that server |
/// | `static:///a:1,b:2` | these servers, each with its own authority; names are resolved by DNS |
/// | `ipv4:1.2.3.4:1`, `ipv6:[::1]:1`, also with commas | these addresses, each its own authority |
/// | `unix:path`, `unix:///path` | a Unix domain socket |
/// | `k8s:///service.namespace:port`, `k8s:service.namespace:port` | the pods behind a service of Kubernetes, with the feature `kubernetes` |
/// | `http://host:port`, `https://host:port` | as `dns:///host:port`, in plain text or with TLS |
///
/// A missing port is 443 with TLS, as everywhere in gRPC, and 80 for `http://`.
///
/// The port after `k8s:` is a name or a number as the EndpointSlices have it, which is that of the pods; without it, it is
/// the only one. Without a namespace it is the process' own. The authority is `service.namespace`, without the port.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    uri: String,
    authority: Authority,
    tls: bool,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Dns {
        host: String,
        port: u16,
        server: Option<SocketAddr>,
    },
    Static(Vec<(String, u16)>),
    Unix(PathBuf),
    #[cfg(feature = "kubernetes")]
    Kubernetes(Service),
    /// For a resolver of one's own.
    Other,
}

impl Target {
    /// Reads a target.
    ///
    /// # Errors
    /// When it is none; the message says what would be right.
    pub fn parse(target: &str) -> Result<Self, TargetError> {
        Self::read(target).map_err(|problem| TargetError { target: target.to_owned(), problem })
    }

    fn read(target: &str) -> Result<Self, String> {
        if target.is_empty() {
            return Err("is empty; it should look like dns:///host:port".into());
        }
        let (before, rest) = target.split_once(':').unwrap_or(("", target));
        let scheme = before.to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" if rest.starts_with("//") => web(scheme == "https", rest.trim_matches('/')),
            "unix" => unix(rest),
            "static" | "ipv4" | "ipv6" => list(&scheme, rest),
            "k8s" => kubernetes(rest),
            "dns" => {
                let (server, name) = authority_and_path("dns", rest)?;
                let server = server.map(dns_server).transpose()?;
                let (host, port) = host_port(name, Some(443))?;
                Self::dns(host, port, server, false)
            }
            _ if rest.starts_with("//") => Err(format!(
                "has the scheme {before}, which is not known; there is dns, static, ipv4, ipv6, unix, k8s, http and https"
            )),
            _ => {
                let (host, port) = host_port(target, Some(443))?;
                Self::dns(host, port, None, false)
            }
        }
    }

    /// A target whose endpoints a resolver of one's own finds: any URI or name; its last part is the authority.
    pub fn opaque(target: &str) -> Self {
        let last = target.rsplit('/').next().unwrap_or_default();
        let authority = last.parse().unwrap_or_else(|_| Authority::from_static("localhost"));
        Self { uri: target.to_owned(), authority, tls: target.starts_with("https:"), kind: Kind::Other }
    }

    fn dns(host: String, port: u16, server: Option<SocketAddr>, tls: bool) -> Result<Self, String> {
        let authority = authority(&host, port)?;
        let server_part = server.map(|server| server.to_string()).unwrap_or_default();
        let uri = format!("dns://{server_part}/{authority}");
        Ok(Self { uri, authority, tls, kind: Kind::Dns { host, port, server } })
    }

    /// The `:authority` of calls, and the name that a certificate must hold, unless the endpoint has
    /// [one of its own](Endpoint::authority); in a list, that of the first.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether the target asks for TLS by itself: `https://`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The resolver of the target; `None` for one that only a resolver of one's own understands.
    pub fn into_resolver(self) -> Option<Arc<dyn Resolver>> {
        Some(match self.kind {
            Kind::Dns { host, port, server } => Arc::new(Dns::new(host, port, server)),
            Kind::Static(hosts) => Arc::new(Static::of_hosts(hosts, None)),
            Kind::Unix(path) => Arc::new(Static::new(vec![Endpoint::new(Address::Unix(path))])),
            #[cfg(feature = "kubernetes")]
            Kind::Kubernetes(service) => Arc::new(Kubernetes::of_target(service)),
            Kind::Other => return None,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// `http://…`, `https://…`, as tonic's users have it.
fn web(tls: bool, rest: &str) -> Result<Target, String> {
    if let Some((authority, path)) = rest.split_once('/') {
        return Err(format!("has the path /{path}; a channel connects to servers, so it ends after {authority}"));
    }
    let (host, port) = host_port(rest, Some(if tls { 443 } else { 80 }))?;
    Target::dns(host, port, None, tls)
}

fn unix(rest: &str) -> Result<Target, String> {
    let path = match rest.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err("must have an absolute path after unix://, as in unix:///run/users.sock".into()),
        None => rest,
    };
    if path.is_empty() || path.ends_with('/') {
        return Err("has no path of a socket; it should look like unix:///run/users.sock".into());
    }
    let (uri, kind) = (format!("unix:{path}"), Kind::Unix(path.into()));
    Ok(Target { uri, authority: Authority::from_static("localhost"), tls: false, kind })
}

/// `k8s:`: a service of Kubernetes.
#[cfg(feature = "kubernetes")]
fn kubernetes(rest: &str) -> Result<Target, String> {
    let (None, name) = authority_and_path("k8s", rest)? else {
        return Err("must have nothing between // and the next /, as in k8s:///orders.shop:grpc".into());
    };
    if !rest.starts_with("//") && name.parse::<u16>().is_ok() {
        return Err(format!("has no service; for a host that is called k8s it is dns:///k8s:{name}"));
    }
    let service = Service::read(name)?;
    // Certificates hold the name, and a port may be one that has no number here.
    let host = service.host();
    let authority: Authority = host.parse().map_err(|_| format!("has {host:?}, which is no host"))?;
    Ok(Target { uri: format!("k8s:///{service}"), authority, tls: false, kind: Kind::Kubernetes(service) })
}

/// `k8s:`, of which this build knows no more than that.
#[cfg(not(feature = "kubernetes"))]
fn kubernetes(rest: &str) -> Result<Target, String> {
    let name = rest.trim_start_matches('/');
    Err(format!(
        "needs a build with the feature `kubernetes` (of the crate meshwork; of meshwork-cli for the binary); \
         without it, dns:///HEADLESS-SERVICE.NAMESPACE.svc:PORT leads to the pods of {name} too"
    ))
}

/// `static:`, `ipv4:` and `ipv6:`: servers with commas between them.
fn list(scheme: &str, rest: &str) -> Result<Target, String> {
    let (None, list) = authority_and_path(scheme, rest)? else {
        return Err(format!("must have nothing between // and the next /, as in {scheme}:///a:1,b:2"));
    };
    // As gRPC has it, addresses may go without a port.
    let default = (scheme != "static").then_some(443);
    let mut hosts = Vec::new();
    for item in list.split(',') {
        let bare = scheme == "ipv6" && item.parse::<Ipv6Addr>().is_ok();
        let (host, port) = if bare { (item.to_owned(), 443) } else { host_port(item, default)? };
        let fits = match scheme {
            "ipv4" => host.parse::<Ipv4Addr>().is_ok(),
            "ipv6" => host.parse::<Ipv6Addr>().is_ok(),
            _ => true,
        };
        if !fits {
            return Err(format!("has {item:?}, which is no {scheme} address; static:///a:1,b:2 takes names too"));
        }
        if !hosts.contains(&(host.clone(), port)) {
            hosts.push((host, port));
        }
    }
    let authorities = hosts.iter().map(|(host, port)| authority(host, *port)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = authorities.first().cloned() else { return Err("has no servers".into()) };
    let slashes = if scheme == "static" { "///" } else { "" };
    let names = authorities.iter().map(Authority::as_str).collect::<Vec<_>>().join(",");
    Ok(Target { uri: format!("{scheme}:{slashes}{names}"), authority: first, tls: false, kind: Kind::Static(hosts) })
}

/// Splits what follows a scheme: `path`, `///path` or `//authority/path`.
fn authority_and_path<'a>(scheme: &str, rest: &'a str) -> Result<(Option<&'a str>, &'a str), String> {
    let Some(rest) = rest.strip_prefix("//") else { return Ok((None, rest)) };
    match rest.split_once('/') {
        Some(("", path)) => Ok((None, path)),
        Some((authority, path)) => Ok((Some(authority), path)),
        None => Err(format!("needs three slashes, as in {scheme}:///{rest}")),
    }
}

fn authority(host: &str, port: u16) -> Result<Authority, String> {
    fixed::authority(host, port).map_err(|_| format!("has {host:?}, which is no host"))
}

/// Reads `host:port`, `[v6]:port` or, with a default port, `host`.
fn host_port(text: &str, default: Option<u16>) -> Result<(String, u16), String> {
    if text.contains(',') {
        return Err(format!("has a list of servers; that is static:///{text}"));
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("has a [ without its ]")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("has {host:?} in brackets, which is no IPv6 address"));
        }
        match rest.strip_prefix(':') {
            None if !rest.is_empty() => {
                return Err(format!("has {rest:?} after ], where a port should be: [::1]:port"));
            }
            port => (host, port),
        }
    } else {
        match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err("must have an IPv6 address in brackets: [::1]:port".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
        return Err(format!("has {text:?} where a host and a port should be, as in users:50051"));
    }
    let Some(port) = port else {
        let port = default.ok_or_else(|| format!("has {text:?} without a port, as in {text}:50051"))?;
        return Ok((host.to_owned(), port));
    };
    match port.parse() {
        Ok(number) if number > 0 => Ok((host.to_owned(), number)),
        _ => Err(format!("has the port {port:?}; a port is a number from 1 to 65535")),
    }
}

fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = host_port(text, Some(53))?;
    let ip: IpAddr = host.parse().map_err(|_| format!("has {text:?} as its DNS server, which must be an address"))?;
    Ok(SocketAddr::new(ip, port))
}
