//! The setting by which the contracts of a server change while it runs.

use super::handle::Contracts;
use crate::server::builder::Builder;

impl<L> Builder<L> {
    /// Offers `contracts` beside what the server is built with: access of methods, what they stream and what reflection shows of
    /// them follow [`Contracts::set`] without a restart. They are for methods that a [`fallback`](Builder::fallback) answers, such
    /// as those of servers behind a gateway.
    ///
    /// What the server is built with goes before them. They say nothing of a service that was added or that
    /// [`descriptors`](Builder::descriptors) of the builder have, nor of health and reflection; and a method that the
    /// [access table](Builder::access) of the builder names admits whom that says. All else is under the table of the contracts,
    /// also where the builder has none: a method that they describe and don't name is refused, and so is what the fallback has
    /// and neither table names. [Settings of methods](Builder::method_settings), limits of rates and of calls in flight hold for
    /// them as for others; what is in flight and what was counted goes on counting when contracts change.
    ///
    /// [`Health`](crate::server::health::Health) knows none of the services that are shown, as it knows none of
    /// [`show`](Builder::show): who wants to be asked for one registers it there. Reflection is there without descriptors of the
    /// builder as well, unless it is [off](Builder::reflection).
    ///
    /// ```
    /// use meshwork::Server;
    /// use meshwork::server::auth::{Access, AccessTable};
    /// use meshwork::server::{ContractSet, Contracts, StreamingMethods};
    ///
    /// let contracts = Contracts::new();
    /// let server = Server::builder().access(AccessTable::new()).contracts(contracts.clone());
    ///
    /// // While it runs, another service comes: every method of it is for those whose credentials were verified.
    /// # let set = Vec::new();
    /// let methods = StreamingMethods::decode(&set)?;
    /// let access = methods.paths().fold(AccessTable::new(), |table, path| table.method(path, Access::Authenticated));
    /// contracts.set(ContractSet { descriptors: vec![set], access, shown: vec!["shop.v1.Returns".into()] })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contracts(mut self, contracts: Contracts) -> Self {
        self.settings.contracts = Some(contracts);
        self
    }
}
