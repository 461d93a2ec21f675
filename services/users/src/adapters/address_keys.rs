//! The keys under which erased addresses stay taken.
//!
//! They come from the file `address-key` in the service's folder, if there is one, and from the signing keys beside it. Addresses
//! are erased under the first of them, and looked for under all: so an address stays taken for as long as the key of its time is
//! there. Who means to withdraw signing keys puts a file of at least 32 random bytes there before accounts are erased, such as by
//! `openssl rand -out address-key 32`, the same at all instances.

use std::io;
use std::path::{Path, PathBuf};

use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::signing_key::{self, KeyError};
use crate::ports::AddressHasher;

/// The file with a key of their own.
const FILE: &str = "address-key";
/// The fewest bytes of that.
const MIN: usize = 32;
/// What keys are derived for. It never changes: addresses would be free again.
const PURPOSE: &[u8] = b"meshwork users erased addresses 1";

/// The keys for addresses can't be had.
#[derive(Debug, thiserror::Error)]
pub enum AddressKeyError {
    /// The file can't be read.
    #[error("can't read the key for erased addresses {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has too few bytes.
    #[error("the key for erased addresses {0} has fewer than {MIN} bytes")]
    Short(PathBuf),
    /// The signing keys can't be had.
    #[error(transparent)]
    Signing(#[from] KeyError),
    /// HMAC takes keys of any length, so that this would be a defect.
    #[error("a key for erased addresses can't be used: {0}")]
    Length(#[from] InvalidLength),
}

/// HMAC-SHA-256 under the keys of a folder.
pub struct AddressKeys {
    first: Hmac<Sha256>,
    others: Vec<Hmac<Sha256>>,
}

impl AddressKeys {
    /// The keys of `folder`; a signing key is made when there is none.
    ///
    /// # Errors
    /// When a file can't be read or written, or holds something else.
    pub fn load(folder: &Path) -> Result<Self, AddressKeyError> {
        let path = folder.join(FILE);
        let own = match std::fs::read(&path) {
            Ok(key) if key.len() < MIN => return Err(AddressKeyError::Short(path)),
            Ok(key) => Some(key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(AddressKeyError::File { path, source }),
        };
        let signing = signing_key::load_or_create(folder)?;
        let current = derived(&signing.current.to_bytes())?;
        let mut others = signing.retired.iter().map(|key| derived(&key.to_bytes())).collect::<Result<Vec<_>, _>>()?;
        let first = match own {
            Some(key) => {
                others.insert(0, current);
                derived(&key)?
            }
            None => current,
        };
        Ok(Self { first, others })
    }
}

/// The function under the key that a secret gives for this purpose.
fn derived(secret: &[u8]) -> Result<Hmac<Sha256>, InvalidLength> {
    let key = hash(&Hmac::new_from_slice(secret)?, PURPOSE);
    Hmac::new_from_slice(&key)
}

fn hash(function: &Hmac<Sha256>, text: &[u8]) -> [u8; 32] {
    let mut function = function.clone();
    function.update(text);
    function.finalize().into_bytes().into()
}

impl AddressHasher for AddressKeys {
    fn digest(&self, key: &str) -> [u8; 32] {
        hash(&self.first, key.as_bytes())
    }

    fn digests(&self, key: &str) -> Vec<[u8; 32]> {
        std::iter::once(&self.first).chain(&self.others).map(|function| hash(function, key.as_bytes())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d4_an_erased_address_is_found_under_every_key_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let first = AddressKeys::load(folder.path()).unwrap().digest("anna@example.com");
        let again = AddressKeys::load(folder.path()).unwrap();
        assert_eq!(again.digest("anna@example.com"), first);
        assert_ne!(again.digest("bert@example.com"), first);
        let other = AddressKeys::load(tempfile::tempdir().unwrap().path()).unwrap();
        assert_ne!(other.digest("anna@example.com"), first);

        std::fs::write(folder.path().join(FILE), [7_u8; MIN]).unwrap();
        let own = AddressKeys::load(folder.path()).unwrap();
        assert_ne!(own.digest("anna@example.com"), first);
        assert_eq!(own.digests("anna@example.com"), [own.digest("anna@example.com"), first]);
        std::fs::write(folder.path().join(FILE), [7_u8; MIN - 1]).unwrap();
        assert!(matches!(AddressKeys::load(folder.path()), Err(AddressKeyError::Short(_))));
    }
}
