//! What changes the routes.

mod learn_contracts;
mod load_routes;

pub use load_routes::Loaded;
