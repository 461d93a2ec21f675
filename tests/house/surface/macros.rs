//! Macros that stand for items: those of the crate itself that have one rule of single tokens, and `pin_project!`.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use syn::{ItemMacro, Macro};

/// The macros that a crate has declared so far.
#[derive(Default)]
pub struct Macros(BTreeMap<String, Rule>);

/// The one rule of a macro.
struct Rule {
    matcher: Vec<TokenTree>,
    body: TokenStream,
}

impl Macros {
    /// Notes a `macro_rules!`. One of several rules can't be expanded, and isn't noted.
    pub fn declare(&mut self, item: &ItemMacro) {
        let parts: Vec<_> = item.mac.tokens.clone().into_iter().collect();
        let groups: Vec<_> = parts.iter().filter_map(as_group).collect();
        if let (Some(name), [matcher, body]) = (&item.ident, &groups[..]) {
            let rule = Rule { matcher: matcher.stream().into_iter().collect(), body: body.stream() };
            self.0.insert(name.to_string(), rule);
        }
    }

    /// The items that a call stands for.
    ///
    /// # Errors
    /// When the macro isn't understood.
    pub fn expand(&self, call: &Macro) -> Result<TokenStream, String> {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        match name.as_str() {
            "pin_project" => Ok(call.tokens.clone()),
            // Statics, which are listed when they are public: none of ours are.
            "thread_local" | "task_local" if !is_any(&call.tokens, "pub") => Ok(TokenStream::new()),
            _ => {
                let expanded = self.0.get(&name).and_then(|rule| rule.expand(&call.tokens));
                expanded.ok_or_else(|| {
                    format!(
                        "the items of `{name}!` can't be listed; write them out, or teach tests/house/surface/macros.rs"
                    )
                })
            }
        }
    }
}

impl Rule {
    fn expand(&self, arguments: &TokenStream) -> Option<TokenStream> {
        let this: TokenTree = Ident::new("crate", Span::call_site()).into();
        let mut values = BTreeMap::from([("crate".to_owned(), this)]);
        let (mut matcher, mut arguments) = (self.matcher.iter(), arguments.clone().into_iter());
        while let Some(expected) = matcher.next() {
            let argument = arguments.next()?;
            if !is_mark(expected, '$') {
                if argument.to_string() != expected.to_string() {
                    return None;
                }
                continue;
            }
            // `$name:fragment`, of which only the kinds that are one token are understood.
            let TokenTree::Ident(name) = matcher.next()? else { return None };
            let is_fragment = is_mark(matcher.next()?, ':');
            let fragment = matcher.next()?.to_string();
            if !is_fragment || !["ident", "literal", "tt"].contains(&fragment.as_str()) {
                return None;
            }
            values.insert(name.to_string(), argument);
        }
        arguments.next().is_none().then(|| substitute(&self.body, &values))
    }
}

/// The body of a rule with `values` in the places of its variables.
fn substitute(body: &TokenStream, values: &BTreeMap<String, TokenTree>) -> TokenStream {
    let mut substituted = Vec::new();
    let mut tokens = body.clone().into_iter().peekable();
    while let Some(token) = tokens.next() {
        let value = match tokens.peek() {
            Some(TokenTree::Ident(name)) if is_mark(&token, '$') => values.get(&name.to_string()).cloned(),
            _ => None,
        };
        substituted.push(match (value, token) {
            (Some(value), _) => {
                tokens.next();
                value
            }
            (None, TokenTree::Group(group)) => {
                Group::new(group.delimiter(), substitute(&group.stream(), values)).into()
            }
            (None, token) => token,
        });
    }
    substituted.into_iter().collect()
}

fn as_group(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() != Delimiter::None => Some(group),
        _ => None,
    }
}

fn is_mark(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == wanted)
}

/// Whether `word` stands among the tokens, outside groups.
fn is_any(tokens: &TokenStream, word: &str) -> bool {
    tokens.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(name) if name == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(declaration: &str, call: &str) -> Result<String, String> {
        let mut macros = Macros::default();
        macros.declare(&syn::parse_str(declaration).unwrap());
        let call: ItemMacro = syn::parse_str(call).unwrap();
        macros.expand(&call.mac).map(|tokens| tokens.to_string())
    }

    #[test]
    fn a_rule_of_single_tokens_is_expanded() {
        let text = "macro_rules! m { ($a:ident, $b:literal) => { #[doc = $b] pub struct $a { x: $crate::X } }; }";
        let expanded = expanded(text, "m!(Name, \"text\");").unwrap();
        assert!(expanded.contains("\"text\""), "{expanded}");
        assert!(expanded.contains("pub struct Name"), "{expanded}");
        assert!(!expanded.contains('$'), "{expanded}");
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let rule = "macro_rules! m { ($($a:ident),*) => { $(pub struct $a;)* }; }";
        for call in ["m!(A, B);", "other! { x }", "thread_local! { pub static X: u8 = 0; }"] {
            let error = expanded(rule, call).unwrap_err();
            assert!(error.contains("can't be listed"), "{error}");
        }
        assert_eq!(expanded(rule, "thread_local! { static X: u8 = 0; }").unwrap(), "");
    }
}
