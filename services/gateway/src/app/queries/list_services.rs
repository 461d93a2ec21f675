//! The services behind the gateway.

use crate::app::App;
use crate::domain::Upstream;

impl App {
    /// The full names of the services, each with where it is, in order of their names.
    pub fn list_services(&self) -> Vec<(String, Upstream)> {
        self.routes.services().map(|(name, upstream)| (name.to_owned(), upstream)).collect()
    }
}
