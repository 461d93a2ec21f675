//! The route of a method.

use crate::app::App;
use crate::domain::Route;

impl App {
    /// The route of the method at `path`, `/package.Service/Method`; `None` when no service has it.
    pub fn find_route(&self, path: &str) -> Option<Route> {
        self.routes.find(path)
    }
}
