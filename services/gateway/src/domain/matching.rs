//! Rules: which calls they are for, and where those go.

use super::choice::{Percent, Weighted};
use super::upstream::UpstreamName;

/// What a header of a call must be. Of a header that is there several times, one value is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderMatch {
    /// This value.
    Exact(String),
    /// A value that begins so.
    Prefix(String),
    /// There, with whatever value, or not there.
    Present(bool),
}

/// What a call must have to go by a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition {
    /// The header's name, in lower case.
    pub name: String,
    /// What it must be.
    pub value: HeaderMatch,
}

impl HeaderCondition {
    /// Whether the header with these values is what it must be.
    pub fn holds<'v>(&self, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
        match &self.value {
            HeaderMatch::Exact(text) => values.any(|value| value == text.as_bytes()),
            HeaderMatch::Prefix(text) => values.any(|value| value.starts_with(text.as_bytes())),
            HeaderMatch::Present(there) => values.next().is_some() == *there,
        }
    }
}

/// Where the calls of a method go, if they have the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The service, by its full name.
    pub service: String,
    /// The method; `None` for all of the service.
    pub method: Option<String>,
    /// What a call must have, all of it.
    pub headers: Vec<HeaderCondition>,
    /// Who answers; `None` for whom calls go to without a rule.
    pub to: Option<Weighted>,
    /// Whether a caller's calls go to the same upstream each time.
    pub sticky: bool,
    /// Who gets copies.
    pub mirrors: Vec<MirrorRule>,
}

impl Rule {
    /// Whether it is for calls of the method of this name of its service.
    pub fn is_for(&self, method: &str) -> bool {
        self.method.as_deref().is_none_or(|own| own == method)
    }

    /// Whether a call with these headers goes by it: `values` gives those of a name.
    pub fn matches<'v, V: Iterator<Item = &'v [u8]>>(&self, values: impl Fn(&str) -> V) -> bool {
        self.headers.iter().all(|header| header.holds(values(&header.name)))
    }

    /// Whether all calls of its service go by it.
    pub(super) fn takes_all(&self) -> bool {
        self.method.is_none() && self.headers.is_empty()
    }
}

/// Who gets copies of calls, whose answers nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRule {
    /// Who gets them.
    pub upstream: UpstreamName,
    /// How many of the calls.
    pub percent: Percent,
    /// Whether the copies have the caller's credentials.
    pub keep_authorization: bool,
    /// Whether methods that change something are copied as well.
    pub side_effects: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn condition(value: HeaderMatch) -> HeaderCondition {
        HeaderCondition { name: "x-canary".to_owned(), value }
    }

    fn holds(value: HeaderMatch, values: &[&str]) -> bool {
        condition(value).holds(values.iter().map(|value| value.as_bytes()))
    }

    fn rule(headers: Vec<HeaderCondition>) -> Rule {
        Rule { service: "a.B".to_owned(), method: None, headers, to: None, sticky: false, mirrors: Vec::new() }
    }

    #[test]
    fn one_value_of_several_is_enough_and_case_counts() {
        let exact = || HeaderMatch::Exact("always".to_owned());
        assert!(holds(exact(), &["always"]) && holds(exact(), &["never", "always"]));
        assert!(!holds(exact(), &[]) && !holds(exact(), &["Always"]) && !holds(exact(), &["always "]));
        let prefix = || HeaderMatch::Prefix("beta-".to_owned());
        assert!(holds(prefix(), &["beta-1"]) && holds(prefix(), &["x", "beta-"]));
        assert!(!holds(prefix(), &["beta"]) && !holds(prefix(), &[]));
        assert!(holds(HeaderMatch::Present(true), &[""]) && !holds(HeaderMatch::Present(true), &[]));
        assert!(holds(HeaderMatch::Present(false), &[]) && !holds(HeaderMatch::Present(false), &["x"]));
    }

    #[test]
    fn a_rule_is_for_its_method_or_for_all() {
        let mut rule = rule(Vec::new());
        assert!(rule.is_for("Get") && rule.takes_all());
        rule.method = Some("Get".to_owned());
        assert!(rule.is_for("Get") && !rule.is_for("Gets") && !rule.is_for("get") && !rule.takes_all());
    }

    proptest! {
        #[test]
        fn a_rule_matches_when_all_of_its_headers_do(
            conditions in prop::collection::vec((0_usize..3, "[ab]{0,2}", 0_usize..4), 0..4),
            sent in prop::collection::vec((0_usize..3, "[ab]{0,2}"), 0..4),
        ) {
            let name = |at: usize| format!("x-{at}");
            let conditions: Vec<_> = conditions.into_iter().map(|(at, text, kind)| HeaderCondition {
                name: name(at),
                value: match kind {
                    0 => HeaderMatch::Exact(text),
                    1 => HeaderMatch::Prefix(text),
                    _ => HeaderMatch::Present(kind == 2),
                },
            }).collect();
            let values = |wanted: &str| {
                let wanted = wanted.to_owned();
                let own = sent.iter().filter(move |(at, _)| name(*at) == wanted);
                own.map(|(_, text)| text.as_bytes()).collect::<Vec<_>>().into_iter()
            };
            let each = conditions.iter().all(|condition| condition.holds(values(&condition.name)));
            prop_assert_eq!(rule(conditions).matches(values), each);
        }
    }
}
