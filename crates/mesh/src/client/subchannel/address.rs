//! Where a connection leads.

use std::fmt;

use http::uri::Authority;

use crate::client::endpoint::Address;

/// An address, with the name of the server there if it has one of its own: one subchannel may have the addresses of several
/// servers (pick_first).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// Where it listens.
    pub address: Address,
    /// What its certificate must hold and calls to it name, where that is not the target's.
    pub authority: Option<Authority>,
}

impl From<Address> for ServerAddress {
    /// A server that is named as the target.
    fn from(address: Address) -> Self {
        Self { address, authority: None }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
