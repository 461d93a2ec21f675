//! For whom calls are counted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use meshwork_api::UserName;

/// The bits of an IPv6 address that tell clients apart: one client commands all addresses of its /64.
const IPV6_PREFIX: u32 = 64;

/// Whom a call is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// An account.
    Account(UserName),
    /// An address, or a network of IPv6 addresses.
    Address(IpAddr),
}

impl Client {
    /// The client of a call: the account that makes it or, without one, the address that it comes from.
    pub fn of(account: Option<UserName>, address: IpAddr) -> Self {
        account.map_or_else(|| Self::at(address), Client::Account)
    }

    /// The client behind the address of a connection.
    pub fn at(address: IpAddr) -> Self {
        Client::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX)));
                IpAddr::V6(network)
            }
            address => address,
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Account(name) => name.fmt(f),
            Client::Address(address @ IpAddr::V4(_)) => write!(f, "address:{address}"),
            Client::Address(address @ IpAddr::V6(_)) => write!(f, "address:{address}/{IPV6_PREFIX}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Client {
        Client::at(text.parse().unwrap())
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_an_ipv4_client_its_address() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("2001:db8:1:2::1").to_string(), "address:2001:db8:1:2::/64");
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn an_account_is_the_same_client_at_any_address() {
        let of = |user: Option<&str>, at: &str| Client::of(user.map(|user| user.parse().unwrap()), at.parse().unwrap());
        assert_eq!(of(Some("users/anna"), "192.0.2.1"), of(Some("users/anna"), "192.0.2.2"));
        assert_ne!(of(Some("users/anna"), "192.0.2.1"), of(Some("users/bert"), "192.0.2.1"));
        assert_eq!(of(None, "192.0.2.1"), address("192.0.2.1"));
        assert_eq!(of(Some("users/anna"), "192.0.2.1").to_string(), "users/anna");
    }
}
