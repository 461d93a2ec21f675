//! Metrics of calls, by gRPC's conventions for OpenTelemetry (gRFC A66 and A96), with the feature `metrics`.
//!
//! [`ServerMetrics`] observes a server and [`ClientMetrics`] a channel. Both measure with the [`Meter`] that they are given: there is
//! no other, and a server or channel without them measures nothing. Where the measurements go is for the owner of the meter to
//! say: this crate has the API of OpenTelemetry, and not its SDK.
//!
//! | instrument | kind | unit | attributes |
//! |---|---|---|---|
//! | `grpc.server.call.started` | counter | calls | `grpc.method` |
//! | `grpc.server.call.duration` | histogram | s | `grpc.method`, `grpc.status` |
//! | `grpc.server.call.sent_total_compressed_message_size` | histogram | bytes | `grpc.method`, `grpc.status` |
//! | `grpc.server.call.rcvd_total_compressed_message_size` | histogram | bytes | `grpc.method`, `grpc.status` |
//! | `grpc.client.attempt.started` | counter | attempts | `grpc.method`, `grpc.target` |
//! | `grpc.client.attempt.duration` | histogram | s | `grpc.method`, `grpc.target`, `grpc.status` |
//! | `grpc.client.attempt.sent_total_compressed_message_size` | histogram | bytes | `grpc.method`, `grpc.target`, `grpc.status` |
//! | `grpc.client.attempt.rcvd_total_compressed_message_size` | histogram | bytes | `grpc.method`, `grpc.target`, `grpc.status` |
//! | `grpc.client.call.duration` | histogram | s | `grpc.method`, `grpc.target`, `grpc.status` |
//! | `grpc.client.call.retries` | histogram | retries | `grpc.method`, `grpc.target` |
//! | `grpc.client.call.transparent_retries` | histogram | retries | `grpc.method`, `grpc.target` |
//! | `grpc.client.call.hedges` | histogram | hedges | `grpc.method`, `grpc.target` |
//! | `grpc.client.call.retry_delay` | histogram | s | `grpc.method`, `grpc.target` |
//!
//! `grpc.method` is `package.Service/Method` of a method that the server or the descriptors know, and `other` of all that callers may
//! make up; `grpc.status` is the name of a code, such as `NOT_FOUND`. So the number of series is bounded by the contracts, whatever
//! callers send. What a call has nothing of (retries, hedges, delay) isn't recorded.

mod attributes;
mod client;
mod instruments;
mod server;

pub use opentelemetry::metrics::Meter;

pub use self::client::ClientMetrics;
pub use self::server::ServerMetrics;
