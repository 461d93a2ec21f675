//! What stands in an account in place of what was erased.

use std::fmt::Write as _;

use super::{DisplayName, Email, InvalidDisplayName, InvalidEmail};

/// The domain of the addresses that stand for erased ones. No mail ever goes there (RFC 2606).
const DOMAIN: &str = "erased.invalid";
/// The name that stands for an erased one. Nobody is shown it.
const NAME: &str = "erased";

/// What stands in an account in place of its address and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// In place of the address: nobody can tell that from it, and who knows it finds that it is taken.
    pub email: Email,
    /// In place of the name.
    pub display_name: DisplayName,
}

impl StandIn {
    /// What stands in an account, with this in place of its address.
    ///
    /// # Errors
    /// When the stand-in for the name is no name, which is a defect.
    pub fn new(email: Email) -> Result<Self, InvalidDisplayName> {
        Ok(Self { email, display_name: NAME.parse()? })
    }

    /// The address that stands for the one with this keyed hash.
    ///
    /// # Errors
    /// When it is no address, which is a defect.
    pub fn email(digest: &[u8; 32]) -> Result<Email, InvalidEmail> {
        let mut address = String::with_capacity(80);
        for byte in digest {
            // A String takes whatever is written to it.
            _ = write!(address, "{byte:02x}");
        }
        _ = write!(address, "@{DOMAIN}");
        address.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_addresses_is_one_for_each_hash_and_its_own_key() {
        let email = StandIn::email(&[0xab; 32]).unwrap();
        assert_eq!(email.as_str(), format!("{}@erased.invalid", "ab".repeat(32)));
        assert_eq!(email.key(), email.as_str());
        assert_ne!(email, StandIn::email(&[0xac; 32]).unwrap());
        assert!(StandIn::new(email).is_ok());
    }
}
