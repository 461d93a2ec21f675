//! List filters: of AIP-160 the part that most lists need, `field = value` terms joined by `AND`.
//!
//! ```text
//! filter = [ term { "AND" term } ]
//! term   = word "=" value
//! value  = word | '"' anything but '"' '"'
//! word   = anything but white space, '=' and '"'
//! ```
//!
//! There are no other comparisons, no `OR`, `NOT` or parentheses, and no escapes. A field is named once.

use std::fmt;

use crate::echo::echo;
use crate::violations::Violations;

/// How many bytes a filter has at most.
pub const MAX_BYTES: usize = 1024;

/// The terms of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<(String, String)>);

impl Filter {
    /// The value that `field` must have, if the filter says so.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }
}

/// Prints what reads as the same filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let and = if at == 0 { "" } else { " AND " };
            // Neither a word nor a text holds a quote.
            write!(f, "{and}{name} = \"{value}\"")?;
        }
        Ok(())
    }
}

/// The value of an enum that a filter's word names, as the contract spells it and answers show it (`STATE_PENDING`), or
/// without the `prefix` that all values of the enum have (`PENDING`).
///
/// `by_name` finds a value by its name in the contract; prost's enums have `from_str_name`.
pub fn enum_value<T>(word: &str, prefix: &str, by_name: impl Fn(&str) -> Option<T>) -> Option<T> {
    if word.starts_with(prefix) { by_name(word) } else { by_name(&format!("{prefix}{word}")) }
}

/// Reads a filter over `fields`. A value is a word or a text in double quotes. A filter of more than [`MAX_BYTES`] bytes is
/// a fault, and not read.
pub fn parse(filter: &str, fields: &[&str], violations: &mut Violations) -> Filter {
    if filter.len() > MAX_BYTES {
        violations.add("filter", format_args!("must have at most {MAX_BYTES} bytes"));
        return Filter::default();
    }
    match terms(filter) {
        Ok(terms) => {
            for (at, (name, _)) in terms.iter().enumerate() {
                if !fields.contains(&name.as_str()) {
                    violations.add("filter", format_args!("names {:?}; it may name {}", echo(name), fields.join(", ")));
                } else if terms[..at].iter().any(|(other, _)| other == name) {
                    violations.add("filter", format_args!("names {name} twice"));
                }
            }
            Filter(terms)
        }
        Err(problem) => {
            violations.add("filter", problem);
            Filter::default()
        }
    }
}

const SHAPE: &str = "must be terms like state = PENDING or customer = \"users/anna\", joined by AND";

fn terms(filter: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut tokens = tokens(filter)?.into_iter();
    let mut terms = Vec::new();
    if tokens.len() == 0 {
        return Ok(terms);
    }
    loop {
        match (tokens.next(), tokens.next(), tokens.next()) {
            (Some(Token::Word(name)), Some(Token::Equals), Some(Token::Word(value) | Token::Text(value))) => {
                terms.push((name, value));
            }
            _ => return Err(SHAPE),
        }
        match tokens.next() {
            None => return Ok(terms),
            Some(Token::Word(and)) if and == "AND" => {}
            Some(_) => return Err(SHAPE),
        }
    }
}

enum Token {
    Word(String),
    Text(String),
    Equals,
}

fn tokens(filter: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = filter.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '=' {
            tokens.push(Token::Equals);
            rest = &rest[1..];
        } else if first == '"' {
            let (text, after) = rest[1..].split_once('"').ok_or("has a text without its closing quote")?;
            tokens.push(Token::Text(text.to_owned()));
            rest = after;
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '=' || c == '"').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}
