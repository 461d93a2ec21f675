//! What meets the world.

mod body;
mod contracts;
mod errors;
mod health;
mod proxy;

pub use contracts::BuiltIn;
pub use errors::{DOMAIN, TABLE};
pub use health::Mirror;
pub use proxy::{Channels, Proxy};
