//! API keys as they are written: whose they are, and 32 random bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use sha2::{Digest, Sha256};

use crate::domain::KeyDigest;
use crate::ports::PresentedKey;

/// What every key begins with: people and scanners of secrets know it by that.
const PREFIX: &str = "mwk_";

/// A new key, `mwk_ACCOUNT.BYTES`: the account leads to where the key is kept.
pub(super) fn generate(user: &UserName) -> Secret {
    let bytes: [u8; 32] = rand::random();
    Secret::new(format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(user.id()), URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is kept of a key. No salt and no slow hash: 256 random bits can't be guessed. The account is in it, so that a key that says
/// it is another's is unknown.
pub(super) fn digest(key: &Secret) -> KeyDigest {
    KeyDigest(Sha256::digest(key.expose()).into())
}

/// Whether a text says that it is a key of ours.
pub(super) fn is_key(text: &Secret) -> bool {
    text.expose().starts_with(PREFIX)
}

/// A key as it was presented; `None` for what can't be one.
pub(super) fn presented(text: &Secret) -> Option<PresentedKey> {
    let (user, _) = text.expose().strip_prefix(PREFIX)?.split_once('.')?;
    let id = String::from_utf8(URL_SAFE_NO_PAD.decode(user).ok()?).ok()?;
    Some(PresentedKey { user: UserName::new(id).ok()?, digest: digest(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_url_safe_differ_and_lead_to_their_account() {
        for id in ["anna", &"a".repeat(63)] {
            let user = UserName::new(id).unwrap();
            let (one, other) = (generate(&user), generate(&user));
            assert_ne!(digest(&one), digest(&other));
            assert!(is_key(&one) && one.expose().len() <= 132);
            assert_eq!(one.expose().rsplit('.').next().unwrap().len(), 43);
            assert!(one.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            assert_eq!(presented(&one), Some(PresentedKey { user, digest: digest(&one) }));
        }
    }

    #[test]
    fn what_says_nothing_of_an_account_is_no_key() {
        for text in ["", "mwk_", "mwk_.", "mwk_x", "mwk_?.x", "mwk_QQ.x", "mwk_/w.x", "YW5uYQ.x", "MWK_YW5uYQ.x"] {
            assert_eq!(presented(&Secret::new(text)), None, "{text:?}");
        }
        // Those of refresh tokens are none either.
        assert!(!is_key(&Secret::new("YW5uYQ.x")));
    }
}
