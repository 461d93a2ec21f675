//! E-mail addresses.

use std::fmt;
use std::str::FromStr;

use meshwork_text::{domain_to_ascii, is_identifying, is_mark, nfc};
use serde::{Deserialize, Serialize};

/// The most bytes of an address (RFC 5321).
const MAX: usize = 254;
/// The most bytes before the `@`.
const MAX_LOCAL: usize = 64;
/// The most bytes between two dots after the `@`.
const MAX_LABEL: usize = 63;

/// An e-mail address, as its owner writes it. What is compared of two is [`Email::key`]: those that differ only in case, in how many
/// code points a letter has, or in the form of their domain are one account's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email {
    text: String,
    /// What was typed, where that isn't in the normal form.
    typed: Option<String>,
}

/// A text can't be an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address like anna@example.com, of at most {MAX} bytes")]
pub struct InvalidEmail;

impl Email {
    /// An address that was kept, as it is: earlier releases have kept texts that aren't in the normal form.
    ///
    /// # Errors
    /// When it is none.
    pub fn stored(text: String) -> Result<Self, InvalidEmail> {
        if is_address(&text) { Ok(Self { text, typed: None }) } else { Err(InvalidEmail) }
    }

    /// The address as its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is unique among accounts: the part before the `@` in lower case and the normal form C, and the domain as the name system
    /// has it (IDNA).
    pub fn key(&self) -> String {
        if self.text.is_ascii() {
            return self.text.to_ascii_lowercase();
        }
        let (local, domain) = self.parts();
        let lower = |text: &str| nfc(&nfc(text).to_lowercase()).into_owned();
        format!("{}@{}", lower(local), domain_to_ascii(domain).unwrap_or_else(|| lower(domain)))
    }

    /// The keys by which an account with this address may be known, to be looked for in this order: that of exactly what was typed,
    /// by which earlier releases have kept accounts, and [`Email::key`].
    pub fn lookup_keys(&self) -> Vec<String> {
        let (exact, key) = (self.typed.as_deref().unwrap_or(&self.text).to_lowercase(), self.key());
        if exact == key { vec![key] } else { vec![exact, key] }
    }

    /// Whether an account with this address may be known by a key.
    pub fn answers_to(&self, key: &str) -> bool {
        self.key() == key || self.text.to_lowercase() == key
    }

    /// Whether this is the address that was kept, to the letter.
    pub fn is_spelled_as(&self, stored: &Email) -> bool {
        self.text == stored.text || self.typed.as_ref() == Some(&stored.text)
    }

    /// Whether an account may have this address from now on: mail finds its domain, and all of it is seen by people. Earlier releases
    /// have taken others.
    pub fn is_sound(&self) -> bool {
        let (local, domain) = self.parts();
        let is_seen = local.chars().chain(domain.chars()).all(is_identifying);
        is_seen && domain_to_ascii(domain).is_some() && self.key().len() <= MAX
    }

    /// What is before the `@` and behind it.
    fn parts(&self) -> (&str, &str) {
        self.text.split_once('@').unwrap_or((&self.text, ""))
    }
}

/// Two are equal that are kept as the same text.
impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Email {}

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let typed = text.trim();
        // Composing a letter drops up to two thirds of its bytes: what can't be right is not looked at.
        if typed.len() > 3 * MAX {
            return Err(InvalidEmail);
        }
        let composed = nfc(typed);
        if !is_address(&composed) {
            return Self::stored(typed.to_owned());
        }
        let other = (composed != typed).then(|| typed.to_owned());
        Ok(Self { text: composed.into_owned(), typed: other })
    }
}

fn is_address(address: &str) -> bool {
    // Lower case may be longer, and it is what is stored and compared.
    let short = address.len() <= MAX && address.to_lowercase().len() <= MAX;
    short && address.split_once('@').is_some_and(|(local, domain)| is_local(local) && is_domain(domain))
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
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || is_mark(c))
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

impl TryFrom<String> for Email {
    type Error = InvalidEmail;

    fn try_from(text: String) -> Result<Self, InvalidEmail> {
        Self::stored(text)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.text
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    fn d6_one_address_has_one_key_however_it_is_typed() {
        for (text, other, key) in [
            ("jörg@example.com", "jo\u{308}rg@example.com", "jörg@example.com"),
            ("JÖRG@example.com", "jo\u{308}rg@EXAMPLE.com", "jörg@example.com"),
            ("anna@müller.de", "anna@xn--mller-kva.de", "anna@xn--mller-kva.de"),
            ("anna@MÜLLER.de", "anna@mu\u{308}ller.de", "anna@xn--mller-kva.de"),
            ("anna@ｍüller.de", "Anna@XN--MLLER-KVA.de", "anna@xn--mller-kva.de"),
        ] {
            let (text, other): (Email, Email) = (text.parse().unwrap(), other.parse().unwrap());
            assert_eq!((text.key().as_str(), other.key().as_str()), (key, key));
        }
    }

    #[test]
    fn d6_an_address_is_kept_composed_and_looked_for_by_its_old_key_first() {
        let email: Email = "Jo\u{308}rg@müller.de".parse().unwrap();
        assert_eq!(email.as_str(), "Jörg@müller.de");
        assert_eq!(email.lookup_keys(), ["jo\u{308}rg@müller.de", "jörg@xn--mller-kva.de"]);
        assert_eq!("Anna@Example.com".parse::<Email>().unwrap().lookup_keys(), ["anna@example.com"]);
        // What was kept stays what it is, and knows the key that it was kept by.
        let stored = Email::stored("Jo\u{308}rg@müller.de".to_owned()).unwrap();
        assert_eq!(stored.as_str(), "Jo\u{308}rg@müller.de");
        assert!(stored.lookup_keys().iter().all(|key| stored.answers_to(key)) && !stored.answers_to("jörg@müller.de"));
        assert!(email.is_spelled_as(&stored) && email != stored && email.key() == stored.key());
        assert!(!"jörg@müller.de".parse::<Email>().unwrap().is_spelled_as(&stored));
    }

    #[test]
    fn new_addresses_are_seen_and_found() {
        for text in ["a@b", "staff@meshwork.local", "jörg@müller.de", "李@例え.jp", "क्ष@उदाहरण.भारत"]
        {
            assert!(text.parse::<Email>().unwrap().is_sound(), "{text}");
        }
        for text in ["an\u{200b}na@example.com", "an\u{202e}na@example.com", "a\u{3164}@example.com", "a@xn--a"] {
            assert!(!text.parse::<Email>().unwrap().is_sound(), "{text:?}");
        }
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
                prop_assert_eq!(email.as_str().parse::<Email>().unwrap(), email.clone());
                prop_assert_eq!(Email::stored(email.as_str().to_owned()), Ok(email));
            }
        }

        #[test]
        fn d6_the_key_of_a_key_is_the_key(local in "\\PC{1,20}", domain in "[a-zäöüßé]{1,10}") {
            if let Ok(email) = format!("{local}@{domain}").parse::<Email>()
                && let Ok(key) = email.key().parse::<Email>()
            {
                prop_assert_eq!(key.key(), email.key());
                prop_assert!(email.answers_to(&email.key()));
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
