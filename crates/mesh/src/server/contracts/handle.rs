//! The contracts that servers offer at the moment.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::checked::CheckedSet;
use super::offer::{Offer, PreparedOffer};
use super::set::ContractSet;
use crate::server::error::ServerError;
use crate::server::plan::CurrentPlans;

/// Contracts that servers offer beyond what they were built with, and that change while they run; see
/// [`Builder::contracts`](crate::server::Builder::contracts). There are none until some are set. Clones are the same.
///
/// ```
/// use meshwork::server::{ContractSet, Contracts};
///
/// let contracts = Contracts::new();
/// let wrong = ContractSet { descriptors: vec![b"nonsense".to_vec()], ..ContractSet::default() };
/// assert!(contracts.set(wrong).unwrap_err().to_string().contains("descriptors[0]"));
/// ```
#[derive(Clone, Default)]
pub struct Contracts(Arc<Mutex<OfferState>>);

/// What is offered, and by whom.
#[derive(Default)]
struct OfferState {
    set: CheckedSet,
    servers: Vec<Weak<Offer>>,
}

impl Contracts {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all that was set, for the calls and the streams of reflection that begin from then on; the others go on as they
    /// began. All servers that offer these contracts change, or none of them.
    ///
    /// The descriptors are read and all plans are made while it is called, which takes some milliseconds for a thousand methods.
    ///
    /// # Errors
    /// When the descriptors can't be read, hold more than a [`ContractSet`] may, or contradict each other or those that a server
    /// was built with: two files of one name that don't say the same, or a service in two files that isn't the same in both.
    /// The error names the file, and what was offered before is offered still. Of protobuf's own files (`google/protobuf/…`) the
    /// first counts; comments and where in its source something stands make no difference.
    pub fn set(&self, contracts: ContractSet) -> Result<(), ServerError> {
        let set = CheckedSet::read(contracts).map_err(ServerError::Contracts)?;
        let mut offered = self.offered();
        let servers: Vec<_> = offered.servers.iter().filter_map(Weak::upgrade).collect();
        let made = servers.iter().map(|server| server.make(&set)).collect::<Result<Vec<_>, _>>()?;
        for (server, made) in servers.iter().zip(made) {
            server.change(made);
        }
        offered.servers = servers.iter().map(Arc::downgrade).collect();
        offered.set = set;
        Ok(())
    }

    /// Has `offer` follow from now on, as long as it is there; the plans of its server.
    ///
    /// # Errors
    /// When what is set can't be offered beside what the server was built with.
    pub(in crate::server) fn follow(&self, offer: &Arc<Offer>) -> Result<CurrentPlans, ServerError> {
        let mut offered = self.offered();
        let PreparedOffer { plans, reflection } = offer.make(&offered.set)?;
        offer.show(reflection);
        offered.servers.push(Arc::downgrade(offer));
        Ok(CurrentPlans::changing(plans, offer.plans()))
    }

    fn offered(&self) -> MutexGuard<'_, OfferState> {
        // Nothing is changed before all is made: a panic leaves what there was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Contracts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offered = self.offered();
        let methods = offered.set.methods.paths().count();
        f.debug_struct("Contracts").field("methods", &methods).field("servers", &offered.servers.len()).finish()
    }
}
