//! The address of a caller, also of one behind a proxy: whom to believe when it names another.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use ipnet::{IpNet, Ipv4Net};

use super::forwarded::{self, FORWARDED_FOR};
use super::peer::{Network, Peer};

/// The metadata in which a [`Proxy`](super::proxy::Proxy) names the address of the caller whose call it passes on. It has one
/// value: what a caller sends under this name goes no further. A trusted proxy that isn't one has to see to that as well, or to write
/// `X-Forwarded-For`, which [goes before it](TrustedProxies::forwarded_for).
pub const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("meshwork-client-address");

/// The value for a caller without an address, as over a Unix socket.
const NOWHERE: HeaderValue = HeaderValue::from_static("unknown");

/// Whose word counts for the addresses of others: of proxies in these networks, and of those whose certificates name them so.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    patterns: Arc<[ProxyPattern]>,
    forwarded_for: bool,
}

#[derive(Debug)]
enum ProxyPattern {
    Network(IpNet),
    Identity(Box<str>),
}

/// What names no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no proxy; set an address, a network such as 10.0.0.0/8, a SPIFFE ID or a DNS name")]
pub struct InvalidProxy(String);

impl TrustedProxies {
    /// Trusts those at an address (`192.0.2.1`), in a network (`10.0.0.0/8`, `fd00::/8`), or with a name that their certificate
    /// vouches for: a SPIFFE ID or a DNS name, as it stands there.
    ///
    /// # Errors
    /// When one is none of these.
    ///
    /// ```
    /// use meshwork::server::TrustedProxies;
    ///
    /// let trusted = TrustedProxies::new(["127.0.0.0/8", "::1", "spiffe://shop/gateway"])?;
    /// # Ok::<_, meshwork::server::InvalidProxy>(())
    /// ```
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, InvalidProxy> {
        let patterns = names.into_iter().map(|name| ProxyPattern::parse(name.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { patterns, forwarded_for: false })
    }

    /// Trusts nobody: everybody's address is that of their connection.
    pub fn none() -> Self {
        Self { patterns: Arc::new([]), forwarded_for: false }
    }

    /// Whether they name their clients in `X-Forwarded-For` as well, as balancers of HTTP do. Where it is, [`CLIENT_ADDRESS`] doesn't
    /// count: a [`Proxy`](super::proxy::Proxy) passes no `X-Forwarded-For` on, and balancers pass on what their clients write under
    /// that name. The client is the right-most address there that is none of a trusted network: what stands to its left was written
    /// by the client itself. An entry that is no address ends the walk, and the last trusted proxy counts; ports and brackets are
    /// passed over; no more than 32 entries and 4 KiB are looked at. Off unless it is set: a proxy that doesn't write the header
    /// passes on what its client has written there.
    ///
    /// ```
    /// use http::{Extensions, HeaderMap};
    /// use meshwork::server::{Peer, TrustedProxies};
    ///
    /// let trusted = TrustedProxies::new(["10.0.0.0/28"])?.forwarded_for(true);
    /// let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
    /// extensions.insert(Peer::at(Some(([10, 0, 0, 1], 1234).into())));
    /// headers.insert("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.0.0.2".parse()?);
    /// assert_eq!(trusted.client(&extensions, &headers).to_string(), "192.0.2.1");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn forwarded_for(self, on: bool) -> Self {
        Self { forwarded_for: on, ..self }
    }

    /// The address of the caller of a request with these extensions and headers. Without a [`Peer`] among the extensions nothing
    /// is known of who sent it, and nobody's word counts.
    pub fn client(&self, extensions: &Extensions, headers: &HeaderMap) -> ClientAddress {
        let peer = extensions.get::<Peer>();
        self.client_of(peer, peer.is_some_and(|peer| self.trusts(peer)), headers)
    }

    /// The address of the caller of a request with these headers, which came from `peer`.
    pub(super) fn client_of(&self, peer: Option<&Peer>, is_trusted: bool, headers: &HeaderMap) -> ClientAddress {
        let own = peer.and_then(Peer::address).map(|address| address.ip().to_canonical());
        // Whoever writes it is no proxy of ours, and may have passed on what its client has written under our name.
        if is_trusted && self.forwarded_for && headers.contains_key(FORWARDED_FOR) {
            let client = forwarded::client(headers, |address| self.trusts_address(Some(address)));
            return ClientAddress { address: client.or(own), is_direct: false };
        }
        let mut named = headers.get_all(CLIENT_ADDRESS).iter();
        let (first, second) = (named.next(), named.next());
        match first {
            // Several were not written by a proxy of ours.
            Some(value) if is_trusted && second.is_none() => {
                let address = value.to_str().ok().and_then(|value| value.parse::<IpAddr>().ok());
                ClientAddress { address: address.map(|address| address.to_canonical()), is_direct: false }
            }
            Some(_) => ClientAddress { address: own, is_direct: false },
            None => ClientAddress {
                address: own,
                is_direct: is_trusted || peer.is_some_and(|peer| peer.identity().is_some()),
            },
        }
    }

    /// Whether a peer may name the address of another.
    pub(super) fn trusts(&self, peer: &Peer) -> bool {
        let is_named = |name: &str| peer.identity().is_some_and(|identity| identity.as_str() == name);
        self.trusts_address(peer.address().map(|address| address.ip().to_canonical()))
            || self.patterns.iter().any(|trusted| matches!(trusted, ProxyPattern::Identity(name) if is_named(name)))
    }

    /// Whether who is at an address may name that of another. One without an address, as over a Unix socket, is on this host.
    pub fn trusts_address(&self, address: Option<IpAddr>) -> bool {
        let addresses = match address.map(|address| address.to_canonical()) {
            Some(address) => [address, address],
            None => [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        self.patterns.iter().any(|trusted| match trusted {
            ProxyPattern::Network(network) => addresses.iter().any(|address| network.contains(address)),
            ProxyPattern::Identity(_) => false,
        })
    }

    /// Whether it trusts nobody by their address.
    pub fn is_without_networks(&self) -> bool {
        !self.patterns.iter().any(|trusted| matches!(trusted, ProxyPattern::Network(_)))
    }
}

impl ProxyPattern {
    fn parse(name: &str) -> Result<Self, InvalidProxy> {
        if let Some(network) = name.parse::<IpNet>().ok().or_else(|| Some(IpNet::from(name.parse::<IpAddr>().ok()?))) {
            return Ok(Self::Network(canonical(network)));
        }
        let is_dns = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
            && name.bytes().any(|byte| byte.is_ascii_alphabetic());
        if is_dns || name.strip_prefix("spiffe://").is_some_and(|rest| !rest.is_empty()) {
            return Ok(Self::Identity(name.into()));
        }
        Err(InvalidProxy(name.to_owned()))
    }
}

/// An IPv4 network that is written as one of IPv6 (`::ffff:10.0.0.0/104`) as that of IPv4, as which addresses are compared.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let ipv4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    ipv4.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

/// Whom a call counts for where callers are told apart by address: an extension of requests where the server knows its
/// [trusted proxies](super::Builder::trusted_proxies), and behind a [`ClientAddressLayer`](super::ClientAddressLayer). Displayed, it
/// is the network of one client: an IPv4 address, or the /64 of an IPv6 address, all of which one client commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    address: Option<IpAddr>,
    is_direct: bool,
}

impl ClientAddress {
    /// The address; `None` for callers without one, such as over Unix sockets.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether who calls is one of those that are trusted, or has shown a certificate, and calls for itself: a service that
    /// is no caller of a proxy. A call that names the address of another never is.
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => Network::of(address).fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Names the caller of a request to who gets it next, in place of what the caller has sent under that name. `X-Forwarded-For` goes
/// no further, whoever wrote it: what it was good for is in that name.
pub(super) fn name_client(extensions: &Extensions, headers: &mut HeaderMap) {
    let address = match extensions.get::<ClientAddress>() {
        Some(client) => client.address(),
        None => extensions.get::<Peer>().and_then(Peer::address).map(|address| address.ip()),
    };
    let value = address.and_then(|address| HeaderValue::try_from(address.to_canonical().to_string()).ok());
    // It takes the place of all values.
    headers.insert(CLIENT_ADDRESS, value.unwrap_or(NOWHERE));
    headers.remove(FORWARDED_FOR);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::PeerIdentity;

    fn at(address: &str) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(Peer::at(Some(format!("{address}:9").parse().unwrap())));
        extensions
    }

    fn naming(addresses: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for address in addresses {
            headers.append(CLIENT_ADDRESS, HeaderValue::from_str(address).unwrap());
        }
        headers
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(["127.0.0.0/8", "::1", "fd00::/8", "10.0.0.7", "spiffe://shop/gateway"]).unwrap()
    }

    #[test]
    fn only_who_is_trusted_names_the_address_of_another() {
        for (peer, client) in [
            ("127.0.0.1", "192.0.2.77"),
            ("[::1]", "192.0.2.77"),
            ("[fd00::5]", "192.0.2.77"),
            ("[::ffff:10.0.0.7]", "192.0.2.77"),
            ("10.0.0.8", "10.0.0.8"),
            ("203.0.113.5", "203.0.113.5"),
        ] {
            let client_address = trusted().client(&at(peer), &naming(&["192.0.2.77"]));
            assert_eq!(client_address.to_string(), client, "{peer}");
            assert!(!client_address.is_direct(), "{peer}");
            assert!(!TrustedProxies::none().client(&at(peer), &naming(&["192.0.2.77"])).is_direct());
        }
    }

    #[test]
    fn who_names_nobody_calls_for_itself() {
        for (peer, direct) in [("127.0.0.1", true), ("10.0.0.7", true), ("203.0.113.5", false)] {
            let client = trusted().client(&at(peer), &HeaderMap::new());
            assert_eq!((client.to_string().as_str(), client.is_direct()), (peer, direct));
        }
        let mut socket = Extensions::new();
        socket.insert(Peer::at(None));
        let nowhere = trusted().client(&socket, &HeaderMap::new());
        assert_eq!((nowhere.to_string().as_str(), nowhere.is_direct()), ("unknown", true));
    }

    #[test]
    fn nobody_is_believed_of_whom_nothing_is_known() {
        for headers in [HeaderMap::new(), naming(&["192.0.2.77"])] {
            let client = trusted().client(&Extensions::new(), &headers);
            assert_eq!((client.address(), client.is_direct()), (None, false));
        }
    }

    #[test]
    fn a_network_of_ipv4_may_be_written_as_one_of_ipv6() {
        for (name, inside, outside) in [
            ("::ffff:10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("::ffff:a00:0/104", "10.9.9.9", "11.0.0.1"),
            ("::ffff:0:0/96", "192.0.2.1", "[2001:db8::1]"),
        ] {
            let trusted = TrustedProxies::new([name]).unwrap();
            assert_eq!(trusted.client(&at(inside), &naming(&["192.0.2.77"])).to_string(), "192.0.2.77", "{name}");
            assert_ne!(trusted.client(&at(outside), &naming(&["192.0.2.77"])).to_string(), "192.0.2.77", "{name}");
        }
    }

    #[test]
    fn a_certificate_counts_as_a_network_does() {
        let peer = |name: &str| {
            let mut extensions = Extensions::new();
            let address = Some("203.0.113.5:9".parse().unwrap());
            extensions.insert(Peer::verified(address, Some(PeerIdentity::new(name)), Vec::new()));
            extensions
        };
        let gateway = trusted().client(&peer("spiffe://shop/gateway"), &naming(&["192.0.2.77"]));
        assert_eq!(gateway.to_string(), "192.0.2.77");
        let orders = trusted().client(&peer("spiffe://shop/orders"), &naming(&["192.0.2.77"]));
        assert_eq!((orders.to_string().as_str(), orders.is_direct()), ("203.0.113.5", false));
        assert!(trusted().client(&peer("spiffe://shop/orders"), &HeaderMap::new()).is_direct());
    }

    #[test]
    fn an_address_that_is_none_or_twice_there_is_nobodys() {
        let loopback = at("127.0.0.1");
        assert_eq!(trusted().client(&loopback, &naming(&["unknown"])).to_string(), "unknown");
        let twice = trusted().client(&loopback, &naming(&["192.0.2.1", "192.0.2.2"]));
        assert_eq!((twice.to_string().as_str(), twice.is_direct()), ("127.0.0.1", false));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let client = trusted().client(&at("127.0.0.1"), &naming(&["2001:db8:1:2::9"]));
        assert_eq!(client.to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_proxy_names_its_caller_whatever_that_has_sent() {
        let mut headers = naming(&["192.0.2.1", "192.0.2.2"]);
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("192.0.2.3"));
        name_client(&at("[::ffff:203.0.113.5]"), &mut headers);
        assert_eq!(headers.get(FORWARDED_FOR), None);
        assert!(headers.get_all(CLIENT_ADDRESS).iter().eq(["203.0.113.5"]));
        name_client(&Extensions::new(), &mut headers);
        assert!(headers.get_all(CLIENT_ADDRESS).iter().eq(["unknown"]));
        let mut behind = at("127.0.0.1");
        behind.insert(trusted().client(&at("127.0.0.1"), &naming(&["192.0.2.9"])));
        name_client(&behind, &mut headers);
        assert!(headers.get_all(CLIENT_ADDRESS).iter().eq(["192.0.2.9"]));
    }

    #[test]
    fn x_forwarded_for_counts_only_of_who_is_trusted_where_it_is_to_count() {
        let (on, off) = (trusted().forwarded_for(true), trusted());
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1, 192.0.2.77, 10.0.0.7"));
        for (proxies, peer, client, is_direct) in [
            (&on, "10.0.0.7", "192.0.2.77", false),
            (&on, "10.0.0.8", "10.0.0.8", false),
            (&off, "10.0.0.7", "10.0.0.7", true),
            (&TrustedProxies::none().forwarded_for(true), "10.0.0.7", "10.0.0.7", false),
        ] {
            let found = proxies.client(&at(peer), &headers);
            assert_eq!((found.to_string().as_str(), found.is_direct()), (client, is_direct), "{peer}");
        }
        // A client writes our own name, and its balancer passes that on.
        headers.insert(CLIENT_ADDRESS, HeaderValue::from_static("192.0.2.5"));
        assert_eq!(on.client(&at("10.0.0.7"), &headers).to_string(), "192.0.2.77");
        assert_eq!(off.client(&at("10.0.0.7"), &headers).to_string(), "192.0.2.5");
        let mut none = HeaderMap::new();
        none.insert(FORWARDED_FOR, HeaderValue::from_static("unknown"));
        let found = on.client(&at("10.0.0.7"), &none);
        assert_eq!((found.to_string().as_str(), found.is_direct()), ("10.0.0.7", false));
    }

    #[test]
    fn what_names_no_proxy_is_refused() {
        for name in ["", "10.0.0.0/33", "10.0.0.0.8", "fe80::/x", "spiffe://", "a b"] {
            assert!(TrustedProxies::new([name]).is_err(), "{name}");
        }
        assert!(TrustedProxies::new(["gateway.shop.svc", "0.0.0.0/0", "::/0"]).is_ok());
    }
}
