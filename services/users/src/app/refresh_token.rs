//! Refresh tokens: 32 random bytes that only their owner has.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_chassis::config::Secret;
use sha2::{Digest, Sha256};

use crate::domain::TokenDigest;

/// A new token.
pub(super) fn generate() -> Secret {
    let bytes: [u8; 32] = rand::random();
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a token. No salt and no slow hash: 256 random bits can't be guessed.
pub(super) fn digest(token: &Secret) -> TokenDigest {
    TokenDigest(Sha256::digest(token.expose()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_url_safe_differ_and_are_found_by_their_digest() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.expose().len(), 43);
        assert!(one.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(digest(&one), digest(&other));
        assert_eq!(digest(&one), digest(&Secret::new(one.expose())));
    }
}
