//! The rules by which a method is reached over HTTP.

use prost_reflect::DynamicMessage;

use super::notes::text;

/// The verbs of a rule that are fields of their own.
const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
/// The other verbs that OpenAPI has.
const OTHERS: [&str; 3] = ["head", "options", "trace"];

/// One binding of a method, from `google.api.HttpRule`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The verb in lower case, one of those that OpenAPI has.
    pub verb: String,
    /// The template of the path.
    pub template: String,
    /// The request's field that the body holds; `*` for all that the path doesn't bind; empty for none.
    pub body: String,
    /// The response's field that is answered; empty for the whole response.
    pub response_body: String,
}

impl Rule {
    /// The bindings of an option: its own, and the additional ones after it.
    pub(super) fn all(option: &DynamicMessage) -> Vec<Self> {
        let mut rules: Vec<_> = Self::read(option).into_iter().collect();
        if let Some(more) = option.get_field_by_name("additional_bindings") {
            let more = more.as_list().unwrap_or_default().iter();
            rules.extend(more.filter_map(|rule| Self::read(rule.as_message()?)));
        }
        rules
    }

    /// `None` for a verb that OpenAPI doesn't have.
    fn read(rule: &DynamicMessage) -> Option<Self> {
        let own = VERBS.into_iter().find(|verb| rule.has_field_by_name(verb));
        let (verb, template) = match own {
            Some(verb) => (verb.to_owned(), text(rule, verb)),
            None => {
                let custom = rule.get_field_by_name("custom")?;
                let custom = custom.as_message()?;
                let verb = text(custom, "kind").to_ascii_lowercase();
                let is_known = VERBS.iter().chain(&OTHERS).any(|known| *known == verb);
                (is_known.then_some(verb)?, text(custom, "path"))
            }
        };
        Some(Self { verb, template, body: text(rule, "body"), response_body: text(rule, "response_body") })
    }
}
