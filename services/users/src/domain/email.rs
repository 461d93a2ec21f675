//! E-mail addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes of an address (RFC 5321).
const MAX: usize = 254;
/// The most bytes before the `@`.
const MAX_LOCAL: usize = 64;
/// The most bytes between two dots after the `@`.
const MAX_LABEL: usize = 63;

/// An e-mail address, as its owner writes it. Two that differ only in case are one account's: see [`Email::key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

/// A text can't be an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address like anna@example.com, of at most {MAX} bytes")]
pub struct InvalidEmail;

impl Email {
    /// The address as its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in lower case: what is unique among accounts.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let address = text.trim();
        let (local, domain) = address.split_once('@').ok_or(InvalidEmail)?;
        // Lower case may be longer, and it is what is stored and compared.
        let short = address.len() <= MAX && address.to_lowercase().len() <= MAX;
        if short && is_local(local) && is_domain(domain) { Ok(Self(address.to_owned())) } else { Err(InvalidEmail) }
    }
}

/// The part before the `@`: dot-separated words (RFC 5322, without its quoted form, which nobody has).
fn is_local(local: &str) -> bool {
    let special = |c: char| c.is_control() || c.is_whitespace() || "\"(),:;<>@[\\]".contains(c);
    local.len() <= MAX_LOCAL && local.split('.').all(|word| !word.is_empty() && !word.contains(special))
}

/// The part after the `@`: a host name. One label suffices, since networks have names like `localhost`.
fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

impl TryFrom<String> for Email {
    type Error = InvalidEmail;

    fn try_from(text: String) -> Result<Self, InvalidEmail> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_keep_their_case_and_are_compared_without_it() {
        let email: Email = " Anna.K@Example.COM ".parse().unwrap();
        assert_eq!(email.as_str(), "Anna.K@Example.COM");
        assert_eq!(email.key(), "anna.k@example.com");
    }

    #[test]
    fn addresses_in_use_are_taken() {
        for text in ["a@b", "staff@meshwork.local", "root@localhost", "o'neill+tag@sub.example.co.uk", "jörg@müller.de"]
        {
            assert!(text.parse::<Email>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@.b",
            "a@b.",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a@b\nBcc: c@d",
            "a\n@b",
            "<a@b>",
            "a,b@c",
            "a@b,c",
            "\"a\"@b",
            "a@[127.0.0.1]",
            "a@b_c",
        ] {
            assert_eq!(text.parse::<Email>(), Err(InvalidEmail), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let domain = ["d".repeat(63), "d".repeat(63), "d".repeat(61)].join(".");
        assert!(format!("{}@{domain}", "a".repeat(64)).parse::<Email>().is_ok());
        assert!(format!("{}@b", "a".repeat(65)).parse::<Email>().is_err());
        assert!(format!("{}@{domain}d", "a".repeat(64)).parse::<Email>().is_err());
        assert!(format!("a@{}", "d".repeat(64)).parse::<Email>().is_err());
        // This letter's lower case has a byte more.
        assert!(format!("{}@{domain}", "Ⱥ".repeat(32)).parse::<Email>().is_err());
    }

    proptest! {
        #[test]
        fn an_address_has_one_at_and_nothing_that_breaks_a_header(text in "\\PC{0,40}@\\PC{0,40}|[ -~\n]{0,80}") {
            if let Ok(email) = text.parse::<Email>() {
                prop_assert_eq!(email.as_str().matches('@').count(), 1);
                prop_assert!(!email.as_str().contains(|c: char| c.is_whitespace() || c.is_control()));
                prop_assert_eq!(email.as_str().parse::<Email>().unwrap(), email);
            }
        }

        #[test]
        fn keys_ignore_case(local in "[a-zA-Z0-9]{1,20}", domain in "[a-zA-Z0-9]{1,20}") {
            let text = format!("{local}@{domain}");
            let (lower, upper) = (text.to_lowercase().parse::<Email>(), text.to_uppercase().parse::<Email>());
            prop_assert_eq!(lower.unwrap().key(), upper.unwrap().key());
        }
    }
}
