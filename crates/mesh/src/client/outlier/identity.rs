//! How outlier detection tells endpoints apart.

use std::sync::Arc;

use crate::client::endpoint::Address;

/// What an endpoint is known by: the set of its addresses, sorted.
pub type Key = Arc<[Address]>;

/// The key of an endpoint with these addresses, in any order.
pub fn key(addresses: &[Address]) -> Key {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    addresses.dedup();
    addresses.into()
}
