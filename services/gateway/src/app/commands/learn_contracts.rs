//! An upstream has told its contracts.

use crate::app::{App, State};
use crate::domain::{InvalidRoutes, UpstreamName};
use crate::ports::LearnedContracts;

impl App {
    /// Takes what an upstream has told of its contracts; what is known already, and what nobody has asked for any more, changes
    /// nothing.
    ///
    /// # Errors
    /// When the contracts can't be used: those before hold on then, and these are tried again when the configuration changes.
    pub async fn learn_contracts(&self, contracts: LearnedContracts) -> Result<(), InvalidRoutes> {
        let mut state = self.state.lock().await;
        self.learn(&mut state, contracts).await
    }

    /// As [`App::learn_contracts`], as a part of a change.
    pub(super) async fn learn(&self, state: &mut State, contracts: LearnedContracts) -> Result<(), InvalidRoutes> {
        let LearnedContracts { upstream, target, .. } = contracts.clone();
        if !state.configured.settings.asks(&upstream, &target) {
            return Ok(());
        }
        if state.learned.get(&upstream) == Some(&contracts) {
            // It may have told others in between, which were refused.
            state.refused.remove(&upstream);
            self.note(Some(upstream), None);
            return Ok(());
        }
        let mut new = state.clone();
        new.refused.remove(&upstream);
        new.learned.insert(upstream.clone(), contracts.clone());
        let applied = self.apply(&new).await.map_err(|problem| of_upstream(&upstream, problem));
        if applied.is_ok() {
            *state = new;
        } else {
            state.refused.insert(upstream.clone(), contracts);
        }
        self.note(Some(upstream), applied.clone().err());
        applied
    }
}

/// A problem that came with the contracts of `upstream`, by its name.
fn of_upstream(upstream: &UpstreamName, problem: InvalidRoutes) -> InvalidRoutes {
    let own = format!("upstreams.{upstream}");
    let is_named = problem.key.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if is_named { problem } else { InvalidRoutes::new(own, format!("can't be offered: {problem}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_with_contracts_names_whose_they_are() {
        let weather = UpstreamName::new("weather").unwrap();
        let told = |key: &str| of_upstream(&weather, InvalidRoutes::new(key, "is wrong")).to_string();
        assert_eq!(told("upstreams.weather"), "upstreams.weather is wrong");
        assert_eq!(told("upstreams.weather.access"), "upstreams.weather.access is wrong");
        for other in ["upstreams", "upstreams.weather-next", "routes[0].to"] {
            assert_eq!(told(other), format!("upstreams.weather can't be offered: {other} is wrong"));
        }
    }
}
