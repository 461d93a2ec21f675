//! What one server offers: what it was built with, and beside that the contracts of the moment.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::checked::{CheckedSet, Files};
use crate::server::error::ServerError;
use crate::server::plan::{AddedContracts, LaterPlans, MethodCounts, PlanInputs, Plans};
use crate::server::reflection::{self, OWN_SETS};
use crate::server::router::Router;

/// What a server was built with, and where its plans and reflection services are that change.
pub(in crate::server) struct Offer {
    inputs: PlanInputs,
    /// The services that reflection names.
    shown: Vec<String>,
    files: Files,
    counts: MethodCounts,
    plans: Arc<LaterPlans>,
    /// `None`: there is no reflection.
    reflection: Option<Arc<ArcSwap<Router>>>,
}

/// All that an offer is made of, ready to take the place of what there was.
pub(super) struct PreparedOffer {
    pub plans: Plans,
    pub reflection: Option<Router>,
}

impl Offer {
    /// Of a server that was built with `inputs` and names `shown` by its services of `reflection`.
    ///
    /// # Errors
    /// When its descriptors can't be read.
    pub(in crate::server) fn new(
        inputs: PlanInputs,
        shown: Vec<String>,
        reflection: Option<Arc<ArcSwap<Router>>>,
    ) -> Result<Self, ServerError> {
        let sets = OWN_SETS.into_iter().chain(inputs.sets.iter().map(Vec::as_slice));
        let files = Files::decode(sets).map_err(ServerError::Descriptors)?;
        Ok(Self { inputs, shown, files, counts: MethodCounts::default(), plans: Arc::default(), reflection })
    }

    /// Where the plans are that take the place of the first ones.
    pub(super) fn plans(&self) -> Arc<LaterPlans> {
        Arc::clone(&self.plans)
    }

    /// Makes what is offered with `set`. Nothing changes by that.
    ///
    /// # Errors
    /// When `set` contradicts what the server was built with, or that itself can't be offered.
    pub(super) fn make(&self, set: &CheckedSet) -> Result<PreparedOffer, ServerError> {
        let added = set.beside(&self.files).map_err(ServerError::Contracts)?;
        let contracts = AddedContracts { methods: &set.methods, access: &set.access };
        let plans = Plans::build(&self.inputs, Some(contracts), &self.counts)?;
        let reflection = self.reflection.as_ref().map(|_| {
            let (mut services, shown) = (Router::default(), self.shown.iter().chain(&set.shown).map(String::as_str));
            let made = reflection::add(&mut services, &self.inputs.sets, Some(&added), shown);
            made.map(|()| services).map_err(ServerError::Reflection)
        });
        Ok(PreparedOffer { plans, reflection: reflection.transpose()? })
    }

    /// Offers `made`. What reflection shows can be called by then.
    pub(super) fn change(&self, made: PreparedOffer) {
        self.plans.store(Some(Arc::new(made.plans)));
        self.show(made.reflection);
    }

    /// Has reflection show what was made for it.
    pub(super) fn show(&self, services: Option<Router>) {
        if let (Some(current), Some(services)) = (&self.reflection, services) {
            current.store(Arc::new(services));
        }
    }
}
