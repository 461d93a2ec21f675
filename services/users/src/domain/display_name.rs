//! How a person is addressed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most characters of a display name.
const MAX: usize = 100;

/// How a person is addressed: 1 to 100 characters on one line, without space around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(String);

/// A text can't be a display name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {MAX} characters, without line breaks and other control characters")]
pub struct InvalidDisplayName;

impl DisplayName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayName {
    type Err = InvalidDisplayName;

    fn from_str(text: &str) -> Result<Self, InvalidDisplayName> {
        let name = text.trim();
        // Names go into the headers of mails, where a line break would begin another header.
        // A character has at most four bytes: what can't be right is not counted.
        let short = name.len() <= 4 * MAX;
        let shaped = short && (1..=MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if shaped { Ok(Self(name.to_owned())) } else { Err(InvalidDisplayName) }
    }
}

impl TryFrom<String> for DisplayName {
    type Error = InvalidDisplayName;

    fn try_from(text: String) -> Result<Self, InvalidDisplayName> {
        text.parse()
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> Self {
        name.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_around_a_name_is_dropped() {
        assert_eq!("  Anna Karenina ".parse::<DisplayName>().unwrap().as_str(), "Anna Karenina");
    }

    #[test]
    fn lengths_count_characters() {
        assert!("ä".repeat(100).parse::<DisplayName>().is_ok());
        assert!("ä".repeat(101).parse::<DisplayName>().is_err());
        assert!("   ".parse::<DisplayName>().is_err());
    }

    #[test]
    fn line_breaks_are_refused() {
        for text in ["Anna\nBcc: all@example.com", "Anna\rB", "Anna\tB", "Anna\0"] {
            assert_eq!(text.parse::<DisplayName>(), Err(InvalidDisplayName), "{text:?}");
        }
    }
}
