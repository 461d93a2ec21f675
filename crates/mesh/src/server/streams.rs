//! The budget of streams: apart from calls, and per caller before it is shared.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use http::Request;
use tonic::{Code, Status};

use super::peer::Network;
use super::{Domain, Peer};
use crate::server::auth::Principal;

/// How many streams may be open at once on a server; 0: no limit of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Of all callers together, beside 4 of each, which nobody can take from it; 2048.
    pub total: usize,
    /// Of one principal; 64.
    pub per_principal: usize,
    /// Of callers without a principal at one address; 0. Where callers are known, those who aren't get no more than one who
    /// is; where nobody is, this is the limit of a whole client.
    pub per_stranger: usize,
    /// Of one address (of IPv6, one /64), whoever they belong to; 0. On a port that everybody may reach it bounds what one
    /// machine gets with many accounts; behind a proxy all callers have the proxy's address.
    pub per_address: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { total: 2048, per_principal: 64, per_stranger: 0, per_address: 0 }
    }
}

/// What each caller, a principal or the strangers at one address, may have whatever others do.
const OWN: usize = 4;

/// The streams that are open. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct StreamBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limits: StreamLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Those that callers have above [`OWN`].
    shared: usize,
    principals: HashMap<Box<str>, usize, RandomState>,
    addresses: HashMap<Network, usize, RandomState>,
    /// Those of the addresses that belong to no principal.
    strangers: HashMap<Network, usize, RandomState>,
}

impl StreamBudget {
    /// A budget of which nothing is used.
    pub fn new(limits: StreamLimits) -> Self {
        Self(Arc::new(Budget { limits, open: Mutex::default() }))
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.0.lock().total
    }

    /// A place for the stream that `request` asks for.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with the limit that is reached. It speaks against no server, so that no client's circuit breaker
    /// opens for it.
    pub(super) fn acquire<A>(&self, request: &Request<A>, domain: Domain) -> Result<StreamPlace, Status> {
        let limits = &self.0.limits;
        let address = request.extensions().get::<Peer>().and_then(Peer::network_key);
        let principal = request.extensions().get::<Principal>().map(Principal::subject);
        let mut open = self.0.lock();
        let count = |limit: usize, now: usize| limit != 0 && now >= limit;
        let of = |map: &HashMap<Network, usize, RandomState>| {
            address.and_then(|address| map.get(&address)).copied().unwrap_or(0)
        };
        if count(limits.per_address, of(&open.addresses)) {
            return Err(too_many(domain, "address", "this address", limits.per_address));
        }
        let (limit, own) = match principal {
            Some(principal) => (limits.per_principal, open.principals.get(principal).copied().unwrap_or(0)),
            None => (limits.per_stranger, of(&open.strangers)),
        };
        if count(limit, own) {
            return Err(too_many(domain, "caller", "this caller", limit));
        }
        // Who has no address and no name has nothing of its own.
        let known = principal.is_some() || address.is_some();
        let shared = !known || own >= OWN;
        if shared && count(limits.total, open.shared) {
            return Err(too_many(domain, "server", "all callers of this server", limits.total));
        }
        open.total += 1;
        open.shared += usize::from(shared);
        if let Some(principal) = principal {
            *open.principals.entry(principal.into()).or_default() += 1;
        }
        if let Some(address) = address {
            *open.addresses.entry(address).or_default() += 1;
            if principal.is_none() {
                *open.strangers.entry(address).or_default() += 1;
            }
        }
        Ok(StreamPlace { budget: Arc::clone(&self.0), principal: principal.map(Into::into), address })
    }
}

fn too_many(domain: Domain, scope: &str, of: &str, limit: usize) -> Status {
    let limit = limit.to_string();
    let message = format!("there are {limit} open streams of {of}, as many as may be; end one, and open another then");
    domain.refuse(Code::ResourceExhausted, "TOO_MANY_STREAMS", message, &[("scope", scope), ("limit", &limit)])
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // No count is left half changed by a panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one stream; dropped at its end, it is free again.
#[derive(Debug)]
pub(super) struct StreamPlace {
    budget: Arc<Budget>,
    principal: Option<Box<str>>,
    address: Option<Network>,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.budget.lock();
        open.total -= 1;
        let principal = self.principal.take();
        let mut before = None;
        if let Some(address) = self.address {
            release(&mut open.addresses, address);
            if principal.is_none() {
                before = Some(release(&mut open.strangers, address));
            }
        }
        if let Some(principal) = principal {
            before = Some(release(&mut open.principals, principal));
        }
        open.shared -= usize::from(before.is_none_or(|before| before > OWN));
    }
}

/// Takes one away, and gives how many there were. Who has none left is forgotten.
fn release<K: Eq + Hash>(counts: &mut HashMap<K, usize, RandomState>, key: K) -> usize {
    let Entry::Occupied(mut count) = counts.entry(key) else { return 0 };
    let before = *count.get();
    if before > 1 {
        *count.get_mut() -= 1;
    } else {
        count.remove();
    }
    before
}
