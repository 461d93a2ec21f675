//! Texts of a bounded number of bytes.
//!
//! The mesh has the same for its own errors. Neither of the two crates needs the other, so each has these few lines.

use std::fmt::{self, Display, Write};

/// What `value` prints, in at most `max` bytes; `…`, which takes three of them, shows that it was more. What comes
/// behind is not even printed.
pub(crate) fn bounded(value: impl Display, max: usize) -> String {
    let mut text = Buffer { text: String::new(), max, full: false };
    // The only error is that of a full buffer, which has then kept what it could.
    write!(text, "{value}").ok();
    text.text
}

struct Buffer {
    text: String,
    max: usize,
    full: bool,
}

impl Write for Buffer {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.full {
            return Err(fmt::Error);
        }
        if self.text.len() + more.len() <= self.max {
            self.text.push_str(more);
            return Ok(());
        }
        self.full = true;
        let room = self.max.saturating_sub('…'.len_utf8());
        if self.text.len() <= room {
            self.text.push_str(&more[..more.floor_char_boundary(room - self.text.len())]);
        } else {
            self.text.truncate(self.text.floor_char_boundary(room));
        }
        if self.max >= '…'.len_utf8() {
            self.text.push('…');
        }
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_too_long_is_not_printed_to_its_end() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("ab")?;
                }
            }
        }
        assert_eq!(bounded(Endless, 10), "abababa…");
        assert_eq!(bounded("äöü", 6), "äöü");
        assert_eq!(bounded("äöüx", 6), "ä…");
    }

    proptest! {
        #[test]
        fn a_text_is_cut_to_its_bound(text in any::<String>(), max in 0..100_usize) {
            let cut = bounded(&text, max);
            prop_assert!(cut.len() <= max);
            prop_assert!(cut == text || text.starts_with(cut.strip_suffix('…').unwrap_or_default()));
            prop_assert!(cut == text || max < 3 || cut.ends_with('…'));
        }
    }
}
