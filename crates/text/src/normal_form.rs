//! The normal form C.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// A text in the normal form C (UAX #15): texts that look alike and mean the same are the same then, such as an `ö` of one and of
/// two code points.
#[must_use]
pub fn nfc(text: &str) -> Cow<'_, str> {
    if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_and_two_code_points_are_one_letter() {
        assert_eq!(nfc("o\u{308}"), "ö");
        assert!(matches!(nfc("Jörg"), Cow::Borrowed("Jörg")));
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(text in "\\PC{0,40}") {
            let once = nfc(&text).into_owned();
            prop_assert_eq!(nfc(&once), once.as_str());
        }

        #[test]
        fn composed_and_decomposed_texts_are_the_same(text in "\\PC{0,40}") {
            let decomposed: String = text.nfd().collect();
            prop_assert_eq!(nfc(&decomposed), nfc(&text));
        }
    }
}
