//! Names for people.

use super::characters::{is_bidi_control, is_control, is_visible};
use super::normal_form::nfc;

/// Why a text can't be shown as a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDisplayText {
    /// It is empty or too long.
    #[error("must have 1 to {max} characters")]
    Length {
        /// The most characters that it may have.
        max: usize,
    },
    /// It has several lines, or characters that control what shows it.
    #[error("must be on one line, without control characters")]
    Control,
    /// It would turn what is around it.
    #[error("must not have characters that set the direction of writing")]
    Direction,
    /// Nothing of it can be seen.
    #[error("must have a character that can be seen")]
    Invisible,
}

/// A name as it is kept and shown: without space around it, in the normal form C, of 1 to `max` characters on one line.
///
/// One of them at least can be seen, and none sets the direction of writing (`Bidi_Control`), since it would turn around what is
/// shown beside the name; letters have a direction of their own. Joiners may be in it: words of several scripts need them, and
/// emoji.
///
/// # Errors
/// Why the text is no such name. A text of more than four bytes for each character that it may have is not looked at.
pub fn display_text(text: &str, max: usize) -> Result<String, InvalidDisplayText> {
    let text = text.trim();
    if text.is_empty() || text.len() > max.saturating_mul(4) {
        return Err(InvalidDisplayText::Length { max });
    }
    let text = nfc(text);
    if text.chars().count() > max {
        return Err(InvalidDisplayText::Length { max });
    }
    if text.chars().any(is_control) {
        return Err(InvalidDisplayText::Control);
    }
    if text.chars().any(is_bidi_control) {
        return Err(InvalidDisplayText::Direction);
    }
    if !text.chars().any(is_visible) {
        return Err(InvalidDisplayText::Invisible);
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization as _;

    use super::*;

    #[test]
    fn names_are_trimmed_and_composed() {
        assert_eq!(display_text(" Jo\u{308}rg ", 10).as_deref(), Ok("Jörg"));
        assert_eq!(display_text(&"o\u{308}".repeat(10), 10), Ok("ö".repeat(10)));
    }

    #[test]
    fn names_of_all_scripts_and_emoji_are_names() {
        for text in
            ["李", "שרה", "محمد", "क्षत्रिय", "می\u{200c}خواهم", "👩\u{200d}👩\u{200d}👧", "❤\u{fe0f}", "O'Neill-Smith"]
        {
            assert_eq!(display_text(text, 100).as_deref(), Ok(text), "{text:?}");
        }
    }

    #[test]
    fn d7_what_shows_nothing_is_no_name() {
        for text in [
            "\u{200b}",
            "\u{200b}\u{200d}\u{2060}",
            "\u{feff}",
            "\u{ad}",
            "\u{308}",
            "\u{3164}",
            "\u{2800}",
            "\u{e000}",
        ] {
            assert_eq!(display_text(text, 100), Err(InvalidDisplayText::Invisible), "{text:?}");
        }
    }

    #[test]
    fn d7_nothing_is_turned_around() {
        for c in ['\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert_eq!(display_text(&format!("An{c}na"), 100), Err(InvalidDisplayText::Direction), "{c:?}");
        }
    }

    #[test]
    fn a_name_is_on_one_line_and_bounded() {
        for text in ["Anna\nB", "Anna\tB", "Anna\u{85}B", "Anna\u{2028}B", "Anna\0"] {
            assert_eq!(display_text(text, 100), Err(InvalidDisplayText::Control), "{text:?}");
        }
        let length = Err(InvalidDisplayText::Length { max: 5 });
        for text in ["", "   ", "aaaaaa", "李李李李李李", "a".repeat(100_000).as_str()] {
            assert_eq!(display_text(text, 5), length);
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_again_and_the_same(text in "\\PC{0,40}|[ a\u{308}\u{200b}\u{202e}\n]{0,10}") {
            if let Ok(name) = display_text(&text, 30) {
                prop_assert!((1..=30).contains(&name.chars().count()));
                prop_assert!(name.chars().any(is_visible) && !name.chars().any(|c| is_control(c) || is_bidi_control(c)));
                prop_assert_eq!(display_text(&name, 30), Ok(name));
            }
        }

        #[test]
        fn composed_and_decomposed_names_are_the_same(text in "[a-zäöüßéèñ ]{1,20}") {
            let decomposed: String = text.nfd().collect();
            prop_assert_eq!(display_text(&decomposed, 30), display_text(&text, 30));
        }
    }
}
