//! What meets the world.

mod contracts;
mod errors;
mod forwarding;
mod health;
mod http;
mod reflection;
mod routes;
mod routes_file;
mod upstreams;

pub use self::http::Front;
pub use contracts::BuiltIn;
pub use errors::{DOMAIN, TABLE};
pub use forwarding::Gate;
pub use health::Mirror;
pub use reflection::Learned;
pub use routes::ServiceRoutes;
pub use routes_file::RoutesFile;
pub use upstreams::UpstreamChannels;
