//! What changes the routes: a file per use case. That calls go by them is the proxy's work.

pub mod commands;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::domain::{InvalidRoutes, Offer, RouteTable, UpstreamName};
use crate::ports::{Configured, Contracts, Forwarding, LearnedContracts, RouteSource, Routing};

/// The use cases, over the ports that they need. Clones share them.
#[derive(Clone)]
pub struct App {
    source: Arc<dyn RouteSource>,
    contracts: Arc<dyn Contracts>,
    forwarding: Arc<dyn Forwarding>,
    /// One change at a time.
    state: Arc<Mutex<State>>,
    /// What stands in the way of being as the configuration says: of the configuration as a whole, or of an upstream's.
    problems: watch::Sender<BTreeMap<Option<UpstreamName>, InvalidRoutes>>,
}

/// What calls go by, and contracts that have been told and can't be used.
#[derive(Clone, Default)]
struct State {
    configured: Arc<Configured>,
    learned: BTreeMap<UpstreamName, LearnedContracts>,
    /// They may fit another configuration.
    refused: BTreeMap<UpstreamName, LearnedContracts>,
}

impl App {
    /// The use cases over these ports.
    pub fn new(source: Arc<dyn RouteSource>, contracts: Arc<dyn Contracts>, forwarding: Arc<dyn Forwarding>) -> Self {
        Self { source, contracts, forwarding, state: Arc::default(), problems: watch::Sender::default() }
    }

    /// Why calls don't go as the configuration says; `None` when they do.
    pub fn problem(&self) -> Option<InvalidRoutes> {
        self.problems.borrow().values().next().cloned()
    }

    /// Notes whether there is a problem with the configuration, or with an upstream.
    fn note(&self, of: Option<UpstreamName>, problem: Option<InvalidRoutes>) {
        self.problems.send_modify(|problems| match problem {
            Some(problem) => drop(problems.insert(of, problem)),
            None => drop(problems.remove(&of)),
        });
    }

    /// Has calls go by `state`.
    async fn apply(&self, state: &State) -> Result<(), InvalidRoutes> {
        let (configured, contracts) = (Arc::clone(&state.configured), Arc::clone(&self.contracts));
        let mut descriptors = configured.descriptors.clone();
        let learned = state.learned.iter();
        descriptors.extend(learned.map(|(upstream, learned)| (upstream.clone(), Arc::clone(&learned.descriptors))));
        // They may be large.
        let planned = tokio::task::spawn_blocking(move || -> Result<Routing, InvalidRoutes> {
            let described = contracts.read(&descriptors)?;
            let mut offers = Vec::new();
            for (upstream, settings) in &configured.settings.upstreams {
                let known = described.services.get(upstream);
                let unknown = known.map(|known| Offer::unknown(settings, known)).unwrap_or_default();
                if let Some((key, name)) = unknown.first().filter(|_| settings.learns()) {
                    let others = unknown.len() - 1;
                    let service = name.split_once('/').map_or(*name, |(service, _)| service);
                    match described.hidden.get(upstream).and_then(|hidden| hidden.get(service)) {
                        Some(file) => tracing::warn!(
                            %upstream, key, name, file, others,
                            "the upstream tells of it in a file whose name one of the gateway's has: give that another name"
                        ),
                        None => {
                            tracing::warn!(%upstream, key, name, others, "routes name what the upstream has not told of");
                        }
                    }
                }
                offers.push(Offer::new(upstream, settings, known)?);
            }
            let table = RouteTable::new(contracts.methods(), &contracts.reserved(), &configured.settings, offers)?;
            let settings = Arc::new(configured.settings.clone());
            Ok(Routing { table: Arc::new(table), settings, files: described.files })
        });
        let planned = planned.await.map_err(|error| InvalidRoutes::new("routes", format!("can't be read: {error}")))?;
        self.forwarding.apply(planned?).await
    }
}
