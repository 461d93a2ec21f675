//! What the AIPs ask of a gRPC service, for any service of tonic.
//!
//! Google's API improvement proposals (<https://google.aip.dev>) say how lists are paged, how updates name their fields, how
//! requests are made repeatable, and how faults are told. Here each is a small room:
//!
//! | module | what it is for | AIP |
//! |---|---|---|
//! | [`page`] | page tokens bound to their list; pages bounded by count and by bytes | 158 |
//! | [`mask`] | which fields an update changes | 134, 161, 203 |
//! | [`filter`] | `field = value` terms joined by `AND`; enums in both spellings | 160 |
//! | [`order_by`] | the order that a list is wanted in | 132 |
//! | [`etag`] | a resource's version as callers see it | 154 |
//! | [`request`] | request ids, and the hash of the rest | 155 |
//! | [`name`] | resource names, and ids that callers choose | 122, 133 |
//! | [`violations`] | all faults of a request in one bounded status | 193 |
//! | [`echo()`] | what callers have sent, cut to be shown in errors | |
//! | `errors` | the errors of these checks as rows of a table, with the feature `mesh` | 193 |
//!
//! Whatever a caller sends, a check looks at a bounded part of it and answers with a status below 8 KiB, the header fields that
//! gRPC asks peers to take.

mod bounded;
mod echo;
#[cfg(feature = "mesh")]
pub mod errors;
pub mod etag;
pub mod filter;
pub mod mask;
pub mod name;
pub mod order_by;
pub mod page;
pub mod request;
pub mod violations;

pub use echo::{Echo, MAX_ECHO, echo};
pub use violations::Violations;

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
