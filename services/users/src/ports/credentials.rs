//! What is kept outside of the stores: credentials of first accounts, and the keys of addresses.

use async_trait::async_trait;
use meshwork_chassis::config::Credentials;

use crate::domain::FirstAccount;

/// The credentials of an account can't be read or written. The sentence names the place and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(pub String);

/// Keyed hashes of addresses, by which those of erased accounts stay taken. They are the same for ever, under the same keys.
pub trait AddressHasher: Send + Sync + 'static {
    /// The hash of an address's key, under the key that new hashes are made with.
    fn digest(&self, key: &str) -> [u8; 32];

    /// The hashes of an address's key under all keys that are still there.
    fn digests(&self, key: &str) -> Vec<[u8; 32]>;
}

/// Where the credentials of first accounts are filed for those who will use them.
#[async_trait]
pub trait CredentialsFile: Send + Sync + 'static {
    /// The credentials of an account. Those that are filed already are returned; else new ones, with a password that
    /// nobody can guess, are on the disk when this returns.
    ///
    /// # Errors
    /// When they can't be read or written.
    async fn obtain(&self, account: &FirstAccount) -> Result<Credentials, CredentialsError>;
}
