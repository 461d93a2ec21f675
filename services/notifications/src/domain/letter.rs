//! What a letter tells, apart from how it looks.

use std::fmt;

/// The most characters that a letter holds of one text by somebody else.
const MAX_CHARS: usize = 200;

/// A text as a letter may hold it, whoever wrote it: one line of at most 200 characters, of which none is invisible or
/// changes the direction of others. So it can't pass for a paragraph of ours, nor for something else than it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    /// What a letter may hold of `text`. What is too long ends with `…`.
    pub fn of(text: &str) -> Self {
        let mut line = String::new();
        let mut gap = false;
        // One character more than fits tells that the text goes on.
        let mut left = MAX_CHARS + 1;
        for c in text.chars().filter(|c| !is_invisible(*c)) {
            if c.is_whitespace() || c.is_control() {
                gap = !line.is_empty();
                continue;
            }
            let needed = 1 + usize::from(gap);
            if needed > left {
                left = 0;
                break;
            }
            if std::mem::take(&mut gap) {
                line.push(' ');
            }
            line.push(c);
            left -= needed;
        }
        if left == 0 {
            let end = line.char_indices().nth(MAX_CHARS - 1).map_or(line.len(), |(at, _)| at);
            line.truncate(end);
            line.truncate(line.trim_end().len());
            line.push('…');
        }
        Self(line)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character is seen by nobody, or turns the direction of others around. Separators count as white space.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' // soft hyphen
            | '\u{34f}' // combining grapheme joiner
            | '\u{61c}' // Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{17b4}' | '\u{17b5}' // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}' // Mongolian selectors and vowel separator
            | '\u{200b}'..='\u{200f}' // zero-width space and joiners, direction marks
            | '\u{202a}'..='\u{202e}' // embeddings and overrides of direction
            | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, isolates of direction
            | '\u{feff}' // byte order mark
            | '\u{fff9}'..='\u{fffb}' // interlinear annotations
            | '\u{1d173}'..='\u{1d17a}' // musical controls
            | '\u{e0000}'..='\u{e0fff}' // tags
    )
}

/// The content of a letter, from which its text and its HTML are both made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// How the person is addressed; may be empty.
    pub name: Line,
    /// What we say, a paragraph each: fixed words.
    pub paragraphs: Vec<&'static str>,
    /// What is known of the occasion.
    pub facts: Vec<Fact>,
}

impl Content {
    /// The words that the letter begins with.
    pub fn greeting(&self) -> String {
        if self.name.is_empty() { "Hello,".to_owned() } else { format!("Hello {},", self.name) }
    }
}

/// Something that is known of an occasion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub label: &'static str,
    /// Its value.
    pub value: Line,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_has_no_breaks_and_nothing_invisible() {
        assert_eq!(Line::of(" An\u{200b}na\r\n\tLee\u{2028}\0X ").as_str(), "Anna Lee X");
        assert_eq!(Line::of("\u{202e}gpj.exe\u{2066}\u{feff}").as_str(), "gpj.exe");
        assert_eq!(Line::of("Zoë 李 Ünal").as_str(), "Zoë 李 Ünal");
        assert!(Line::of("\u{200b}\u{ad} \n\u{e0041}").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_says_so() {
        let whole = "x".repeat(200);
        assert_eq!(Line::of(&whole).as_str(), whole);
        assert_eq!(Line::of(&format!("{whole} \n")).as_str(), whole);
        let cut = format!("{}…", "x".repeat(199));
        for longer in ["y", " y", " \n \u{200b}y", "y".repeat(100_000).as_str()] {
            assert_eq!(Line::of(&format!("{whole}{longer}")).as_str(), cut, "{longer:.5}");
        }
        assert_eq!(
            Line::of(&format!("{} {}", "x".repeat(198), "y".repeat(9))).as_str(),
            format!("{}…", "x".repeat(198))
        );
    }

    proptest! {
        #[test]
        fn a_line_is_one_bounded_line_of_itself(text in "(?s).{0,300}") {
            let line = Line::of(&text);
            prop_assert!(line.as_str().chars().count() <= MAX_CHARS);
            prop_assert!(!line.as_str().chars().any(|c| c.is_control() || is_invisible(c) || (c.is_whitespace() && c != ' ')));
            prop_assert_eq!(line.as_str().trim(), line.as_str());
            prop_assert_eq!(&Line::of(line.as_str()), &line);
        }
    }
}
