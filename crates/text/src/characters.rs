//! What a character is to people: something to be seen, or not.

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// Whether a character shows something by itself. Spaces, marks upon other letters, joiners, fillers, and what has no meaning in
/// Unicode (yet, or to anybody but those who agreed on it) don't.
#[must_use]
pub fn is_visible(c: char) -> bool {
    match c.general_category_group() {
        GeneralCategoryGroup::Letter
        | GeneralCategoryGroup::Number
        | GeneralCategoryGroup::Punctuation
        | GeneralCategoryGroup::Symbol => !is_blank(c),
        GeneralCategoryGroup::Mark | GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other => false,
    }
}

/// Whether a character may tell one identifier from another: it is visible, or a mark that changes how a letter looks.
#[must_use]
pub fn is_identifying(c: char) -> bool {
    is_visible(c) || is_mark(c)
}

/// Whether a character is a mark that changes how a letter before it looks.
#[must_use]
pub fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark && !is_ignorable_mark(c)
}

/// Whether a character sets the direction in which others are written (the property `Bidi_Control`).
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character ends a line, or controls what shows it.
pub(crate) fn is_control(c: char) -> bool {
    matches!(
        c.general_category(),
        GeneralCategory::Control | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator
    )
}

/// Letters and symbols that show nothing: the fillers of Hangul, the empty pattern of Braille, a note without its head.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{1d159}')
}

/// Marks that show nothing (`Default_Ignorable_Code_Point`): the joiner of graphemes, inherent vowels of Khmer, the selectors of
/// variations.
fn is_ignorable_mark(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_signs_and_emoji_are_visible() {
        for c in ['a', 'ß', '李', 'ب', '7', '-', '€', '😀'] {
            assert!(is_visible(c) && is_identifying(c), "{c:?}");
        }
    }

    #[test]
    fn what_shows_nothing_is_not() {
        for c in [
            ' ',
            '\u{a0}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2800}',
            '\u{3164}',
            '\u{feff}',
            '\u{fe0f}',
            '\u{e000}',
            '\u{e0041}',
            '\u{ffff}',
            '\0',
        ] {
            assert!(!is_visible(c) && !is_identifying(c), "{c:?}");
        }
    }

    #[test]
    fn a_mark_is_seen_on_a_letter_alone() {
        assert!(!is_visible('\u{308}') && is_identifying('\u{308}'));
        assert!(!is_mark('\u{fe0f}') && !is_mark('a'));
    }
}
