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
//! accept (TLS, peer identity, age, limits) → telemetry → what a request must be → deadline → limit by address → identity →
//! authorisation → limit by principal → arrival of the request → places (calls, streams) → message size → the user's layers →
//! handler. Panics, the deadline, the expiry of the caller's credentials, the size of the status and the end of the server are
//! looked after all the way. The order is fixed. Each method has one plan, made at the start from the descriptors and the
//! settings, which says what each step does to its calls; [`Contracts`] bring the plans of further methods while the server runs.
//! Health checks pass by identity, limits and shedding, and reflection by identity; their streams are open to everybody, within a
//! bound of their own.
//!
//! A call holds its places until the last byte of its answer has passed the connection's writer. What callers may have at once is
//! bounded for each of them before it is for all: see [`Limits`]. Every wait is bounded too: see [`Builder`].
//!
//! What is no gRPC, HTTP/1.1 and other requests of HTTP/2, is refused, or goes to an [`HttpService`] that makes its calls by the same
//! path.
//!
//! The steps are tower layers too, for services that stand on another server:
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
//! | places of calls and streams | [`LoadShedLayer`] | UNAVAILABLE, RESOURCE_EXHAUSTED |
//! | message size | [`MessageSizeLayer`] | RESOURCE_EXHAUSTED |

mod accept;
mod arriving;
pub mod auth;
mod background;
mod body;
mod bounds;
mod budget;
mod builder;
mod call_observer;
mod client_address;
mod contracts;
mod drain;
mod error;
mod expiry;
mod forwarded;
pub mod health;
mod health_port;
mod http;
mod layers;
mod listening;
pub mod ops;
mod panics;
mod peer;
mod pipeline;
mod plan;
pub mod proxy;
pub mod rate;
mod reflection;
mod refusal;
mod request_size;
mod router;
mod run;
mod settings;
pub mod signal;
mod sockets;
mod status_size;
mod stream_end;
mod tls;

pub use self::accept::{ConnectionObserver, Http1, Http1Connection, Listener, ProxyProtocol, RefusedConnection};
pub use self::arriving::Arrived;
pub use self::background::{Background, BackgroundError, TaskEnd};
pub use self::budget::{Budgets, CallerLimits, Limits, Resource};
pub use self::builder::Builder;
pub use self::call_observer::{CallEnd, CallHead, CallObserver, CallRecord, CallRecorder, IncomingCall};
pub use self::client_address::{CLIENT_ADDRESS, ClientAddress, InvalidProxy, TrustedProxies};
pub use self::contracts::{ContractSet, Contracts, InvalidContracts};
pub use self::drain::Drain;
pub use self::error::ServerError;
pub use self::health_port::HealthPort;
pub use self::http::{Calls, HttpService};
pub use self::layers::{
    ArrivalFuture, ArrivalLayer, ArrivalService, CallTracker, ClientAddressLayer, ClientAddressService, DrainBody,
    DrainFuture, DrainLayer, DrainService, LoadShedFuture, LoadShedLayer, LoadShedService, MessageSizeFuture,
    MessageSizeLayer, MessageSizeService, PanicGuardBody, PanicGuardFuture, PanicGuardLayer, PanicGuardService, Place,
    ServerDeadlineBody, ServerDeadlineFuture, ServerDeadlineLayer, ServerDeadlineService, SizedRequest, SizedResponse,
    StatusSizeBody, StatusSizeFuture, StatusSizeLayer, StatusSizeService, TelemetryFuture, TelemetryLayer,
    TelemetryService,
};
pub use self::peer::{Peer, PeerIdentity};
pub use self::plan::{
    InvalidMethodSettings, MethodSetting, MethodSettings, StreamingMethods, is_health_check, is_reflection,
};
pub use self::refusal::{Domain, push_back};
pub use self::router::Router;
pub use self::tls::{ClientAuth, ServerTls, ServerTlsOptions, TlsHandshake};

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
