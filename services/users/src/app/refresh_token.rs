//! Refresh tokens: whose they are, and 32 random bytes that only their owner has.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use sha2::{Digest, Sha256};

use crate::domain::TokenDigest;
use crate::ports::PresentedToken;

/// A new token, `ACCOUNT.RANDOM`: the account leads to where the session is. Without it, as earlier releases made them, where it
/// follows upon one of those.
pub(super) fn generate(user: Option<&UserName>) -> Secret {
    let bytes: [u8; 32] = rand::random();
    let random = URL_SAFE_NO_PAD.encode(bytes);
    Secret::new(match user {
        Some(user) => format!("{}.{random}", URL_SAFE_NO_PAD.encode(user.id())),
        None => random,
    })
}

/// What is kept of a token. No salt and no slow hash: 256 random bits can't be guessed. The account is in it, so that a token that
/// says it is another's is unknown.
pub(super) fn digest(token: &Secret) -> TokenDigest {
    TokenDigest(Sha256::digest(token.expose()).into())
}

/// A token as it was presented, whoever made it.
pub(super) fn presented(token: &Secret) -> PresentedToken {
    let user = token.expose().split_once('.').and_then(|(user, _)| {
        let id = String::from_utf8(URL_SAFE_NO_PAD.decode(user).ok()?).ok()?;
        UserName::new(id).ok()
    });
    PresentedToken { user, digest: digest(token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_url_safe_differ_and_are_found_by_their_digest() {
        let anna: UserName = "users/anna".parse().unwrap();
        for user in [None, Some(&anna)] {
            let (one, other) = (generate(user), generate(user));
            let random = one.expose().rsplit('.').next().unwrap();
            assert_eq!(random.len(), 43);
            assert!(one.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            assert_ne!(digest(&one), digest(&other));
            assert_eq!(digest(&one), digest(&Secret::new(one.expose())));
            assert_eq!(presented(&one), PresentedToken { user: user.cloned(), digest: digest(&one) });
        }
    }

    #[test]
    fn a_text_that_says_nothing_of_an_account_is_presented_all_the_same() {
        for text in ["", ".", "x", "?.x", "QQ.x", "/w.x"] {
            assert_eq!(presented(&Secret::new(text)).user, None, "{text:?}");
        }
    }

    #[test]
    fn the_longest_token_may_be_presented() {
        let user = UserName::new("a".repeat(63)).unwrap();
        assert_eq!(generate(Some(&user)).expose().len(), 128);
    }
}
