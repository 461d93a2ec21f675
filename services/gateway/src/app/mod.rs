//! What the gateway does with a call: a file per use case. It changes nothing itself, so that all of them are queries.

pub mod queries;

use std::sync::Arc;

use crate::domain::RouteTable;
use crate::ports::Contracts;

/// The use cases, over the ports that they need. Clones share them.
#[derive(Clone)]
pub struct App {
    routes: Arc<RouteTable>,
}

impl App {
    /// The use cases over the routes of `contracts`.
    pub fn new(contracts: &dyn Contracts) -> Self {
        Self { routes: Arc::new(RouteTable::new(contracts.methods())) }
    }
}
