//! Refresh tokens: whose they are, and 32 bytes that only their owner has: random ones first, and then those that follow by a key.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use sha2::{Digest, Sha256};

use crate::domain::{TokenDigest, TokenSalt};
use crate::ports::PresentedToken;

/// The block of SHA-256 in bytes, which a key of HMAC is filled up to with zeros (RFC 2104).
const BLOCK: usize = 64;
/// What the keys are derived for. Another use of the same secrets has another label.
const LABEL: &str = "meshwork users: successors of refresh tokens, 1";

/// The keys by which refresh tokens follow from those before them: with one, a salt and the token that was presented, and with
/// nothing less, the answer that was lost can be given again.
#[derive(Clone)]
pub struct SuccessorKeys {
    current: [u8; 32],
    earlier: Vec<[u8; 32]>,
}

impl fmt::Debug for SuccessorKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuccessorKeys([redacted])")
    }
}

impl SuccessorKeys {
    /// Keys that are derived from secrets of the service, which have another use too: the one in use, and those before it.
    /// Instances that share a store share them.
    pub fn derive<'k>(current: &[u8; 32], earlier: impl IntoIterator<Item = &'k [u8; 32]>) -> Self {
        let key = |secret: &[u8; 32]| mac(secret, &[LABEL.as_bytes()]);
        Self { current: key(current), earlier: earlier.into_iter().map(key).collect() }
    }

    /// The token that follows upon one by a salt.
    pub(super) fn successor(&self, token: &Secret, salt: TokenSalt) -> Secret {
        following(&self.current, token, salt)
    }

    /// The token that has followed upon one by a salt, known by its digest; `None` when it was made by a key that is gone.
    pub(super) fn successor_of_digest(&self, token: &Secret, salt: TokenSalt, digest: TokenDigest) -> Option<Secret> {
        let keys = std::iter::once(&self.current).chain(&self.earlier);
        keys.map(|key| following(key, token, salt)).find(|successor| self::digest(successor) == digest)
    }
}

/// HMAC-SHA-256 over parts, of which only the last may vary in length.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte = *key;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn following(key: &[u8; 32], token: &Secret, salt: TokenSalt) -> Secret {
    let bytes = mac(key, &[&salt.0, token.expose().as_bytes()]);
    written(presented(token).user.as_ref(), bytes)
}

/// A new salt.
pub(super) fn salt() -> TokenSalt {
    TokenSalt(rand::random())
}

/// The first token of a session.
pub(super) fn generate(user: &UserName) -> Secret {
    written(Some(user), rand::random())
}

/// A token as it is written, `ACCOUNT.BYTES`: the account leads to where the session is. Without it, as earlier releases made them,
/// where it follows upon one of those.
fn written(user: Option<&UserName>, bytes: [u8; 32]) -> Secret {
    let bytes = URL_SAFE_NO_PAD.encode(bytes);
    Secret::new(match user {
        Some(user) => format!("{}.{bytes}", URL_SAFE_NO_PAD.encode(user.id())),
        None => bytes,
    })
}

/// What is kept of a token. No salt and no slow hash: 256 bits that are random, or follow by a key, can't be guessed. The account is
/// in it, so that a token that says it is another's is unknown.
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
            let (one, other) = (written(user, rand::random()), written(user, rand::random()));
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
        assert_eq!(generate(&user).expose().len(), 128);
    }

    #[test]
    fn d9_a_successor_follows_from_its_token_its_salt_and_a_key_and_from_nothing_less() {
        let keys = SuccessorKeys::derive(&[1; 32], []);
        let anna: UserName = "users/anna".parse().unwrap();
        let (token, salt) = (generate(&anna), TokenSalt([7; 16]));
        let next = keys.successor(&token, salt);
        assert_eq!(keys.successor(&token, salt), next);
        assert_eq!(presented(&next).user, Some(anna.clone()));
        let others = [
            keys.successor(&generate(&anna), salt),
            keys.successor(&token, TokenSalt([8; 16])),
            SuccessorKeys::derive(&[2; 32], []).successor(&token, salt),
        ];
        for other in others {
            assert_ne!(other, next);
        }
        // One of an earlier release says nothing of its account, and what follows upon it doesn't either.
        let old = written(None, [3; 32]);
        assert_eq!(presented(&keys.successor(&old, salt)).user, None);
    }

    #[test]
    fn d9_what_an_earlier_key_has_made_is_made_again_while_there_is_that_key() {
        let (token, salt) = (generate(&"users/anna".parse().unwrap()), TokenSalt([7; 16]));
        let next = SuccessorKeys::derive(&[1; 32], []).successor(&token, salt);
        let again = |keys: &SuccessorKeys| keys.successor_of_digest(&token, salt, digest(&next));
        assert_eq!(again(&SuccessorKeys::derive(&[2; 32], [&[1; 32]])), Some(next.clone()));
        assert_eq!(again(&SuccessorKeys::derive(&[2; 32], [])), None);
    }

    #[test]
    fn the_keyed_hash_is_that_of_rfc_4231() {
        // Test case 1 has a key of 20 bytes, which zeros fill up.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        let expected: Vec<_> =
            (0..32).map(|at| u8::from_str_radix(&expected[2 * at..2 * at + 2], 16).unwrap()).collect();
        assert_eq!(mac(&key, &[b"Hi ".as_slice(), b"There".as_slice()]).to_vec(), expected);
    }
}
