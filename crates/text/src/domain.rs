//! Domain names.

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// A domain name in ASCII and lower case, as the name system and mail have it (IDNA by UTS #46, without transitional processing):
/// `müller.de` and `XN--MLLER-KVA.de` are both `xn--mller-kva.de`.
///
/// `None` when it is no name of a host: labels of letters, digits and hyphens within, of 63 bytes in ASCII at most, 253 together.
#[must_use]
pub fn domain_to_ascii(domain: &str) -> Option<String> {
    let ascii =
        Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::Allow, DnsLength::Verify).ok()?;
    let is_label = |label: &str| !label.starts_with('-') && !label.ends_with('-');
    let is_host = ascii.split('.').all(is_label);
    is_host.then(|| ascii.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_one_form_in_ascii() {
        for domain in ["müller.de", "mu\u{308}ller.de", "MÜLLER.de", "xn--mller-kva.de", "XN--MLLER-KVA.DE"] {
            assert_eq!(domain_to_ascii(domain).as_deref(), Some("xn--mller-kva.de"), "{domain}");
        }
        assert_eq!(domain_to_ascii("Example.COM").as_deref(), Some("example.com"));
        assert_eq!(domain_to_ascii("localhost").as_deref(), Some("localhost"));
    }

    #[test]
    fn what_is_no_host_is_none() {
        for domain in ["", ".", "a..b", "a.", ".a", "-a", "a-", "a_b", "a b", "a@b", "xn--a", "a".repeat(64).as_str()] {
            assert_eq!(domain_to_ascii(domain), None, "{domain:?}");
        }
    }

    proptest! {
        #[test]
        fn the_form_in_ascii_is_its_own(domain in "[a-zäöüßéλя0-9-]{1,12}(\\.[a-zäöü]{1,5}){0,2}") {
            if let Some(ascii) = domain_to_ascii(&domain) {
                prop_assert!(ascii.is_ascii() && !ascii.contains(|c: char| c.is_ascii_uppercase()));
                prop_assert_eq!(domain_to_ascii(&ascii), Some(ascii));
            }
        }

        #[test]
        fn names_in_ascii_are_only_put_into_lower_case(domain in "[a-zA-Z0-9]{1,12}(\\.[a-zA-Z]{1,5}){0,2}") {
            prop_assert_eq!(domain_to_ascii(&domain), Some(domain.to_ascii_lowercase()));
        }
    }
}
