//! What meets the world.

mod access;
mod client;
mod codes;
mod contracts;
mod errors;
mod exchange;
mod health;
mod http;
mod routes;

pub use self::http::{Front, FrontParts};
pub use access::AccessLog;
pub use client::Clients;
pub use contracts::BuiltIn;
pub use errors::{DOMAIN, TABLE};
pub use exchange::Exchange;
pub use health::Mirror;
pub use routes::{Channels, ServiceRoutes};
