//! What meets the world.

mod access;
mod client;
mod codes;
mod contracts;
mod errors;
mod exchange;
mod forwarding;
mod health;
mod http;
mod reflection;
mod routes;
mod routes_file;
mod upstreams;

pub use access::AccessLog;
pub use contracts::BuiltIn;
pub use errors::{DOMAIN, TABLE};
pub use exchange::Exchange;
pub use forwarding::{Edge, Gate};
pub use health::HealthMirror;
pub use routes::ServiceRoutes;
pub use routes_file::RoutesFile;
pub use upstreams::UpstreamChannels;
