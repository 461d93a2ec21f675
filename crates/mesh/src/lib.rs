//! A gRPC service mesh as a library: put it under the tonic clients that you have, and leave the sidecar away.
//!
//! [`Channel`] takes the place of `tonic::transport::Channel` in any generated client. It resolves a name, keeps a
//! connection to each server behind it, chooses one for each call, and repeats what is safe to repeat:
//!
//! ```no_run
//! use tonic_health::pb::health_client::HealthClient;
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // before: let channel = tonic::transport::Channel::from_static("http://users:50051").connect().await?;
//! let channel = meshwork::Channel::connect("dns:///users:50051").await?;
//! let mut client = HealthClient::new(channel);
//! # let _ = client; Ok(()) }
//! ```
//!
//! # The path of a call
//!
//! policy lookup → deadline → rate limit → retry or hedge → concurrency limit → pick (health, outliers and circuit
//! breakers decide what can be picked) → connection.
//!
//! | step | module | rules |
//! |---|---|---|
//! | targets and names | [`resolve`], [`endpoint`] | gRPC naming, A2, A21; RFC 8305 for the two families of addresses |
//! | connections | [`connect`], [`transport`] | A8, A17, A61, A62, A105 |
//! | choice of the endpoint | [`balance`] | A48; latency, calls in flight and rate of failure |
//! | endpoints that fail | [`breaker`]; outlier detection by [`policy`] | A50, circuit breaker with half-open probes |
//! | attempts | [`retry`] | A6, with attempt timeouts and a retry budget |
//! | limits | [`limit`] | A32, token bucket |
//! | deadlines | [`deadline`] | `grpc-timeout`; what is left of an incoming call goes to its outgoing calls |
//! | policy | [`policy`] | gRPC service config, and one `meshwork` key |
//! | what happened, and what it says of the server | [`trace`], [`observe`], [`outcome`] | |
//! | metrics of calls, with the feature `metrics` | `metrics` | A66, A96 |
//! | the same steps as tower layers | [`layer`] | |
//! | tokens of a client, fetched and replaced in time | [`credentials`] | |
//! | errors by kinds, with their standard details | [`errors`] | AIP-193 |
//! | servers, and calls that one passes on | [`server`], [`server::proxy`] | |
//!
//! Beside the calls runs one task of each channel, on the runtime of its first call. It resolves names, keeps the connections,
//! and publishes a snapshot of the endpoints; a pick reads the snapshot and waits for nothing. Where no endpoint has a place
//! for a call, the call waits in one queue of the channel, in the order of their coming.
//!
//! # The server
//!
//! [`Server`] stands around the services that tonic generates; see [`server`] for the path of its calls and its defaults.
//!
//! # Defaults
//!
//! Without a policy a channel balances by latency, load and rate of failure, repeats what provably never reached a server's
//! application (transparent retries), and does nothing else by itself: no timeout, no limit of calls in flight, no retry by
//! status, no circuit breaker, no outlier detection. A [`policy::Policy`] switches them on.
//!
//! | what | default | source |
//! |---|---|---|
//! | balancing | `meshwork_peak_ewma`: the better of two random endpoints, passed over as often as its calls fail | ours |
//! | names in DNS | asked again when the TTL is over; after failures at most every 30 s | gRPC naming; the 30 s are gRPC's |
//! | A for AAAA, and the other way round | waits 50 ms; without an answer its last good one holds | RFC 8305; ours |
//! | `:authority` and name of the certificate | the target's; in `static:///a,b` each server's own | gRPC naming; ours |
//! | connect timeout; backoff | 20 s; 1 s × 1.6 ± 20 %, at most 120 s | gRPC connection backoff |
//! | next address, if one is slow | after 250 ms | A61 |
//! | the order of the addresses of `pick_first` | random | ours; an option in A62 |
//! | calls that wait for an endpoint or a stream, of a channel | 16,384 | ours |
//! | connections to an endpoint | 1; policy may allow 10 | A105 |
//! | keepalive | off; at least 10 s apart; a sign of life may take 20 s | A8 |
//! | keepalive of TCP | off | ours |
//! | flow control | 2 MiB a stream, 256 MiB a connection | ours |
//! | headers or trailers of a call, at most | 64 KiB | ours |
//! | idle timeout | 30 min | gRPC's |
//! | calls in flight to a target | no limit; a policy may set one | A32 |
//! | messages at most | of a response 4 MiB; of a request no limit | gRPC's |
//! | attempts at most | 5; more are brought down to it | A6 |
//! | request bytes kept for retries | 1 MiB of a call, 16 MiB of a channel | A6 asks for a limit |
//! | methods without side effects or with a request id, given [`Builder::descriptors`] | 3 attempts on UNAVAILABLE, 50 ms × 2, at most 1 s | ours |
//! | request ids of such methods, where callers give none | a random UUID, the same for all attempts of a call | AIP-155 |
//! | health checks, when switched on | of the service that the policy names | A17 |
//! | outlier detection, when switched on | every 10 s; 30 s for a first ejection, at most 300 s; 10 % of endpoints | A50 |
//! | circuit breaker, when switched on | 5 failures in a row, open for 60 s, 3 probes; at most 50 % of the connected endpoints | ours |
//! | a call is logged as slow | when its first message, or its end, comes after 1 s | ours |
//!
//! # What is not here
//!
//! xDS, ring hash, weighted round robin and service configs in DNS TXT records.

mod attempts;
mod bodies;
pub mod breaker;
mod client;
pub mod deadline;
pub mod errors;
pub mod layer;
pub mod limit;
mod memory;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod observe;
pub mod outcome;
pub mod policy;
pub mod random;
pub mod server;
mod tls;
pub mod transport;

pub use client::channel::{BuildError, Builder, Channel, ConnectError, EndpointStatus, WaitForReady};
pub use client::trace::{CallReport, CallTrace};
pub use client::{balance, channel, connect, credentials, endpoint, resolve, retry, trace};
pub use server::Server;

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
