//! Certificates, keys and roots, as both ends of a connection use them: read, checked, and read again when they change.

mod error;
mod material;
mod reload;
mod source;

pub(crate) use self::error::HandshakeError;
pub use self::error::TlsError;
pub(crate) use self::material::{HTTP_2, Material, Side, provider};
pub(crate) use self::reload::Reload;
pub(crate) use self::source::{Pem, Sources};
