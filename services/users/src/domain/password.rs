//! Passwords: their rule, and what is kept of them.

use std::borrow::Cow;
use std::fmt;

use meshwork_text::{is_opaque, opaque_string};
use serde::{Deserialize, Serialize};

/// The fewest characters of a password.
pub const MIN_PASSWORD: usize = 10;
/// The most characters of a password. It bounds what is hashed.
pub const MAX_PASSWORD: usize = 256;

/// A password is too short or too long, or has characters that can't be in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have {MIN_PASSWORD} to {MAX_PASSWORD} characters, none of them a control character or without a meaning in Unicode"
)]
pub struct InvalidPassword;

/// Whether an account may have this password. Its length counts, of what is hashed of it (NIST SP 800-63B), and any character may be
/// in it that has a meaning by itself.
///
/// # Errors
/// When it is too short or too long, or has a control character or one that Unicode doesn't know.
pub fn check_password(password: &str) -> Result<(), InvalidPassword> {
    // A character has at most four bytes: what can't be right is not counted.
    if password.len() > 4 * MAX_PASSWORD {
        return Err(InvalidPassword);
    }
    let password = normalize_password(password);
    let fits = (MIN_PASSWORD..=MAX_PASSWORD).contains(&password.chars().count());
    if fits && password.chars().all(is_opaque) { Ok(()) } else { Err(InvalidPassword) }
}

/// What is hashed of a password: the same however its letters and spaces were typed.
pub fn normalize_password(password: &str) -> Cow<'_, str> {
    opaque_string(password)
}

/// What is kept of a password: the hash with its salt and parameters, as a PHC string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash in its PHC form, `$argon2id$v=19$…`.
    pub fn new(phc: impl Into<String>) -> Self {
        Self(phc.into())
    }

    /// What stands in an account that has no password.
    pub const fn none() -> Self {
        Self(String::new())
    }

    /// Whether the account has no password: nobody can sign in by one.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The PHC form; empty where there is no password.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// Hashes can be attacked offline, so they stay out of logs too.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_characters() {
        assert!(check_password("          ").is_ok());
        assert!(check_password(&"ß".repeat(256)).is_ok());
        assert_eq!(check_password("123456789"), Err(InvalidPassword));
        assert_eq!(check_password(&"a".repeat(257)), Err(InvalidPassword));
        // Of what is hashed.
        assert_eq!(check_password(&"o\u{308}".repeat(9)), Err(InvalidPassword));
        assert!(check_password(&"o\u{308}".repeat(256)).is_ok());
    }

    #[test]
    fn what_has_no_meaning_by_itself_is_refused() {
        for text in ["a good\0password", "a good\npassword", "a good\u{378}password"] {
            assert_eq!(check_password(text), Err(InvalidPassword), "{text:?}");
        }
        assert!(check_password("👩\u{200d}👩\u{200d}👧 and a dog").is_ok());
    }

    #[test]
    fn d6_a_password_is_one_however_it_is_typed() {
        assert_eq!(normalize_password("jo\u{308}rg\u{a0}and I"), normalize_password("jörg and I"));
        assert_eq!(normalize_password(" A  b "), " A  b ");
    }

    #[test]
    fn a_hash_does_not_show_itself() {
        assert!(!format!("{:?}", PasswordHash::new("$argon2id$secret")).contains("secret"));
    }
}
