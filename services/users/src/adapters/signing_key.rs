//! The key that signs access tokens: made at the first start, kept beside the database.

use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{self, DecodePrivateKey, EncodePrivateKey};

use super::private_file;

/// The key's file in the service's folder: PKCS#8 in PEM, as `openssl pkey` reads and writes it.
const FILE: &str = "signing-key.pem";

/// The signing key can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file can't be read or written.
    #[error("can't use the signing key {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file holds something else.
    #[error("the signing key {path} is not an Ed25519 key in PKCS#8 PEM: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pkcs8::Error,
    },
}

/// The key in `folder`; made when there is none.
///
/// # Errors
/// When its file can't be read or written, or holds something else. It is never replaced: tokens of the old key would
/// cease to be good.
pub fn load_or_create(folder: &Path) -> Result<SigningKey, KeyError> {
    let path = folder.join(FILE);
    let file_error = |source| KeyError::File { path: path.clone(), source };
    let format_error = |source| KeyError::Format { path: path.clone(), source };
    if private_file::read(&path).map_err(file_error)?.is_none() {
        let pem = SigningKey::from_bytes(&rand::random()).to_pkcs8_pem(LineEnding::LF).map_err(format_error)?;
        match private_file::create(&path, pem.as_bytes()) {
            Ok(()) => tracing::info!(path = %path.display(), "made the key that signs access tokens"),
            // Another process was faster; its key counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(file_error(error)),
        }
    }
    let pem = std::fs::read_to_string(&path).map_err(file_error)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(format_error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let key = load_or_create(folder.path()).unwrap();
        assert_eq!(load_or_create(folder.path()).unwrap(), key);
        assert_ne!(load_or_create(tempfile::tempdir().unwrap().path()).unwrap(), key);
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, "garbage").unwrap();
        assert!(matches!(load_or_create(folder.path()), Err(KeyError::Format { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "garbage");
    }
}
