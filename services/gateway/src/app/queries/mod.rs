//! What tells where calls go.

mod find_route;
mod list_services;
