//! What meets the world.

mod access;
mod address_keys;
mod attempts;
pub mod cached;
mod convert;
mod credentials;
mod embedded;
pub mod errors;
mod events;
pub mod grpc;
pub mod handover;
mod issuers;
mod origin;
mod passwords;
mod private_file;
pub mod scopes;
pub mod sharded;
mod signing_key;
pub mod store;
pub mod stores;
mod tokens;
mod turns;

pub use address_keys::{AddressKeyError, AddressKeys};
pub use attempts::RateLimitedAttempts;
pub use credentials::CredentialsFolder;
pub use issuers::Issuers;
pub use passwords::{Argon2id, BoundedHasher, HashFunction, HashLimits};
pub use private_file::create_folder as create_private_folder;
pub use signing_key::{KeyError, SigningKeys, load_or_create as load_signing_keys};
pub use tokens::{Ed25519Issuer, LocalKeys};
