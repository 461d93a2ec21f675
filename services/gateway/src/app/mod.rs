//! What the gateway does with a call: a file per use case, commands and queries apart.

pub mod commands;
pub mod queries;

use std::sync::Arc;

use crate::domain::RouteTable;
use crate::ports::CallLimits;

/// The use cases, over the ports that they need. Clones share them.
#[derive(Clone)]
pub struct App {
    routes: Arc<RouteTable>,
    limits: Arc<dyn CallLimits>,
}

impl App {
    /// The use cases over these routes and limits.
    pub fn new(routes: RouteTable, limits: Arc<dyn CallLimits>) -> Self {
        Self { routes: Arc::new(routes), limits }
    }
}
