//! Passwords: their rule, and what is kept of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The fewest characters of a password.
pub const MIN_PASSWORD: usize = 10;
/// The most characters of a password. It bounds what is hashed.
pub const MAX_PASSWORD: usize = 256;

/// A password is too short or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")]
pub struct InvalidPassword;

/// Whether an account may have this password. Only its length counts (NIST SP 800-63B); any character may be in it.
///
/// # Errors
/// When it is too short or too long.
pub fn check_password(password: &str) -> Result<(), InvalidPassword> {
    // A character has at most four bytes: what can't be right is not counted.
    let length = if password.len() > 4 * MAX_PASSWORD { usize::MAX } else { password.chars().count() };
    if (MIN_PASSWORD..=MAX_PASSWORD).contains(&length) { Ok(()) } else { Err(InvalidPassword) }
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

    /// The PHC form.
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
    fn only_the_length_counts() {
        assert!(check_password("          ").is_ok());
        assert!(check_password(&"ß".repeat(256)).is_ok());
        assert_eq!(check_password("123456789"), Err(InvalidPassword));
        assert_eq!(check_password(&"a".repeat(257)), Err(InvalidPassword));
    }

    #[test]
    fn a_hash_does_not_show_itself() {
        assert!(!format!("{:?}", PasswordHash::new("$argon2id$secret")).contains("secret"));
    }
}
