//! Whom a call counts for where callers are told apart by address.

use std::net::{IpAddr, Ipv6Addr};

use http::{Extensions, HeaderMap};
use meshwork::server::{CLIENT_ADDRESS, Peer, TrustedProxies};

/// Finds the addresses of callers, also of those whose calls another proxy passes on that is trusted to name them.
#[derive(Clone, Debug)]
pub struct Clients(TrustedProxies);

/// The address of a caller; `None` for one without, as over a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub Option<IpAddr>);

impl Clients {
    /// Believes what `trusted` proxies say of others.
    pub fn new(trusted: TrustedProxies) -> Self {
        Self(trusted)
    }

    /// Who has sent these headers over a connection of `peer`.
    pub fn find(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Client {
        let own = peer.and_then(Peer::address).map(|address| address.ip().to_canonical());
        // Most calls name nobody.
        let Some(peer) = peer.filter(|_| headers.contains_key(CLIENT_ADDRESS)) else { return Client(own) };
        let mut extensions = Extensions::new();
        extensions.insert(peer.clone());
        Client(self.0.client(&extensions, headers).address())
    }
}

impl Client {
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
    fn a_caller_is_who_its_connection_says_unless_a_trusted_proxy_names_another() {
        let headers = HeaderMap::from_iter([(CLIENT_ADDRESS, "192.0.2.7".parse().unwrap())]);
        let peer = Peer::at(Some("127.0.0.1:9".parse().unwrap()));
        let found = |trusted: &[&str], headers| {
            Clients::new(TrustedProxies::new(trusted).unwrap()).find(headers, Some(&peer)).0.unwrap().to_string()
        };
        assert_eq!(found(&[], &headers), "127.0.0.1");
        assert_eq!(found(&["127.0.0.1"], &headers), "192.0.2.7");
        assert_eq!(found(&["127.0.0.1"], &HeaderMap::new()), "127.0.0.1");
    }

    #[test]
    fn an_ipv6_client_commands_its_network() {
        let network = |address: &str| Client(Some(address.parse().unwrap())).network();
        assert_eq!(network("2001:db8::1:0:0:1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_eq!(Client(None).network(), None);
    }
}
