//! How a person is addressed.

use std::fmt;
use std::str::FromStr;

use meshwork_text::{InvalidDisplayText, display_text};
use serde::{Deserialize, Serialize};

/// The most characters of a display name.
const MAX: usize = 100;

/// How a person is addressed: 1 to 100 characters on one line, without space around them. Something of it can be seen, and nothing
/// turns around what is beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(String);

/// A text can't be a display name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InvalidDisplayName(#[from] InvalidDisplayText);

impl DisplayName {
    /// A name that was kept, as it is: earlier releases have kept names that show nothing.
    ///
    /// # Errors
    /// When no release has kept it.
    pub fn stored(text: String) -> Result<Self, InvalidDisplayName> {
        // Names go into the headers of mails, where a line break would begin another header.
        // A character has at most four bytes: what can't be right is not counted.
        if text.len() > 4 * MAX || !(1..=MAX).contains(&text.chars().count()) {
            Err(InvalidDisplayName(InvalidDisplayText::Length { max: MAX }))
        } else if text.chars().any(char::is_control) {
            Err(InvalidDisplayName(InvalidDisplayText::Control))
        } else {
            Ok(Self(text))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayName {
    type Err = InvalidDisplayName;

    fn from_str(text: &str) -> Result<Self, InvalidDisplayName> {
        Ok(Self(display_text(text, MAX)?))
    }
}

impl TryFrom<String> for DisplayName {
    type Error = InvalidDisplayName;

    fn try_from(text: String) -> Result<Self, InvalidDisplayName> {
        Self::stored(text)
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
            assert_eq!(text.parse::<DisplayName>(), Err(InvalidDisplayName(InvalidDisplayText::Control)), "{text:?}");
            assert!(DisplayName::stored(text.to_owned()).is_err());
        }
    }

    #[test]
    fn d7_a_name_shows_something_and_turns_nothing_around() {
        for text in ["\u{200b}\u{200d}", "An\u{202e}na"] {
            assert!(text.parse::<DisplayName>().is_err(), "{text:?}");
            // Accounts that have such a name are read all the same.
            assert_eq!(DisplayName::stored(text.to_owned()).unwrap().as_str(), text);
        }
        assert_eq!("Jo\u{308}rg".parse::<DisplayName>().unwrap().as_str(), "Jörg");
    }
}
