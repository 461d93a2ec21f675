//! The addresses of one server, each with its own backoff, and the pass over them (gRFC A61, happy eyeballs).

use tokio::time::Instant;

use super::address::ServerAddress;
use super::dial::DialGuard;
use super::failures::Failures;
use crate::client::endpoint::Address;

/// One address.
#[derive(Debug)]
pub(super) struct Slot {
    pub address: ServerAddress,
    pub failures: Failures,
    pub at: At,
    /// Whether it failed, or was skipped, in this pass.
    pub failed: bool,
    /// What went wrong last.
    pub reason: Option<String>,
}

#[derive(Debug)]
pub(super) enum At {
    /// May be tried.
    Idle,
    /// Is being tried.
    Dialing(DialGuard),
    /// Must not be tried before.
    Waiting(Instant),
}

impl Slot {
    pub(super) fn new(address: ServerAddress) -> Self {
        Self { address, failures: Failures::default(), at: At::Idle, failed: false, reason: None }
    }

    /// Whether its backoff ended, or it has none.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.at {
            At::Idle => true,
            At::Dialing(_) => false,
            At::Waiting(until) => until <= now,
        }
    }
}

/// Where the first pass over the addresses is.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The address that comes next.
    pub next: usize,
    /// When it comes even if the one before has not failed.
    pub timer: Option<Instant>,
}

/// The family of an address; families take turns.
fn family(address: &Address) -> u8 {
    match address {
        Address::Tcp(address) if address.is_ipv6() => 6,
        Address::Tcp(_) => 4,
        Address::Unix(_) => 1,
        Address::Named(_) => 0,
    }
}

/// The addresses without doubles, families by turns, beginning with the family of the first (RFC 8305 §4, gRFC A61).
pub(super) fn interleave(addresses: Vec<ServerAddress>) -> Vec<ServerAddress> {
    let mut families: Vec<(u8, std::collections::VecDeque<ServerAddress>)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for address in addresses {
        if !seen.insert(address.clone()) {
            continue;
        }
        let of = family(&address.address);
        match families.iter_mut().find(|(family, _)| *family == of) {
            Some((_, list)) => list.push_back(address),
            None => families.push((of, [address].into())),
        }
    }
    let mut mixed = Vec::with_capacity(seen.len());
    while mixed.len() < seen.len() {
        mixed.extend(families.iter_mut().filter_map(|(_, list)| list.pop_front()));
    }
    mixed
}
