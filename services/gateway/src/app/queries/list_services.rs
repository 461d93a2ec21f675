//! The services behind the gateway.

use crate::app::App;
use crate::domain::Upstream;

impl App {
    /// The full names of the services, each with the upstreams that have it, in order of their names.
    pub fn list_services(&self) -> Vec<(String, &'static [Upstream])> {
        self.routes.services().map(|(name, upstreams)| (name.to_owned(), upstreams)).collect()
    }
}
