//! What the tests of several packages stand on.

pub mod issuer;
pub mod up;

pub use issuer::Issuer;
pub use up::Up;
