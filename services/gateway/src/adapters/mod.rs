//! What meets the world.

mod contracts;
mod errors;
mod health;
mod routes;

pub use contracts::BuiltIn;
pub use errors::{DOMAIN, TABLE};
pub use health::Mirror;
pub use routes::{Channels, ServiceRoutes};
