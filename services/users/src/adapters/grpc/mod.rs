//! The gRPC services.

mod auth;
mod keys;
mod named;
mod users;

pub use auth::AuthGrpc;
pub use keys::ApiKeyGrpc;
pub use users::UserGrpc;
