//! Why something happens: what commits and events carry besides what happened.

/// How many bytes a field may have; what is longer is left out.
pub const MAX_CONTEXT_FIELD_BYTES: usize = 512;

/// Why something happens. Fields are empty where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The id of what has caused it: an event, or a call.
    pub causation_id: String,
    /// The id of what everything began with that has led to it.
    pub correlation_id: String,
    /// The trace that it belongs to, as W3C's `traceparent`.
    pub trace_parent: String,
    /// What tracing systems add to that, as W3C's `tracestate`.
    pub trace_state: String,
    /// On whose behalf: a principal's name, such as `users/42`.
    pub actor: String,
}
