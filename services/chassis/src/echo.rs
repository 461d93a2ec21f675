//! What callers have sent, as errors show it: cut, so that nothing that is sent can grow an answer.

pub use meshwork::errors::{Echo, MAX_ECHO, echo};
