//! Numbers of pieces, in few words.

use std::fmt::Write as _;

/// Ascending numbers as the command line takes them, such as `0-15,20`.
pub fn ranges(numbers: &[i32]) -> String {
    let (mut text, mut rest) = (String::new(), numbers);
    while let Some(first) = rest.first() {
        let next_to = |(at, number): &(usize, &i32)| i64::from(**number) == i64::from(*first) + *at as i64;
        let count = rest.iter().enumerate().take_while(next_to).count();
        if !text.is_empty() {
            text.push(',');
        }
        match rest.get(count - 1) {
            Some(last) if count > 1 => write!(text, "{first}-{last}").ok(),
            _ => write!(text, "{first}").ok(),
        };
        rest = rest.get(count..).unwrap_or_default();
    }
    text
}

/// A text that takes no more than so many characters.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{beginning}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_ranges() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[7]), "7");
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        // Those of ranges of keys are any numbers.
        assert_eq!(ranges(&[i32::MIN, -1, 0, i32::MAX]), "-2147483648,-1-0,2147483647");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(short("0-2,5", 5), "0-2,5");
        assert_eq!(short("0-2,55", 5), "0-2,…");
    }
}
