//! What the use cases need of the world.

use crate::domain::Method;

/// The contracts of the services behind the gateway.
pub trait Contracts {
    /// All methods of all services, but those that only services may call.
    fn methods(&self) -> Vec<Method>;
}
