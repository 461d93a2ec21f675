//! What an answer says of the limits of its call (draft-ietf-httpapi-ratelimit-headers-11): `ratelimit-policy`, which limits there
//! are, and `ratelimit`, what is left of one.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::decision::Decision;
use super::rule::Rule;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The largest number of a structured field (RFC 9651, section 3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// The fields of an answer. One that nobody knows is absent.
#[derive(Debug, Default)]
pub(in crate::server) struct LimitFields {
    policy: Option<HeaderValue>,
    limit: Option<HeaderValue>,
}

impl LimitFields {
    /// Those of a call that `rules` count, after a decision that is about the rule `decided`, if about one.
    pub(super) fn of<'r>(rules: impl Iterator<Item = &'r Rule>, decision: Decision, decided: Option<&Rule>) -> Self {
        let mut policy = String::new();
        for rule in rules {
            policy.push_str(if policy.is_empty() { "" } else { ", " });
            push_policy(&mut policy, rule);
        }
        let limit = decided.and_then(|rule| limit(rule, decision));
        Self { policy: value(policy), limit: limit.and_then(value) }
    }

    /// Puts them in place of what the headers say there.
    pub(in crate::server) fn replace(self, headers: &mut HeaderMap) {
        let Self { policy, limit } = self;
        for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
            match value {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
    }

    /// Takes them out of trailers, where they must not be (sections 3 and 4).
    pub(in crate::server) fn remove(trailers: &mut HeaderMap) {
        Self::default().replace(trailers);
    }
}

fn value(text: String) -> Option<HeaderValue> {
    Some(text).filter(|text| !text.is_empty()).and_then(|text| HeaderValue::try_from(text).ok())
}

/// A quota policy: `"calls";q=100;w=10`. The window is the time in which an empty bucket fills.
fn push_policy(text: &mut String, rule: &Rule) {
    push_name(text, &rule.name);
    let (quota, window) = (rule.rate.burst().min(LARGEST), seconds(rule.rate.window()).max(1));
    let _ = write!(text, ";q={quota};w={window}");
}

/// A service limit: `"calls";r=57;t=5`. The time is that until the bucket is full when nobody calls; of a call that is denied, until
/// the next is admitted, so that what says when to come back names no earlier time.
fn limit(rule: &Rule, decision: Decision) -> Option<String> {
    let (remaining, time) = match decision {
        Decision::Admitted { quota } => quota.map(|quota| (quota.remaining, quota.reset_after))?,
        Decision::Denied { retry_after, .. } => (0, retry_after),
        Decision::Unavailable { .. } => return None,
    };
    let mut text = String::new();
    push_name(&mut text, &rule.name);
    let _ = write!(text, ";r={};t={}", remaining.min(LARGEST), seconds(time));
    Some(text)
}

/// A string (RFC 9651, section 3.3.3). It has printable ASCII alone: what is none is percent-encoded.
fn push_name(text: &mut String, name: &str) {
    text.push('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => drop(write!(text, "%{byte:02x}")),
        }
    }
    text.push('"');
}

/// Whole seconds, rounded up: who waits them has waited enough.
fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).min(LARGEST)
}

/// What the answer to a call is to say. Of several limits that decide on one call, the last counts.
#[derive(Debug, Default)]
pub(in crate::server) struct LimitReport(Mutex<Option<Box<LimitFields>>>);

impl LimitReport {
    pub(super) fn set(&self, fields: LimitFields) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(fields));
    }

    /// The fields; none where no limit was asked.
    pub(in crate::server) fn into_fields(self) -> LimitFields {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map(|fields| *fields).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::rate::{Quota, Rate};

    fn fields(name: &str, rate: Rate, decision: Decision) -> (String, Option<String>) {
        let rule = Rule::new(name, rate);
        let fields = LimitFields::of(std::iter::once(&rule), decision, Some(&rule));
        let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
        (text(fields.policy.unwrap()), fields.limit.map(text))
    }

    fn admitted(remaining: u64, reset_after: Duration) -> Decision {
        Decision::Admitted { quota: Some(Quota { rule: 0, remaining, reset_after }) }
    }

    #[test]
    fn numbers_are_whole_seconds_and_no_larger_than_a_field_holds() {
        let rate = |burst, per_second| Rate::per_second(burst, per_second).unwrap();
        let said = fields("calls", rate(100, 10.0), admitted(57, Duration::from_millis(4300)));
        assert_eq!(said, (r#""calls";q=100;w=10"#.to_owned(), Some(r#""calls";r=57;t=5"#.to_owned())));
        let denied = Decision::Denied { rule: 0, retry_after: Duration::from_micros(1) };
        let said = fields("fast", rate(5, 50_000.0), denied);
        assert_eq!(said, (r#""fast";q=5;w=1"#.to_owned(), Some(r#""fast";r=0;t=1"#.to_owned())));
        let vast = Rate::new(4_503_599_627_370_495, 1, Duration::from_micros(1)).unwrap();
        let (policy, limit) = fields("vast", vast, admitted(u64::MAX, Duration::MAX));
        assert_eq!(policy, r#""vast";q=999999999999999;w=4503599628"#);
        assert_eq!(limit.unwrap(), r#""vast";r=999999999999999;t=999999999999999"#);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let rate = Rate::per_second(100, 10.0).unwrap();
        for unknown in [Decision::Admitted { quota: None }, Decision::Unavailable { rule: 0 }] {
            assert_eq!(fields("calls", rate, unknown), (r#""calls";q=100;w=10"#.to_owned(), None));
        }
        let mut headers = HeaderMap::new();
        headers.insert(LIMIT, HeaderValue::from_static("theirs"));
        headers.insert("other", HeaderValue::from_static("stays"));
        LimitFields::remove(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["other"]);
    }

    #[test]
    fn names_of_any_kind_are_strings_of_ascii() {
        let rate = Rate::per_second(1, 1.0).unwrap();
        let (policy, _) = fields("a \"b\" \\ ü\n", rate, Decision::Admitted { quota: None });
        assert_eq!(policy, r#""a \"b\" \\ %c3%bc%0a";q=1;w=1"#);
    }
}
