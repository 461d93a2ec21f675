//! The credentials of first accounts: a JSON file each, in a folder that its users read.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_chassis::config::Credentials;

use super::private_file;
use crate::domain::FirstAccount;
use crate::ports::{CredentialsError, CredentialsFile};

/// A folder with a file for each first account: `staff.json`, `orders.json`, …
///
/// A file that is there already, mounted from a Kubernetes secret say, is used as it is.
#[derive(Clone, Debug)]
pub struct CredentialsFolder(PathBuf);

impl CredentialsFolder {
    /// The folder; it is made when the first file is.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }
}

#[async_trait]
impl CredentialsFile for CredentialsFolder {
    async fn obtain(&self, account: &FirstAccount) -> Result<Credentials, CredentialsError> {
        let path = self.0.join(format!("{}.json", account.label));
        let email = account.email.clone();
        let obtained = tokio::task::spawn_blocking(move || read_or_create(&path, &email)).await;
        obtained
            .unwrap_or_else(|error| Err(format!("writing credentials has failed: {error}")))
            .map_err(CredentialsError)
    }
}

fn read_or_create(path: &Path, email: &str) -> Result<Credentials, String> {
    if !path.exists() {
        let json = serde_json::json!({ "email": email, "password": generate_password() });
        match private_file::create(path, format!("{json}\n").as_bytes()) {
            Ok(()) => tracing::info!(path = %path.display(), "made credentials"),
            // Another process was faster; its password counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("can't write the credentials file {}: {error}", path.display())),
        }
    }
    Credentials::read(path)
}

/// 32 characters with 192 random bits.
fn generate_password() -> String {
    let bytes: [u8; 24] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::domain::first_accounts;

    #[tokio::test]
    async fn credentials_are_made_once_and_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = CredentialsFolder::new(root.path().join("credentials"));
        let account = &first_accounts()[0];
        let made = folder.obtain(account).await.unwrap();
        assert_eq!((made.email.as_str(), made.password.expose().len()), (&*account.email, 32));
        assert_eq!(folder.obtain(account).await.unwrap().password, made.password);
        let path = root.path().join("credentials/staff.json");
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
        let other = folder.obtain(&first_accounts()[1]).await.unwrap();
        assert_ne!(other.password, made.password);
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_used_and_a_bad_one_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("staff.json");
        std::fs::write(&path, r#"{"email":"boss@example.com","password":"a mounted secret"}"#).unwrap();
        let folder = CredentialsFolder::new(root.path());
        let found = folder.obtain(&first_accounts()[0]).await.unwrap();
        assert_eq!((found.email.as_str(), found.password.expose()), ("boss@example.com", "a mounted secret"));
        std::fs::write(&path, r#"{"password":"a mounted secret"}"#).unwrap();
        let error = folder.obtain(&first_accounts()[0]).await.unwrap_err().to_string();
        assert!(error.contains("staff.json") && !error.contains("mounted"), "{error}");
    }
}
