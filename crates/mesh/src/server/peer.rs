//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
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
    identity: Option<PeerIdentity>,
    certificates: Vec<CertificateDer<'static>>,
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
        Self(Arc::new(Inner { address, identity, certificates, network: OnceLock::new() }))
    }

    /// Its address; never what a header says.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
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
