//! What meets the world.

mod access;
mod convert;
mod credentials;
pub mod errors;
mod events;
pub mod grpc;
mod passwords;
mod private_file;
mod signing_key;
mod sqlite;
mod tokens;

pub use credentials::CredentialsFolder;
pub use passwords::{Argon2id, BoundedHasher, HashFunction};
pub use private_file::create_folder as create_private_folder;
pub use signing_key::{KeyError, SigningKeys, load_or_create as load_signing_keys};
pub use sqlite::{COMPONENTS, SOURCE, SqliteStore};
pub use tokens::{Ed25519Issuer, LocalKeys};
