//! List filters: the part of AIP-160 that our lists take, `field = value` terms joined by `AND`.

use crate::echo::echo;
use crate::validate::Violations;

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
