//! What meets the world.

mod body;
mod buckets;
mod contracts;
mod errors;
mod health;
mod limit;
mod proxy;

pub use buckets::{InvalidRate, RateLimits};
pub use contracts::routes;
pub use errors::{DOMAIN, TABLE};
pub use health::mirror;
pub use limit::{ClientLimit, RefusalLimit};
pub use proxy::{Channels, ProxyLayer};
