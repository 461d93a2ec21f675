//! What callers have sent, as errors show it: cut, so that nothing that is sent can grow an answer.
//!
//! The mesh has the same for its own errors. Neither of the two crates needs the other, so each has these few lines.

use std::fmt::{self, Display, Write};

/// How many characters of a caller's text are shown.
pub const MAX_ECHO: usize = 64;

/// A caller's text, to be shown in an error: at most [`MAX_ECHO`] characters, with `…` behind them when there were more.
///
/// `{}` shows the text as it is. `{:?}` shows it in quotes, with escapes for what can't be seen; what they add counts as
/// characters too.
///
/// ```
/// use meshwork_aip::echo;
///
/// assert_eq!(format!("there is no {:?}", echo("orders/7")), r#"there is no "orders/7""#);
/// assert_eq!(echo(&"x".repeat(1000)).to_string(), "x".repeat(64) + "…");
/// ```
pub fn echo(text: &str) -> Echo<'_> {
    Echo(text)
}

/// What [`echo`] gives.
#[derive(Clone, Copy)]
pub struct Echo<'a>(&'a str);

impl Display for Echo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_ECHO) {
            None => f.write_str(self.0),
            Some((end, _)) => {
                f.write_str(&self.0[..end])?;
                f.write_char('…')
            }
        }
    }
}

impl fmt::Debug for Echo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut left = MAX_ECHO;
        for c in self.0.chars() {
            // In double quotes, a single one needs no escape.
            let escape = if c == '\'' { None } else { Some(c.escape_debug()) };
            let length = escape.as_ref().map_or(1, ExactSizeIterator::len);
            if length > left {
                f.write_char('…')?;
                break;
            }
            left -= length;
            match escape {
                None => f.write_char(c)?,
                Some(escape) => write!(f, "{escape}")?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_texts_are_shown_whole() {
        let exact = "ß".repeat(MAX_ECHO);
        for text in ["", "red", "don't", &exact] {
            assert_eq!(echo(text).to_string(), text);
            assert_eq!(format!("{:?}", echo(text)), format!("{text:?}"));
        }
        assert_eq!(format!("{:?}", echo("a\"b\n\u{202e}")), r#""a\"b\n\u{202e}""#);
    }

    #[test]
    fn long_texts_are_cut_between_characters_and_say_so() {
        let shown = "ß".repeat(MAX_ECHO) + "…";
        assert_eq!(echo(&"ß".repeat(MAX_ECHO + 1)).to_string(), shown);
        assert_eq!(format!("{:?}", echo(&"ß".repeat(4 << 20))), format!("\"{shown}\""));
        // An escape is shown whole or not at all.
        assert_eq!(format!("{:?}", echo(&"\0".repeat(100))), format!("\"{}…\"", r"\0".repeat(32)));
        assert_eq!(format!("{:?}", echo(&"\u{7f}".repeat(100))), format!("\"{}…\"", r"\u{7f}".repeat(10)));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_bounded(text in any::<String>()) {
            prop_assert!(echo(&text).to_string().chars().count() <= MAX_ECHO + 1);
            let quoted = format!("{:?}", echo(&text));
            prop_assert!(quoted.chars().count() <= MAX_ECHO + 3);
        }
    }
}
