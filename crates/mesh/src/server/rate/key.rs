//! The names of buckets: whom a call is counted for, as text.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use http::{HeaderMap, Request};
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::rule::Key;
use crate::server::Peer;
use crate::server::auth::Principal;
use crate::server::peer::Network;

/// Longer values stand there as their digest: what a caller writes into a header is no reason to keep kilobytes of it.
const LONGEST: usize = 96;
/// The network of callers without an address (Unix sockets): they count as one.
const NOWHERE: &str = "address:0.0.0.0";

/// The parts of a call by which it may be counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallParts<'a> {
    pub path: &'a str,
    pub peer: Option<&'a Peer>,
    pub principal: Option<&'a Principal>,
    pub headers: &'a HeaderMap,
}

impl<'a> CallParts<'a> {
    /// Peer and principal as the extensions of a request have them.
    pub fn of<A>(request: &'a Request<A>) -> Self {
        let extensions = request.extensions();
        Self {
            path: request.uri().path(),
            peer: extensions.get(),
            principal: extensions.get(),
            headers: request.headers(),
        }
    }

    /// A peer, whatever it calls.
    pub fn at(peer: &'a Peer, headers: &'a HeaderMap) -> Self {
        Self { path: "", peer: Some(peer), principal: None, headers }
    }

    fn subject(&self) -> Option<&'a str> {
        self.principal.map(Principal::subject)
    }
}

/// `{namespace/kind:value}:rule`, on the stack as long as it is short. The braces are the hash tag of a Redis cluster: the
/// buckets of one caller are in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BucketName {
    text: SmallVec<[u8; 112]>,
    /// Where `kind:value` is.
    caller: (u16, u16),
}

impl BucketName {
    /// The bucket of a rule for `value`.
    pub fn of(namespace: &str, rule: &str, kind: &str, value: &str) -> Self {
        Self::new(namespace, rule, |name| name.push_value(kind, value.as_bytes()))
    }

    /// The bucket of a rule for a call.
    pub fn of_call(namespace: &str, rule: &str, key: &Key, call: &CallParts<'_>) -> Self {
        Self::new(namespace, rule, |name| match key {
            Key::Principal => name.push_value("principal:", call.subject().unwrap_or_default().as_bytes()),
            Key::PrincipalOrAddress => match call.subject() {
                Some(subject) => name.push_value("principal:", subject.as_bytes()),
                None => name.push_address(call.peer),
            },
            Key::Peer => {
                let identity = call.peer.and_then(Peer::identity);
                name.push_value("peer:", identity.map_or("", |identity| identity.as_str()).as_bytes());
            }
            Key::Address => name.push_address(call.peer),
            Key::Method => name.push_value("method:", call.path.as_bytes()),
            Key::Header(header) => {
                name.push("header:");
                name.push_value(header.as_str(), b"");
                let value = call.headers.get(header);
                name.push_value("=", value.map_or(&b""[..], |value| value.as_bytes()));
            }
        })
    }

    fn new(namespace: &str, rule: &str, caller: impl FnOnce(&mut Self)) -> Self {
        let mut name = Self::default();
        name.push("{");
        name.push(namespace);
        name.push("/");
        let start = name.len();
        caller(&mut name);
        name.caller = (start, name.len());
        name.push("}:");
        name.push(rule);
        name
    }

    fn len(&self) -> u16 {
        u16::try_from(self.text.len()).unwrap_or(u16::MAX)
    }

    /// Whom the bucket is for, as the caller may read it: not the value of a header, which may be a secret.
    pub fn caller(&self) -> String {
        let (start, end) = (usize::from(self.caller.0), usize::from(self.caller.1));
        let caller = self.text.get(start..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        match caller.split_once(':') {
            Some(("header", rest)) => format!("header:{}", rest.split('=').next().unwrap_or_default()),
            Some(("principal", "")) => "callers without an account".to_owned(),
            Some(("peer", "")) => "peers without a certificate".to_owned(),
            Some(("principal" | "peer", value)) => value.to_owned(),
            _ => caller.to_owned(),
        }
    }

    fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Escaped where it would break the name.
    fn push_value(&mut self, kind: &str, value: &[u8]) {
        self.push(kind);
        if value.len() > LONGEST {
            self.push("sha256:");
            for byte in Sha256::digest(value) {
                let _ = write!(self, "{byte:02x}");
            }
        } else if value.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'%')) {
            self.text.extend_from_slice(value);
        } else {
            for byte in value {
                match byte {
                    b'{' | b'}' | b'%' => drop(write!(self, "%{byte:02x}")),
                    _ if byte.is_ascii_graphic() => self.text.push(*byte),
                    _ => drop(write!(self, "%{byte:02x}")),
                }
            }
        }
    }

    /// The network that the call's connection comes from.
    fn push_address(&mut self, peer: Option<&Peer>) {
        let name = |address: Option<SocketAddr>| match address {
            Some(address) => format!("address:{}", Network::of(address.ip())),
            None => NOWHERE.to_owned(),
        };
        match peer {
            Some(peer) => self.push(peer.network(name)),
            None => self.push(NOWHERE),
        }
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Write for BucketName {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::server::PeerIdentity;

    fn named(key: &Key, request: &Request<()>) -> String {
        String::from_utf8(BucketName::of_call("shop", "calls", key, &CallParts::of(request)).as_bytes().to_vec())
            .unwrap()
    }

    fn at(address: &str) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Peer::at(Some(format!("{address}:9").parse().unwrap())));
        request
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_an_ipv4_client_its_address() {
        let name = |address| named(&Key::Address, &at(address));
        assert_eq!(name("[2001:db8:1:2::1]"), "{shop/address:2001:db8:1:2::/64}:calls");
        assert_eq!(name("[2001:db8:1:2::1]"), name("[2001:db8:1:2:ffff::9]"));
        assert_ne!(name("[2001:db8:1:2::1]"), name("[2001:db8:1:3::1]"));
        assert_ne!(name("192.0.2.1"), name("192.0.2.2"));
        assert_eq!(name("[::ffff:192.0.2.1]"), "{shop/address:192.0.2.1}:calls");
    }

    #[test]
    fn an_address_is_never_what_a_header_says() {
        let mut request = at("192.0.2.1");
        for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            request.headers_mut().insert(header, "192.0.2.77".parse().unwrap());
        }
        assert_eq!(named(&Key::Address, &request), "{shop/address:192.0.2.1}:calls");
    }

    #[test]
    fn an_account_is_the_same_at_any_address() {
        let mut request = at("192.0.2.1");
        assert_eq!(named(&Key::PrincipalOrAddress, &request), named(&Key::Address, &request));
        request.extensions_mut().insert(Principal::new("users/anna", ["customer"]));
        assert_eq!(named(&Key::PrincipalOrAddress, &request), "{shop/principal:users/anna}:calls");
        assert_eq!(named(&Key::Principal, &request), named(&Key::PrincipalOrAddress, &request));
    }

    #[test]
    fn peers_methods_and_headers_have_buckets_of_their_own() {
        let mut request = Request::new(());
        *request.uri_mut() = "/a.B/C".parse().unwrap();
        request.headers_mut().insert("x-tenant", "red".parse().unwrap());
        let peer = Peer::verified(None, Some(PeerIdentity::new("spiffe://shop/orders")), Vec::new());
        request.extensions_mut().insert(peer);
        assert_eq!(named(&Key::Peer, &request), "{shop/peer:spiffe://shop/orders}:calls");
        assert_eq!(named(&Key::Method, &request), "{shop/method:/a.B/C}:calls");
        let tenant = Key::Header(HeaderName::from_static("x-tenant"));
        assert_eq!(named(&tenant, &request), "{shop/header:x-tenant=red}:calls");
        assert_eq!(named(&tenant, &Request::new(())), "{shop/header:x-tenant=}:calls");
    }

    #[test]
    fn no_value_breaks_the_hash_tag_or_is_kept_at_length() {
        let header = Key::Header(HeaderName::from_static("x-tenant"));
        let name = |value: &[u8]| {
            let mut request = Request::new(());
            request.headers_mut().insert("x-tenant", http::HeaderValue::from_bytes(value).unwrap());
            named(&header, &request)
        };
        assert_eq!(name(b"}a {%"), "{shop/header:x-tenant=%7da%20%7b%25}:calls");
        assert_eq!(name(b"\xff"), "{shop/header:x-tenant=%ff}:calls");
        let (long, other) = (name(&[b'a'; 5000]), name(&[b'a'; 5001]));
        assert!(long.len() < 160 && long != other, "{long}");
    }
}
