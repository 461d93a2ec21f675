//! Tokens as text: the same however a source was formatted.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// Marks of more than one character that stand in signatures.
const MARKS: &[&str] = &["::", "->", "=>", "..", "..=", "==", "&&"];
/// Words before which a path is followed by `<T as Trait>::Type` and not by arguments.
const BEFORE_QUALIFIED: &[&str] = &["as", "where", "in", "mut", "dyn"];
/// Words that a tuple or a slice may follow.
const BEFORE_GROUP: &[&str] = &["as", "where", "in", "mut", "dyn", "for", "impl", "const"];

/// The tokens, spaced as rustfmt spaces them, on one line and without trailing commas.
pub fn text(tokens: &impl ToTokens) -> String {
    let mut words = Vec::new();
    flatten(tokens.to_token_stream(), &mut words);
    let mut text = String::new();
    let mut before: Option<&str> = None;
    for (at, word) in words.iter().enumerate() {
        let after = words.get(at + 1).map(String::as_str);
        if word == "," && matches!(after, None | Some(">")) {
            continue;
        }
        if before.is_some_and(|before| is_spaced(before, word)) {
            text.push(' ');
        }
        text.push_str(word);
        before = Some(word);
    }
    text
}

fn flatten(stream: TokenStream, words: &mut Vec<String>) {
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let start = words.len();
                words.extend((!open.is_empty()).then(|| open.to_owned()));
                flatten(group.stream(), words);
                let is_tuple_of_one = open == "(" && words[start..].iter().filter(|word| *word == ",").count() == 1;
                if words.last().is_some_and(|word| word == ",") && !is_tuple_of_one {
                    words.pop();
                }
                words.extend((!close.is_empty()).then(|| close.to_owned()));
            }
            TokenTree::Punct(mark) => {
                let mut word = mark.as_char().to_string();
                if let Some(TokenTree::Ident(name)) = tokens.peek()
                    && word == "'"
                {
                    word.push_str(&name.to_string());
                    tokens.next();
                }
                let mut is_joint = mark.spacing() == Spacing::Joint;
                while let Some(TokenTree::Punct(next)) = tokens.peek()
                    && is_joint
                {
                    let longer = format!("{word}{}", next.as_char());
                    if !MARKS.contains(&longer.as_str()) {
                        break;
                    }
                    is_joint = next.spacing() == Spacing::Joint;
                    word = longer;
                    tokens.next();
                }
                words.push(word);
            }
            token => words.push(token.to_string()),
        }
    }
}

/// Whether a space stands between two words.
fn is_spaced(before: &str, after: &str) -> bool {
    let is_lifetime = before.starts_with('\'');
    match (before, after) {
        (_, "," | ";" | ")" | "]" | ">") => false,
        ("{" | "}" | "->" | "=" | "=>" | "==" | "+" | "," | ";" | ":", _)
        | (_, "{" | "}" | "->" | "=" | "=>" | "==" | "+") => true,
        (_, ":" | "::") | ("::" | "(" | "[" | "<" | "&" | "&&" | "*" | "?" | "!" | "-" | "#" | "..", _) => false,
        (_, "<") => is_lifetime || BEFORE_QUALIFIED.contains(&before),
        (_, "(" | "[") => is_lifetime || BEFORE_GROUP.contains(&before),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_as_they_are_written() {
        for written in [
            "Option<&'a mut [u8; 4]>",
            "Box<dyn Fn(&str, (u8, u16)) -> Result<(), E> + Send + 'static>",
            "<S as Service<http::Request<B>>>::Future",
            "impl for<'a> FnMut(&'a (A,)) -> *const T",
            "[<T as X>::Y; N]",
            "fn(u8) -> !",
        ] {
            let parsed: syn::Type = syn::parse_str(written).unwrap();
            assert_eq!(text(&parsed), written);
        }
    }

    #[test]
    fn bounds_read_as_they_are_written() {
        let written = "where T: ?Sized + Iterator<Item = (u8, u8)>, for<'a> &'a T: Into<U>, <T as X>::Y: 'static";
        let parsed: syn::WhereClause = syn::parse_str(written).unwrap();
        assert_eq!(text(&parsed), written);
    }

    #[test]
    fn how_a_source_is_broken_into_lines_does_not_matter() {
        let parsed: syn::Type = syn::parse_str("Map<\n    String, // a name\n    Vec<u8>,\n>").unwrap();
        assert_eq!(text(&parsed), "Map<String, Vec<u8>>");
        let parsed: syn::Type = syn::parse_str("(\n    A,\n    B,\n)").unwrap();
        assert_eq!(text(&parsed), "(A, B)");
    }
}
