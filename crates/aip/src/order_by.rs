//! The order that a list is wanted in (AIP-132): `field [desc], …`.

use std::fmt;

use crate::echo::echo;
use crate::violations::Violations;

/// How many bytes an `order_by` has at most.
pub const MAX_BYTES: usize = 512;
/// How many fields it names at most.
pub const MAX_FIELDS: usize = 8;

/// A field to order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field, one of those that [`parse`] was given.
    pub field: &'static str,
    /// Whether the greatest come first.
    pub descending: bool,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        if self.descending { f.write_str(" desc") } else { Ok(()) }
    }
}

/// Reads an `order_by` over `fields`; spaces around its parts mean nothing. An empty one is no wish. A field that is not in
/// `fields` or comes twice is a fault, as is more than [`MAX_FIELDS`] fields or [`MAX_BYTES`] bytes.
pub fn parse(order_by: &str, fields: &[&'static str], violations: &mut Violations) -> Vec<Term> {
    if order_by.len() > MAX_BYTES {
        violations.add("order_by", format_args!("must have at most {MAX_BYTES} bytes"));
        return Vec::new();
    }
    if order_by.trim().is_empty() {
        return Vec::new();
    }
    if order_by.split(',').count() > MAX_FIELDS {
        violations.add("order_by", format_args!("must have at most {MAX_FIELDS} fields"));
        return Vec::new();
    }
    let mut terms: Vec<Term> = Vec::new();
    for part in order_by.split(',') {
        let mut words = part.split_whitespace();
        let (name, descending) = match (words.next(), words.next(), words.next()) {
            (Some(name), None, _) => (name, false),
            (Some(name), Some("desc"), None) => (name, true),
            _ => {
                violations.add("order_by", "must be fields like create_time or create_time desc, joined by commas");
                return Vec::new();
            }
        };
        match fields.iter().copied().find(|field| *field == name) {
            None => {
                let right = fields.join(", ");
                violations.add("order_by", format_args!("names {:?}; it may name {right}", echo(name)));
            }
            Some(field) if terms.iter().any(|term| term.field == field) => {
                violations.add("order_by", format_args!("names {field} twice"));
            }
            Some(field) => terms.push(Term { field, descending }),
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: &[&str] = &["title", "create_time", "author.name"];

    /// What was read, printed, and whether there was a fault.
    fn read(order_by: &str) -> (String, bool) {
        let mut violations = Violations::new();
        let terms = parse(order_by, FIELDS, &mut violations);
        let printed: Vec<_> = terms.iter().map(ToString::to_string).collect();
        (printed.join(", "), violations.finish("library.example.com").is_err())
    }

    #[test]
    fn fields_are_read_with_their_direction() {
        assert_eq!(read(""), (String::new(), false));
        assert_eq!(read("title"), ("title".to_owned(), false));
        assert_eq!(read("  create_time   desc ,title"), ("create_time desc, title".to_owned(), false));
        assert_eq!(read("author.name desc"), ("author.name desc".to_owned(), false));
    }

    #[test]
    fn what_is_no_order_is_a_fault() {
        let many = ["title"; MAX_FIELDS + 1].join(",");
        let long = " ".repeat(MAX_BYTES + 1);
        for bad in
            ["isbn", "title,", ",", "title up", "title desc desc", "title DESC", "title, title desc", &many, &long]
        {
            assert!(read(bad).1, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            read(&text);
        }

        #[test]
        fn what_prints_as_an_order_reads_as_the_same(
            wanted in prop::sample::subsequence(FIELDS.to_vec(), 0..=3).prop_shuffle(),
            descending in prop::collection::vec(any::<bool>(), 3),
        ) {
            let terms = wanted.iter().zip(descending).map(|(&field, descending)| Term { field, descending });
            let printed = terms.map(|term| term.to_string()).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(read(&printed), (printed, false));
        }
    }
}
