//! Resource names (AIP-122), such as `users/anna`, and the ids that callers choose (AIP-133).

use std::fmt::Write as _;

use uuid::Uuid;

/// How many characters an id has at most.
pub const MAX_ID: usize = 63;

/// A text is not a name of the form that was expected. What it is instead is not shown: callers may send anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a name like `{pattern}`, each id 1 to 63 of a-z, 0-9 and `-`, not starting or ending with `-`")]
pub struct InvalidName {
    /// What such a name looks like.
    pub pattern: &'static str,
}

/// What the names of a resource look like: `users/{user}`, `products/{product}/stock`, `shelves/{shelf}/books/{book}`.
///
/// ```
/// use meshwork_aip::name::Pattern;
///
/// const BOOK: Pattern = Pattern::new("shelves/{shelf}/books/{book}");
///
/// assert_eq!(BOOK.parse("shelves/novels/books/emma").unwrap(), ["novels", "emma"]);
/// assert_eq!(BOOK.format(&["novels", "emma"]).unwrap(), "shelves/novels/books/emma");
/// assert!(BOOK.parse("shelves/novels").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(&'static str);

impl Pattern {
    /// The pattern that is written so: segments between slashes, those in braces for ids.
    pub const fn new(pattern: &'static str) -> Self {
        Self(pattern)
    }

    /// The ids in a name, in the pattern's order. Of a name that is too long no more is looked at than of one that is right.
    ///
    /// # Errors
    /// When `name` does not look like the pattern, or an id in it is not 1 to 63 of `a-z`, `0-9` and `-`, or starts or
    /// ends with `-`.
    pub fn parse<'n>(&self, name: &'n str) -> Result<Vec<&'n str>, InvalidName> {
        let mut segments = name.split('/');
        let mut ids = Vec::new();
        for expected in self.0.split('/') {
            match segments.next() {
                Some(id) if expected.starts_with('{') && is_id(id) => ids.push(id),
                Some(segment) if segment == expected && !expected.starts_with('{') => {}
                _ => return Err(self.invalid()),
            }
        }
        if segments.next().is_some() { Err(self.invalid()) } else { Ok(ids) }
    }

    /// The name with these ids.
    ///
    /// # Errors
    /// When there are not as many as the pattern has, or one is no id.
    pub fn format(&self, ids: &[&str]) -> Result<String, InvalidName> {
        let (mut name, mut ids) = (String::new(), ids.iter());
        for (at, segment) in self.0.split('/').enumerate() {
            let slash = if at == 0 { "" } else { "/" };
            let segment = if segment.starts_with('{') {
                ids.next().copied().filter(|id| is_id(id)).ok_or_else(|| self.invalid())?
            } else {
                segment
            };
            // Writing to a string doesn't fail.
            write!(name, "{slash}{segment}").ok();
        }
        if ids.next().is_some() { Err(self.invalid()) } else { Ok(name) }
    }

    fn invalid(&self) -> InvalidName {
        InvalidName { pattern: self.0 }
    }
}

/// Whether `id` may be a segment of a name: 1 to 63 of `a-z`, `0-9` and `-`, not starting or ending with `-`.
pub fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !id.starts_with('-')
        && !id.ends_with('-')
}

/// Whether `id` is one that a caller may choose: 4 to 63 of `a-z`, `0-9` and `-`, starting with a letter and not ending
/// with `-`, or a lower-case UUID.
pub fn is_chosen_id(id: &str) -> bool {
    let starts = id.starts_with(|c: char| c.is_ascii_lowercase());
    id.len() >= 4 && is_id(id) && (starts || is_uuid(id))
}

/// Whether `value` is a UUID in its usual form, in lower case, and not the nil one.
pub fn is_uuid(value: &str) -> bool {
    let usual = value.len() == 36 && !value.bytes().any(|b| b.is_ascii_uppercase());
    usual && Uuid::try_parse(value).is_ok_and(|id| !id.is_nil())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_the_segments_of_their_pattern() {
        let stock = Pattern::new("products/{product}/stock");
        assert_eq!(stock.parse("products/mug/stock").unwrap(), ["mug"]);
        let long = format!("products/{}/stock", "a".repeat(MAX_ID + 1));
        for bad in ["", "products/mug", "products//stock", "products/Mug/stock", "products/mug/stock/", &long] {
            assert_eq!(stock.parse(bad), Err(stock.invalid()), "{bad}");
        }
        assert_eq!(stock.format(&["mug"]).unwrap(), "products/mug/stock");
        for bad in [&[] as &[&str], &["mug", "mug"], &["-mug"], &["a/b"]] {
            assert!(stock.format(bad).is_err(), "{bad:?}");
        }
        // What stands in braces is no literal.
        assert!(stock.parse("products/{product}/stock").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_names_print_as_they_were(text in "[a-z0-9/{}-]{0,40}") {
            for pattern in [Pattern::new("a/{b}"), Pattern::new("{a}/{b}"), Pattern::new("{a}")] {
                if let Ok(ids) = pattern.parse(&text) {
                    prop_assert_eq!(pattern.format(&ids), Ok(text.clone()));
                }
            }
        }
    }
}
