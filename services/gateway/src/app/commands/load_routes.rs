//! The routes of the configuration take effect.

use std::sync::Arc;

use crate::app::{App, State};
use crate::domain::{InvalidRoutes, UpstreamName};
use crate::ports::LearnedContracts;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The configuration says what it said before.
    Unchanged,
    /// Calls go by what it says now.
    Replaced {
        /// How many upstreams it adds.
        upstreams: usize,
        /// How many routes it has.
        routes: usize,
    },
}

impl App {
    /// Has calls go by the routes of the configuration, if those have changed.
    ///
    /// # Errors
    /// When they can't be used, once for each change; calls go as before then.
    pub async fn load_routes(&self) -> Result<Loaded, InvalidRoutes> {
        let mut state = self.state.lock().await;
        let Some(configured) = self.source.changed().await else { return Ok(Loaded::Unchanged) };
        let loaded = match configured {
            Ok(configured) => {
                let mut new = State { configured: Arc::new(configured), ..state.clone() };
                let settings = &new.configured.settings;
                // Another server may have other contracts.
                let is_asked =
                    |upstream: &UpstreamName, told: &mut LearnedContracts| settings.asks(upstream, &told.target);
                new.learned.retain(is_asked);
                new.refused.retain(is_asked);
                match self.apply(&new).await {
                    Ok(()) => Ok(new),
                    Err(problem) => Err(standing_at(&new.configured.origin, problem)),
                }
            }
            Err(problem) => Err(problem),
        };
        match loaded {
            Ok(new) => {
                *state = new;
                let refused = state.refused.clone();
                self.problems.send_modify(|problems| {
                    problems.retain(|of, _| of.as_ref().is_some_and(|of| refused.contains_key(of)));
                });
                for contracts in refused.into_values() {
                    // Where they still don't fit, that stays noted.
                    let _ = self.learn(&mut state, contracts).await;
                }
                let settings = &state.configured.settings;
                Ok(Loaded::Replaced { upstreams: settings.upstreams.len(), routes: settings.rules.len() })
            }
            Err(problem) => {
                self.note(None, Some(problem.clone()));
                Err(problem)
            }
        }
    }
}

/// A problem with what stands at `origin`.
fn standing_at(origin: &str, problem: InvalidRoutes) -> InvalidRoutes {
    if origin.is_empty() {
        return problem;
    }
    InvalidRoutes { key: format!("{origin}: {}", problem.key), ..problem }
}
