//! What the tests of several packages stand on.

pub mod issuer;
pub mod redis;
pub mod up;

pub use issuer::Issuer;
pub use redis::Redis;
pub use up::Up;
