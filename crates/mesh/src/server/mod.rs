//! A gRPC server that owes its callers nothing: it tells its health, ends calls at their deadlines, refuses what is too much, and
//! stops without a failed call.
//!
//! ```no_run
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use meshwork::server::{Listener, Server};
//!
//! // before: tonic::transport::Server::builder().add_service(…).serve(address).await?;
//! let server = Server::builder().descriptors(tonic_health::pb::FILE_DESCRIPTOR_SET);
//! server.serve(Listener::tcp("0.0.0.0:50051").await?).await?;
//! # Ok(()) }
//! ```
//!
//! # The path of a call
//!
//! accept (TLS, peer identity, age, limits) → telemetry → size of the status → panic guard → drain → deadline → limit by
//! address → identity → authorisation → limit by principal → arrival of the request → load shedding and streams → message size
//! → the user's layers → handler. Health checks pass by identity, limits and shedding. The order is fixed; each step is a
//! tower layer that can be used by itself:
//!
//! | step | layer | answers |
//! |---|---|---|
//! | telemetry | [`TelemetryLayer`] | |
//! | size of the status | [`StatusSizeLayer`] | |
//! | panic guard | [`PanicGuardLayer`] | INTERNAL |
//! | drain | [`DrainLayer`] | UNAVAILABLE at the end of a stream |
//! | deadline | [`ServerDeadlineLayer`] | DEADLINE_EXCEEDED |
//! | limit by address, by principal | [`rate::RateLimitLayer`] | RESOURCE_EXHAUSTED |
//! | identity | [`auth::AuthenticationLayer`] | UNAUTHENTICATED |
//! | authorisation | [`auth::AuthorizationLayer`] | UNAUTHENTICATED, PERMISSION_DENIED |
//! | arrival of the request | [`ArrivalLayer`] | DEADLINE_EXCEEDED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED |
//! | load shedding, streams | [`LoadShedLayer`] | UNAVAILABLE, RESOURCE_EXHAUSTED |
//! | message size | [`MessageSizeLayer`] | RESOURCE_EXHAUSTED |

mod accept;
mod arrival;
pub mod auth;
mod body;
mod bound;
mod builder;
mod connection;
mod deadline;
mod drain;
mod exempt;
mod handshake;
pub mod health;
mod health_port;
mod listener;
mod methods;
pub mod ops;
mod panic;
mod peer;
pub mod rate;
mod reflection;
mod refusal;
mod router;
mod run;
mod shed;
pub mod signal;
mod size;
mod stack;
mod streams;
mod telemetry;
mod tls;
mod turns;
mod unfinished;

pub use self::arrival::{ArrivalFuture, ArrivalLayer, ArrivalLimits, ArrivalService, Arrived};
pub use self::bound::{StatusSizeBody, StatusSizeFuture, StatusSizeLayer, StatusSizeService};
pub use self::builder::Builder;
pub use self::deadline::{ServerDeadlineBody, ServerDeadlineFuture, ServerDeadlineLayer, ServerDeadlineService};
pub use self::drain::{Drain, DrainBody, DrainFuture, DrainLayer, DrainService};
pub use self::exempt::{is_health_check, is_reflection};
pub use self::health_port::HealthPort;
pub use self::listener::Listener;
pub use self::methods::StreamingMethods;
pub use self::panic::{PanicGuardBody, PanicGuardFuture, PanicGuardLayer, PanicGuardService};
pub use self::peer::{Peer, PeerIdentity};
pub use self::refusal::{Domain, push_back};
pub use self::router::Router;
pub use self::shed::{LoadShed, LoadShedFuture, LoadShedLayer, LoadShedService, Place};
pub use self::size::{MessageSizeFuture, MessageSizeLayer, MessageSizeService, SizedRequest, SizedResponse};
pub use self::streams::{StreamBudget, StreamLimits};
pub use self::telemetry::{
    CallEnd, CallObserver, Following, IncomingCall, TelemetryFuture, TelemetryLayer, TelemetryService,
};
pub use self::tls::{ClientAuth, ServerTls, ServerTlsOptions, Shaken};
use crate::tls::TlsError;

/// A gRPC server.
#[derive(Clone, Copy, Debug)]
pub struct Server;

impl Server {
    /// The settings, all at their defaults; see [`Builder`].
    ///
    /// ```
    /// let builder = meshwork::Server::builder();
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// A server can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// TLS can't be set up.
    #[error("TLS: {0}")]
    Tls(#[source] TlsError),
    /// The descriptors are no `FileDescriptorSet`.
    #[error("the descriptors can't be read, they must be an encoded FileDescriptorSet: {0}")]
    Descriptors(#[source] prost::DecodeError),
    /// Reflection can't be set up.
    #[error("the contracts can't be served by reflection: {0}")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Signals can't be listened for.
    #[error("SIGTERM and SIGINT can't be listened for: {0}")]
    Signals(#[source] std::io::Error),
}
