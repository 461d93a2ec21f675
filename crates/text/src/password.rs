//! Passwords.

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use super::normal_form::nfc;

/// A password as it is compared, by the steps of the profile `OpaqueString` (RFC 8265): spaces of other scripts become the space
/// of ASCII, and the normal form is C. Upper and lower case and everything else stay as they are.
#[must_use]
pub fn opaque_string(password: &str) -> Cow<'_, str> {
    if !password.contains(is_other_space) {
        return nfc(password);
    }
    let spaced: String = password.chars().map(|c| if is_other_space(c) { ' ' } else { c }).collect();
    Cow::Owned(nfc(&spaced).into_owned())
}

/// Whether a character may be in a new password: not if it controls something, and not before Unicode has given it a meaning, since
/// its normal form isn't known until then. What else RFC 8265 refuses people may have in their passwords.
#[must_use]
pub fn is_opaque(c: char) -> bool {
    !matches!(c.general_category(), GeneralCategory::Control | GeneralCategory::Unassigned)
}

fn is_other_space(c: char) -> bool {
    c != ' ' && c.general_category() == GeneralCategory::SpaceSeparator
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization as _;

    use super::*;

    #[test]
    fn spaces_and_code_points_are_made_one() {
        assert_eq!(opaque_string("a\u{a0}b\u{3000}o\u{308}"), "a b ö");
        assert_eq!(opaque_string(" Correct  Horse "), " Correct  Horse ");
    }

    #[test]
    fn only_what_has_no_meaning_is_refused() {
        for c in ['a', 'ß', ' ', '😀', '\u{200d}', '\u{e000}'] {
            assert!(is_opaque(c), "{c:?}");
        }
        for c in ['\0', '\n', '\u{7f}', '\u{85}', '\u{378}', '\u{ffff}'] {
            assert!(!is_opaque(c), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn a_password_is_the_same_however_it_is_typed(password in "\\PC{0,40}") {
            let once = opaque_string(&password).into_owned();
            prop_assert_eq!(opaque_string(&once), once.as_str());
            let decomposed: String = password.nfd().collect();
            prop_assert_eq!(opaque_string(&decomposed), once);
        }
    }
}
