//! HTTP/JSON by the option `google.api.http`: paths, bodies and parameters become messages, and answers become JSON.
//!
//! | module | what it is for |
//! |---|---|
//! | [`transcoder`] | finds the method of a request, and answers it |
//! | [`binding`], [`template`], [`matcher`] | what the options say, by path |
//! | [`addresses`] | which paths methods may have that are added |
//! | [`request`] | the message of a request, of [`value`] (its JSON), [`query`] and [`mask`] |
//! | [`conditions`] | `Idempotency-Key`, `If-Match` and `Last-Event-ID` |
//! | [`error`](mod@error), [`metadata`] | what answers are, beside their message |
//! | [`stream`] | answers of many messages: lines, or server-sent events |

mod addresses;
mod binding;
mod body;
mod conditions;
mod error;
mod fault;
mod field;
#[cfg(test)]
mod fuzz;
mod mask;
mod matcher;
mod message;
mod metadata;
mod percent;
mod query;
mod refusal;
mod request;
mod stream;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transcoder;
mod value;

pub(super) use error::error;
pub(super) use transcoder::{Found, Transcoder};
