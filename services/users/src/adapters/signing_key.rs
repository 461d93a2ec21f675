//! The keys that sign access tokens: the first is made at the first start, and kept beside the database.
//!
//! To change the key, add a file `signing-key-LABEL.pem` whose label comes after those that are there, such as the date, and
//! start the service anew: `openssl genpkey -algorithm ed25519 -out signing-key-2027-01-31.pem`. The last one signs; the
//! others verify until the tokens that they have signed are over. A file that is removed withdraws its key at the next start.

use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{self, DecodePrivateKey, EncodePrivateKey};

use super::private_file;
use crate::app::SuccessorKeys;

/// The first key's file in the service's folder: PKCS#8 in PEM, as `openssl pkey` reads and writes it.
const FILE: &str = "signing-key.pem";

/// The keys of a folder.
#[derive(Debug, PartialEq, Eq)]
pub struct SigningKeys {
    /// The one that signs.
    pub current: SigningKey,
    /// Those that have signed before, the newest first.
    pub retired: Vec<SigningKey>,
}

impl SigningKeys {
    /// What refresh tokens follow by: it is derived from these keys, so that all instances, and those that come after them, have
    /// the same.
    pub fn successor_keys(&self) -> SuccessorKeys {
        SuccessorKeys::derive(self.current.as_bytes(), self.retired.iter().map(SigningKey::as_bytes))
    }
}

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

/// The keys in `folder`; one is made when there is none.
///
/// # Errors
/// When a file can't be read or written, or holds something else. None is ever replaced: tokens of the old key would cease
/// to be good.
pub fn load_or_create(folder: &Path) -> Result<SigningKeys, KeyError> {
    let mut labels = labels(folder)?;
    if labels.is_empty() {
        create(&folder.join(FILE))?;
        labels.push(String::new());
    }
    // The plain name has the empty label, which comes first.
    labels.sort_unstable_by(|a, b| b.cmp(a));
    let mut keys = labels.iter().map(|label| load(&folder.join(format!("signing-key{label}.pem"))));
    let current = match keys.next() {
        Some(key) => key?,
        None => load(&folder.join(FILE))?,
    };
    Ok(SigningKeys { current, retired: keys.collect::<Result<_, _>>()? })
}

/// What stands between `signing-key` and `.pem` in the names of files: nothing, or `-LABEL`.
fn labels(folder: &Path) -> Result<Vec<String>, KeyError> {
    let file_error = |source| KeyError::File { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(error)),
    };
    let mut labels = Vec::new();
    for entry in entries {
        let name = entry.map_err(file_error)?.file_name();
        let label = name.to_str().and_then(|name| name.strip_prefix("signing-key")?.strip_suffix(".pem"));
        if let Some(label) = label.filter(|label| label.is_empty() || label.starts_with('-')) {
            labels.push(label.to_owned());
        }
    }
    Ok(labels)
}

fn create(path: &Path) -> Result<(), KeyError> {
    let pem = SigningKey::from_bytes(&rand::random())
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|source| KeyError::Format { path: path.to_owned(), source })?;
    match private_file::create(path, pem.as_bytes()) {
        Ok(()) => tracing::info!(path = %path.display(), "made the key that signs access tokens"),
        // Another process was faster; its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(KeyError::File { path: path.to_owned(), source }),
    }
    Ok(())
}

fn load(path: &Path) -> Result<SigningKey, KeyError> {
    let pem = std::fs::read_to_string(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|source| KeyError::Format { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let key = load_or_create(folder.path()).unwrap();
        assert_eq!(key.retired, []);
        assert_eq!(load_or_create(folder.path()).unwrap(), key);
        assert_ne!(load_or_create(tempfile::tempdir().unwrap().path()).unwrap(), key);
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_key_that_is_added_signs_and_those_before_it_are_retired() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap().current;
        let add = |name: &str, seed| {
            let key = SigningKey::from_bytes(&[seed; 32]);
            std::fs::write(folder.path().join(name), key.to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap();
            key
        };
        let third = add("signing-key-2027-02-01.pem", 3);
        let second = add("signing-key-2027-01-31.pem", 2);
        // Neither is one of them.
        add("signing-key-2028.pem.bak", 4);
        add("signing-keys.pem", 5);
        let keys = load_or_create(folder.path()).unwrap();
        assert_eq!(keys, SigningKeys { current: third.clone(), retired: vec![second.clone(), first] });
        // One that was removed is withdrawn, and not made anew.
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        let keys = load_or_create(folder.path()).unwrap();
        assert_eq!(keys, SigningKeys { current: third, retired: vec![second] });
        assert!(!folder.path().join(FILE).exists());
        std::fs::write(folder.path().join("signing-key-2026.pem"), "garbage").unwrap();
        assert!(matches!(load_or_create(folder.path()), Err(KeyError::Format { .. })));
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
