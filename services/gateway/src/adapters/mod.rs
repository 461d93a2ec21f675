//! What meets the world.

mod contracts;
mod errors;
mod health;
mod http;
mod routes;

pub use self::http::{Front, FrontParts};
pub use contracts::BuiltIn;
pub use errors::{DOMAIN, TABLE};
pub use health::Mirror;
pub use routes::{Channels, ServiceRoutes};
