//! Whom a call counts for where callers are told apart by address.

use std::net::{IpAddr, Ipv6Addr};

use meshwork::server::Peer;

/// The address of a caller; `None` for one without, as over a Unix socket. Behind a proxy that is trusted it is that of the
/// proxy's client: the port has found it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub Option<IpAddr>);

impl Client {
    /// That of a peer.
    pub fn of(peer: Option<&Peer>) -> Self {
        Self(peer.and_then(Peer::address).map(|address| address.ip().to_canonical()))
    }

    /// The network that one client commands: an IPv4 address, or the /64 of an IPv6 address.
    pub fn network(self) -> Option<IpAddr> {
        self.0.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_commands_its_network() {
        let network = |address: &str| Client(Some(address.parse().unwrap())).network();
        assert_eq!(network("2001:db8::1:0:0:1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_eq!(Client(None).network(), None);
    }
}
