//! Accounts of people who sign in with another issuer: known by its name for them alone, they have no address, no password
//! and no API keys.

use meshwork_api::UserName;
use uuid::{Builder, Uuid, Version};

use super::{Email, InvalidEmail};

/// The most bytes that another issuer's name for somebody has (OpenID Connect Core §2).
pub const MAX_SUBJECT: usize = 255;
/// The domain of what stands in place of an address. No mail ever goes there (RFC 2606).
const DOMAIN: &str = "@foreign.invalid";

/// The name of the account of an issuer's subject, by a hash of both: a UUID of version 8 (RFC 9562 §5.8). Nobody else is given
/// such an id ([`is_foreign_id`]).
pub fn foreign_name(digest: &[u8; 32]) -> UserName {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    UserName::from_uuid(Builder::from_custom_bytes(bytes).into_uuid())
}

/// Whether an id is kept for accounts of other issuers' subjects. A stranger who took one would have the account of somebody who
/// hasn't come yet.
pub fn is_foreign_id(id: &str) -> bool {
    let is_spelled_out = id.len() == uuid::fmt::Hyphenated::LENGTH;
    is_spelled_out && Uuid::parse_str(id).is_ok_and(|id| id.get_version() == Some(Version::Custom))
}

/// What stands in such an account in place of an address. It is made of dice: who could guess it could take it.
///
/// # Errors
/// When it is no address, which is a defect.
pub fn foreign_email(dice: Uuid) -> Result<Email, InvalidEmail> {
    format!("{}{DOMAIN}", dice.simple()).parse()
}

/// Whether an address, by its key, only stands in place of one.
pub fn is_foreign_email(key: &str) -> bool {
    key.ends_with(DOMAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hash_has_an_account_whose_id_nobody_else_may_have() {
        let name = foreign_name(&[0xff; 32]);
        assert_eq!(name.id(), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_ne!(name, foreign_name(&[0xfe; 32]));
        assert!(is_foreign_id(name.id()));
        for other in ["anna", "00000000-0000-4000-8000-000000000000", "ffffffffffff8fffbfffffffffffffff", ""] {
            assert!(!is_foreign_id(other), "{other}");
        }
    }

    #[test]
    fn what_stands_in_place_of_an_address_is_known_as_that() {
        let email = foreign_email(Uuid::nil()).unwrap();
        assert_eq!(email.as_str(), "00000000000000000000000000000000@foreign.invalid");
        assert!(
            is_foreign_email(&email.key()) && is_foreign_email(&"A@Foreign.Invalid".parse::<Email>().unwrap().key())
        );
        assert!(!is_foreign_email("anna@example.com"));
    }
}
