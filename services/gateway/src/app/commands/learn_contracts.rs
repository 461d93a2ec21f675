//! An upstream has told its contracts.

use crate::app::{App, Learned};
use crate::domain::{InvalidRoutes, UpstreamName};
use crate::ports::Descriptors;

impl App {
    /// Takes what `upstream` has told of its contracts, at `target`; what is known already, and what nobody has asked for any
    /// more, changes nothing.
    ///
    /// # Errors
    /// When the contracts can't be used; those before hold on then.
    pub async fn learn_contracts(
        &self,
        upstream: UpstreamName,
        target: String,
        descriptors: Descriptors,
    ) -> Result<(), InvalidRoutes> {
        let mut state = self.state.lock().await;
        let settings = state.configured.settings.upstreams.get(&upstream);
        if !settings.is_some_and(|settings| settings.learns() && settings.target == target) {
            return Ok(());
        }
        if state.learned.get(&upstream).is_some_and(|learned| learned.descriptors == descriptors) {
            return Ok(());
        }
        let mut new = state.clone();
        new.learned.insert(upstream.clone(), Learned { target, descriptors });
        let applied = self.apply(&new).await;
        if applied.is_ok() {
            *state = new;
        }
        self.note(Some(upstream), applied.clone().err());
        applied
    }
}
