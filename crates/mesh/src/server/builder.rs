//! The settings of a server, and the start of it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::Response;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_layer::{Identity, Stack};
use tower_service::Service;

use super::Domain;
use super::arrival::ArrivalLimits;
use super::auth::{AccessTable, AuthenticationLayer, Authenticator};
use super::connection::Options;
use super::drain::{Drain, Hook};
use super::health::Health;
use super::rate::RateLimitLayer;
use super::router::Router;
use super::shed::LoadShed;
use super::size::MessageSizeLayer;
use super::streams::StreamLimits;
use super::telemetry::CallObserver;
use super::tls::ServerTlsOptions;
use crate::random::Random;

/// A gRPC server in the making.
///
/// | what | default | source |
/// |---|---|---|
/// | age of a connection; its grace; idle time | without end | A9 |
/// | connections; handshakes among them | 10,000; 512 | ours |
/// | calls of a connection at once | 1024 | ours |
/// | handshake (TLS and HTTP/2's preface) | 10 s | ours |
/// | keepalive | after 30 s; a sign of life may take 10 s | A8, shorter |
/// | headers of a call | 16 KiB | gRPC's 8 KiB, doubled as in tonic |
/// | message | 4 MiB | gRPC |
/// | first message of a call | within 10 s | ours, see [`ArrivalLimits`] |
/// | streams | 2048, 64 of a principal | ours, see [`StreamLimits`] |
/// | timeout of a call; calls in flight; rates | none | |
/// | drain | 5 s, 15 s, 3 s | see [`Drain`] |
#[must_use = "a builder does nothing until it serves"]
pub struct Builder<L = Identity> {
    pub(super) settings: Settings,
    pub(super) layer: L,
}

/// All that doesn't depend on the user's layers.
pub(super) struct Settings {
    pub options: Options,
    pub max_connections: usize,
    pub max_handshakes: usize,
    pub tls: Option<ServerTlsOptions>,
    pub drain: Drain,
    pub domain: Domain,
    pub observer: Option<Arc<dyn CallObserver>>,
    pub timeout: Option<Duration>,
    pub by_address: RateLimitLayer,
    pub authentication: AuthenticationLayer,
    pub access: Option<AccessTable>,
    pub by_principal: RateLimitLayer,
    pub arrival: ArrivalLimits,
    pub load_shed: Option<LoadShed>,
    pub streams: StreamLimits,
    pub max_message_size: usize,
    pub descriptors: Vec<Vec<u8>>,
    pub reflection: bool,
    pub shown: Vec<String>,
    pub health: Health,
    pub hooks: Vec<(String, Hook)>,
    pub router: Router,
    pub services: Vec<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { settings: Settings::default(), layer: Identity::new() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            options: Options {
                age: None,
                age_grace: None,
                idle: None,
                streams: 1024,
                header_list: 16 << 10,
                keepalive: Some((Duration::from_secs(30), Duration::from_secs(10))),
                handshake: Duration::from_secs(10),
                random: Random::system(),
            },
            max_connections: 10_000,
            max_handshakes: 512,
            tls: None,
            drain: Drain::default(),
            domain: Domain::default(),
            observer: None,
            timeout: None,
            by_address: RateLimitLayer::default(),
            authentication: AuthenticationLayer::default(),
            access: None,
            by_principal: RateLimitLayer::default(),
            arrival: ArrivalLimits::default(),
            load_shed: None,
            streams: StreamLimits::default(),
            max_message_size: MessageSizeLayer::DEFAULT,
            descriptors: Vec::new(),
            reflection: true,
            shown: Vec::new(),
            health: Health::new(),
            hooks: Vec::new(),
            router: Router::default(),
            services: Vec::new(),
        }
    }
}

impl<L> Builder<L> {
    /// Speaks TLS, and nothing else on this port.
    ///
    /// ```no_run
    /// # use meshwork::server::{Server, ServerTlsOptions};
    /// let server = Server::builder().tls(ServerTlsOptions::default());
    /// ```
    pub fn tls(mut self, options: ServerTlsOptions) -> Self {
        self.settings.tls = Some(options);
        self
    }

    /// Ends connections of this age, give or take 10 %, so that clients spread over new servers (gRFC A9): GOAWAY, and
    /// calls in flight go on.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().max_connection_age(Duration::from_secs(30 * 60));
    /// ```
    pub fn max_connection_age(mut self, age: Duration) -> Self {
        self.settings.options.age = Some(told(age));
        self
    }

    /// How long calls may go on after GOAWAY for age or idleness; the connection is cut then. Without end unless it is set
    /// (gRFC A9).
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().max_connection_age_grace(Duration::from_secs(60));
    /// ```
    pub fn max_connection_age_grace(mut self, grace: Duration) -> Self {
        self.settings.options.age_grace = Some(told(grace));
        self
    }

    /// Ends connections that had no call for so long (gRFC A9).
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().max_connection_idle(Duration::from_secs(15 * 60));
    /// ```
    pub fn max_connection_idle(mut self, idle: Duration) -> Self {
        self.settings.options.idle = Some(told(idle));
        self
    }

    /// The most connections at once; one more is closed as it comes.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_connections(1_000);
    /// ```
    pub fn max_connections(mut self, max: usize) -> Self {
        self.settings.max_connections = max;
        self
    }

    /// The most connections that have not set up TLS and HTTP/2 yet. The oldest gives way to one more.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_handshakes(64);
    /// ```
    pub fn max_handshakes(mut self, max: usize) -> Self {
        self.settings.max_handshakes = max;
        self
    }

    /// How long a connection may take to set up TLS and HTTP/2.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().handshake_timeout(Duration::from_secs(5));
    /// ```
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.options.handshake = told(timeout);
        self
    }

    /// The most calls of one connection at once.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_concurrent_streams(100);
    /// ```
    pub fn max_concurrent_streams(mut self, max: u32) -> Self {
        self.settings.options.streams = max;
        self
    }

    /// Probes a connection that was silent for `interval`, and ends it when no sign of life comes within `timeout`.
    ///
    /// Pings of clients are answered, whatever their number: gRPC allows them every 10 s, and none are policed.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().keepalive(Duration::from_secs(60), Duration::from_secs(20));
    /// ```
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.settings.options.keepalive = Some((told(interval), told(timeout)));
        self
    }

    /// The most bytes of a call's headers, as HTTP/2 counts them (RFC 9113, section 6.5.2).
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_header_list_size(8 << 10);
    /// ```
    pub fn max_header_list_size(mut self, bytes: u32) -> Self {
        self.settings.options.header_list = bytes;
        self
    }

    /// The most bytes of a message of a request; a larger one is answered with RESOURCE_EXHAUSTED. Above gRPC's 4 MiB the
    /// service's own `max_decoding_message_size` has to be raised as well.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_message_size(64 << 10);
    /// ```
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.settings.max_message_size = bytes;
        self
    }

    /// How a request may arrive: the time of its first message, and the bytes of messages that are not whole yet. Before its
    /// first message is there, a call holds nothing.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::{Server, server::ArrivalLimits};
    /// let limits = ArrivalLimits { first_message: Duration::from_secs(30), ..ArrivalLimits::default() };
    /// let server = Server::builder().arrival(limits);
    /// ```
    pub fn arrival(mut self, limits: ArrivalLimits) -> Self {
        self.settings.arrival = limits;
        self
    }

    /// How many streams may be open, for each caller and in all; calls are counted apart from them, by
    /// [`Builder::load_shed`]. Which methods stream is known from the [`Builder::descriptors`].
    ///
    /// ```
    /// # use meshwork::{Server, server::StreamLimits};
    /// let server = Server::builder().stream_limits(StreamLimits { per_address: 256, ..StreamLimits::default() });
    /// ```
    pub fn stream_limits(mut self, limits: StreamLimits) -> Self {
        self.settings.streams = limits;
        self
    }

    /// How long a call may take at most, streams included, whatever its client allows.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().timeout(Duration::from_secs(60));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// The domain of the errors that the server itself answers with.
    ///
    /// ```
    /// # use meshwork::{Server, server::Domain};
    /// let server = Server::builder().domain(Domain::new("orders.example.com"));
    /// ```
    pub fn domain(mut self, domain: Domain) -> Self {
        self.settings.domain = domain;
        self
    }

    /// Tells `observer` of each call.
    ///
    /// ```
    /// # use std::sync::Arc; use meshwork::{Server, server::CallObserver};
    /// struct Quiet;
    /// impl CallObserver for Quiet {}
    /// let server = Server::builder().observer(Arc::new(Quiet));
    /// ```
    pub fn observer(mut self, observer: Arc<dyn CallObserver>) -> Self {
        self.settings.observer = Some(observer);
        self
    }

    /// Limits calls before anything is known of who makes them.
    ///
    /// ```
    /// # use meshwork::{Server, server::rate::RateLimitLayer};
    /// let server = Server::builder().limit_by_address(RateLimitLayer::default());
    /// ```
    pub fn limit_by_address(mut self, limit: RateLimitLayer) -> Self {
        self.settings.by_address = limit;
        self
    }

    /// Knows callers by `authenticator`.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.settings.authentication = AuthenticationLayer::new(authenticator);
        self
    }

    /// Says who may call which method. Without it everybody may call everything.
    ///
    /// ```
    /// use meshwork::{Server, server::auth::{Access, AccessTable}};
    /// let table = AccessTable::new().method("/shop.v1.Orders/Get", Access::Authenticated);
    /// let server = Server::builder().access(table);
    /// ```
    pub fn access(mut self, table: AccessTable) -> Self {
        self.settings.access = Some(table);
        self
    }

    /// Limits calls by who makes them.
    ///
    /// ```
    /// # use meshwork::{Server, server::rate::RateLimitLayer};
    /// let server = Server::builder().limit_by_principal(RateLimitLayer::default());
    /// ```
    pub fn limit_by_principal(mut self, limit: RateLimitLayer) -> Self {
        self.settings.by_principal = limit;
        self
    }

    /// Refuses calls when so many are in flight.
    ///
    /// ```
    /// # use meshwork::{Server, server::LoadShed};
    /// let limit = LoadShed::new(256);
    /// let server = Server::builder().load_shed(limit.clone());
    /// assert_eq!(limit.in_flight(), 0);
    /// ```
    pub fn load_shed(mut self, limit: LoadShed) -> Self {
        self.settings.load_shed = Some(limit);
        self
    }

    /// An encoded `FileDescriptorSet` of the services: reflection shows it, and the drain knows by it which methods answer with
    /// streams. Adds to those that are set already.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().descriptors(tonic_health::pb::FILE_DESCRIPTOR_SET);
    /// ```
    pub fn descriptors(mut self, set: impl Into<Vec<u8>>) -> Self {
        self.settings.descriptors.push(set.into());
        self
    }

    /// Whether clients may ask for the contracts (`grpc.reflection`, without credentials). On, if there are descriptors.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().reflection(false);
    /// ```
    pub fn reflection(mut self, on: bool) -> Self {
        self.settings.reflection = on;
        self
    }

    /// Shows services by reflection that another server answers for, such as those behind a gateway.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().show(["shop.v1.Orders"]);
    /// ```
    pub fn show<N: Into<String>>(mut self, services: impl IntoIterator<Item = N>) -> Self {
        self.settings.shown.extend(services.into_iter().map(Into::into));
        self
    }

    /// The states of the services and the checks that move them. Without it there are none: everything is SERVING from the
    /// moment that the server listens.
    ///
    /// ```
    /// # use meshwork::{Server, server::health::Health};
    /// let health = Health::new();
    /// let server = Server::builder().health(health.clone());
    /// ```
    pub fn health(mut self, health: Health) -> Self {
        self.settings.health = health;
        self
    }

    /// How the server stops.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::{Server, server::Drain};
    /// let server = Server::builder().drain(Drain { delay: Duration::ZERO, ..Drain::default() });
    /// ```
    pub fn drain(mut self, drain: Drain) -> Self {
        self.settings.drain = drain;
        self
    }

    /// Runs `hook` once the last call has ended: consumers stop, buffers are flushed. `name` is for the log.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().on_drain("flush", async { println!("flushed") });
    /// ```
    pub fn on_drain(mut self, name: impl Into<String>, hook: impl Future<Output = ()> + Send + 'static) -> Self {
        self.settings.hooks.push((name.into(), Box::pin(hook)));
        self
    }

    /// Adds a service, as tonic generates it.
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        self.settings.services.push(S::NAME.to_owned());
        self.settings.router.add(service);
        self
    }

    /// Answers the calls that no service has a method for; UNIMPLEMENTED otherwise.
    pub fn fallback<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        self.settings.router.set_fallback(service);
        self
    }

    /// Puts a layer around the [`Router`], within all layers of the server and around those that were added before.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().layer(tower::layer::util::Identity::new());
    /// ```
    pub fn layer<N>(self, layer: N) -> Builder<Stack<L, N>> {
        Builder { settings: self.settings, layer: Stack::new(self.layer, layer) }
    }
}

/// A time that can be told from now on: `Duration::MAX` means never, and no clock goes so far.
fn told(time: Duration) -> Duration {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    time.min(YEARS)
}

impl<L> fmt::Debug for Builder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("services", &self.settings.services).finish_non_exhaustive()
    }
}
