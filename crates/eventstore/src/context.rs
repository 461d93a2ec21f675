//! Why something happens: what commits and events carry besides what happened.

use std::sync::Arc;

use meshwork_sql::{Carrying, carried, carrying};
use serde::{Deserialize, Serialize};

/// How many bytes a field may have; what is longer is left out.
pub const MAX_CONTEXT_FIELD_BYTES: usize = 512;

/// How many bytes a text may have: more than all fields have, each character escaped.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Why something happens. Fields are empty where nothing is known.
///
/// A task carries a context ([`Context::scope`]), from where commits and events take it ([`Context::current`]). What is longer
/// than [`MAX_CONTEXT_FIELD_BYTES`] or has control characters is left out, wherever a context is carried or stored: some of it
/// comes from callers.
///
/// ```
/// use meshwork_eventstore::Context;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let context = Context { actor: "users/42".to_owned(), ..Context::default() };
/// context.scope(async { assert_eq!(Context::current().actor, "users/42") }).await;
/// assert_eq!(Context::current(), Context::default());
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// The id of what has caused it: an event, or a call.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub causation_id: String,
    /// The id of what everything began with that has led to it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub correlation_id: String,
    /// The trace that it belongs to, as W3C's `traceparent`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_parent: String,
    /// What tracing systems add to that, as W3C's `tracestate`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_state: String,
    /// On whose behalf: a principal's name, such as `users/42`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub actor: String,
}

impl Context {
    /// What the running task carries, and so does the work of its transactions ([`meshwork_sql::carried`]); nothing is known
    /// where it carries none, as in what is spawned.
    pub fn current() -> Self {
        carried::<Self>().map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    /// Runs a future carrying this.
    pub fn scope<F: Future>(self, future: F) -> Carrying<F> {
        carrying(Arc::new(self.bounded()), future)
    }

    /// Without what is too long or has control characters.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for field in self.fields_mut() {
            if field.len() > MAX_CONTEXT_FIELD_BYTES || field.chars().any(char::is_control) {
                // Its memory goes too: it may be large.
                *field = String::new();
            }
        }
        self
    }

    /// As a column keeps it: JSON of what is known, at most 8 KiB; the empty text when nothing is.
    pub fn to_text(&self) -> String {
        let bounded = self.clone().bounded();
        if bounded == Self::default() {
            return String::new();
        }
        // Texts of an object without others in it can always be told.
        serde_json::to_string(&bounded).unwrap_or_default()
    }

    /// From what [`Context::to_text`] has told, by this release or another. Nothing is known by a text that can't be read; the
    /// log says so.
    pub fn from_text(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        if text.len() > MAX_TEXT_BYTES {
            tracing::warn!(bytes = text.len(), "the context of something that happened can't be read: it is too long");
            return Self::default();
        }
        match serde_json::from_str::<Self>(text) {
            Ok(context) => context.bounded(),
            Err(error) => {
                tracing::warn!(%error, "the context of something that happened can't be read");
                Self::default()
            }
        }
    }

    fn fields_mut(&mut self) -> [&mut String; 5] {
        let Self { causation_id, correlation_id, trace_parent, trace_state, actor } = self;
        [causation_id, correlation_id, trace_parent, trace_state, actor]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Context {
        Context {
            causation_id: "shop.Orders/Create".to_owned(),
            correlation_id: "a\"b\\c\u{e9}".to_owned(),
            trace_parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            trace_state: "vendor=value,other=1".to_owned(),
            actor: "users/42".to_owned(),
        }
    }

    #[test]
    fn a_context_comes_back_from_its_text() {
        assert_eq!(Context::from_text(&whole().to_text()), whole());
        let some = Context { actor: "users/42".to_owned(), ..Context::default() };
        assert_eq!(some.to_text(), r#"{"actor":"users/42"}"#);
        assert_eq!(Context::from_text(&some.to_text()), some);
        assert_eq!(Context::default().to_text(), "");
        assert_eq!(Context::from_text(""), Context::default());
    }

    #[test]
    fn a_text_of_a_later_release_is_read_as_far_as_it_is_known() {
        let some = Context { actor: "users/42".to_owned(), ..Context::default() };
        assert_eq!(Context::from_text(r#"{"actor":"users/42","tenant":{"id":7}}"#), some);
    }

    #[test]
    fn what_cannot_be_read_tells_nothing() {
        let long = format!(r#"{{"actor":"users/42","padding":"{}"}}"#, "x".repeat(MAX_TEXT_BYTES));
        for text in ["{", "null", "[1]", r#"{"actor":7}"#, "users/42", &long] {
            assert_eq!(Context::from_text(text), Context::default(), "{}", text.len());
        }
    }

    #[test]
    fn fields_that_are_too_long_or_not_printable_are_left_out() {
        let most = "\"".repeat(MAX_CONTEXT_FIELD_BYTES);
        let longest = Context {
            causation_id: most.clone(),
            correlation_id: most.clone(),
            trace_parent: most.clone(),
            trace_state: most.clone(),
            actor: most.clone(),
        };
        let text = longest.to_text();
        assert!(text.len() <= MAX_TEXT_BYTES, "{} bytes", text.len());
        assert_eq!(Context::from_text(&text), longest);
        for actor in [format!("{most}x"), "users/42\n".to_owned(), "users\0".to_owned(), "\u{85}".to_owned()] {
            let others = Context { actor: String::new(), ..whole() };
            assert_eq!(Context { actor, ..whole() }.bounded(), others);
        }
        assert_eq!(Context::from_text(r#"{"actor":"users/42\u0000"}"#), Context::default());
    }

    #[tokio::test]
    async fn what_is_carried_is_bounded_and_the_innermost() {
        let outer = Context { actor: "\0".to_owned(), ..whole() };
        outer
            .scope(async {
                assert_eq!(Context::current(), Context { actor: String::new(), ..whole() });
                Context::default().scope(async { assert_eq!(Context::current(), Context::default()) }).await;
                assert_eq!(Context::current().trace_parent, whole().trace_parent);
            })
            .await;
        assert_eq!(Context::current(), Context::default());
    }
}
