//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use rustls_pki_types::CertificateDer;

/// The other end of the connection that a call came over: an extension of every request.
///
/// ```
/// use meshwork::server::Peer;
///
/// fn who<T>(request: &tonic::Request<T>) -> String {
///     match request.extensions().get::<Peer>().and_then(Peer::identity) {
///         Some(identity) => identity.to_string(),
///         None => "a stranger".to_owned(),
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Peer(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    address: Option<SocketAddr>,
    hop: Option<SocketAddr>,
    identity: Option<PeerIdentity>,
    certificates: Arc<[CertificateDer<'static>]>,
    /// Whether it passes on what somebody else calls, whose address it has here.
    is_proxy: bool,
    /// The name of its network in rate limits, once it was asked for.
    network: OnceLock<Box<str>>,
}

impl Peer {
    /// A peer at an address, without a certificate. Unix sockets and connections within the process have no address.
    pub fn at(address: Option<SocketAddr>) -> Self {
        Self(Arc::new(Inner { address, ..Inner::default() }))
    }

    /// A peer that has shown `certificates`, its own first, which name `identity`.
    pub fn verified(
        address: Option<SocketAddr>,
        identity: Option<PeerIdentity>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self(Arc::new(Inner { address, identity, certificates: certificates.into(), ..Inner::default() }))
    }

    /// The same peer, behind a balancer that has named its address.
    pub(super) fn behind(&self, hop: SocketAddr) -> Self {
        let Inner { address, identity, certificates, .. } = &*self.0;
        let (identity, certificates) = (identity.clone(), Arc::clone(certificates));
        Self(Arc::new(Inner { address: *address, hop: Some(hop), identity, certificates, ..Inner::default() }))
    }

    /// The same peer, as one that passes on the call of somebody at `client`. Limits, authenticators and records of calls have it;
    /// the extension of requests is the peer itself.
    pub(super) fn for_client(&self, client: Option<IpAddr>) -> Self {
        let address = client.map(|client| SocketAddr::new(client, 0));
        let (identity, certificates) = (self.0.identity.clone(), Arc::clone(&self.0.certificates));
        let hop = self.0.address;
        Self(Arc::new(Inner { address, hop, identity, certificates, is_proxy: true, ..Inner::default() }))
    }

    /// Its address; never what a header of a call says, unless it [is a proxy](Peer::is_proxy). Behind a balancer that names its
    /// clients by the PROXY protocol ([`Listener::proxy_protocol`](super::Listener::proxy_protocol)) it is the client's.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// The address of the balancer that has named the peer's by the PROXY protocol, and of a [proxy](Peer::is_proxy) its own; `None`
    /// when there is neither, or it is on this host and has none.
    pub fn hop(&self) -> Option<SocketAddr> {
        self.0.hop
    }

    /// Whether it is a [trusted proxy](super::Builder::trusted_proxies) that passes on the call of somebody else, whose address it has
    /// here, without a port. Its certificates are its own, and say nothing of who calls. Authenticators and observers of calls are
    /// shown such a peer; the extension of a request is always the other end of the connection itself.
    pub fn is_proxy(&self) -> bool {
        self.0.is_proxy
    }

    /// The network that it counts for where callers are told apart by address; `None` without an address.
    pub(super) fn network_key(&self) -> Option<Network> {
        self.0.address.map(|address| Network::of(address.ip()))
    }

    /// Its network as `name` writes it: once for a connection, however many calls it has.
    pub(super) fn network(&self, name: impl FnOnce(Option<SocketAddr>) -> String) -> &str {
        self.0.network.get_or_init(|| name(self.0.address).into())
    }

    /// Whom its certificate names; `None` without mutual TLS.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.0.identity.as_ref()
    }

    /// The certificates that it has shown, its own first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates
    }
}

/// The bits of an IPv6 address that tell clients apart.
const IPV6_PREFIX: u32 = 64;

/// The network of a client: an IPv4 address, or the /64 of an IPv6 address, all of which one client commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX))).into(),
            address => address,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(network) => write!(f, "{network}/{IPV6_PREFIX}"),
            IpAddr::V4(address) => write!(f, "{address}"),
        }
    }
}

/// Whom a certificate names: its SPIFFE ID (a URI SAN, `spiffe://trust-domain/path`) or else its first DNS SAN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity(Arc<str>);

impl PeerIdentity {
    /// An identity by its name, as it stands in the certificate.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name: `spiffe://…`, or a DNS name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a SPIFFE ID.
    pub fn is_spiffe(&self) -> bool {
        self.0.starts_with("spiffe://")
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_the_address_of_its_client_and_all_else_is_its_own() {
        let certificates = vec![CertificateDer::from(vec![1, 2, 3])];
        let own = SocketAddr::from(([10, 0, 0, 1], 9));
        let gateway = Peer::verified(Some(own), Some(PeerIdentity::new("spiffe://shop/gateway")), certificates.clone());
        for client in [Some(IpAddr::from([192, 0, 2, 1])), None] {
            let proxy = gateway.for_client(client);
            assert_eq!((proxy.address().map(|address| address.ip()), proxy.hop()), (client, Some(own)));
            assert_eq!((proxy.identity(), proxy.certificates()), (gateway.identity(), &certificates[..]));
            assert!(proxy.is_proxy() && !gateway.is_proxy());
        }
    }
}
