//! Texts that others have written, on a terminal.

use terminal_size::{Width, terminal_size_of};

/// How many characters a line of standard output has; `None` when it is no terminal.
pub fn width() -> Option<usize> {
    let (Width(width), _) = terminal_size_of(std::io::stdout())?;
    Some(usize::from(width))
}

/// A text without what a terminal would obey.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As [`plain`], with nothing around it.
pub fn line(text: &str) -> String {
    plain(text.trim())
}
