//! The gRPC services.

mod auth;
mod users;

pub use auth::AuthGrpc;
pub use users::UserGrpc;
