//! A server in the making: its settings, one by one.

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
use super::accept::{ConnectionObserver, Http1};
use super::auth::{AccessTable, Authenticator};
use super::budget::Budgets;
use super::call_observer::CallObserver;
use super::drain::Drain;
use super::health::Health;
use super::plan::MethodSettings;
use super::rate::RateLimitLayer;
use super::settings::Settings;
use super::tls::ServerTlsOptions;

/// A gRPC server in the making.
///
/// | what | default | source |
/// |---|---|---|
/// | age of a connection; its grace | without end | A9 |
/// | connection without a call | 15 min | A9 has no end |
/// | connections, calls, streams, watches, bytes on their way | see [`Limits`](super::Limits) | ours |
/// | connections that have not set up TLS and HTTP/2 yet | 512, 256 of an address | ours |
/// | calls of a connection at once | 1024 | ours |
/// | handshake (TLS and HTTP/2's preface) | 10 s | ours |
/// | keepalive | after 30 s; a sign of life may take 10 s | A8, shorter |
/// | headers of a call | 16 KiB | gRPC's 8 KiB, doubled as in tonic |
/// | message | 4 MiB | gRPC |
/// | first message of a call | within 10 s | ours |
/// | the next byte of an answer is read | within 60 s | ours |
/// | streams of health and reflection of a connection at once | 100 | ours |
/// | messages and streams of reflection, of an address | 1,000 at once, 100 a second | ours |
/// | credentials are verified | within 10 s | ours |
/// | windows of a stream, of a connection; frame | 1 MiB, 1 MiB; 16 KiB | ours |
/// | unsent bytes of a stream, of a connection | 64 KiB, 128 KiB | ours |
/// | bytes of a TCP connection that the kernel keeps | as the system says | ours |
/// | timeout of a call; rates | none | |
/// | drain | 5 s, 15 s, 3 s | see [`Drain`] |
#[must_use = "a builder does nothing until it serves"]
pub struct Builder<L = Identity> {
    pub(super) settings: Settings,
    pub(super) layer: L,
}

impl Default for Builder {
    fn default() -> Self {
        Self { settings: Settings::default(), layer: Identity::new() }
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
        self.settings.options.age = Some(bounded(age));
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
        self.settings.options.age_grace = Some(bounded(grace));
        self
    }

    /// Ends connections that had no call for so long (gRFC A9); 15 minutes. `Duration::MAX`: never.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().max_connection_idle(Duration::from_secs(5 * 60));
    /// ```
    pub fn max_connection_idle(mut self, idle: Duration) -> Self {
        self.settings.options.idle = Some(bounded(idle));
        self
    }

    /// What callers may have at once, each of them and all together: connections, calls, streams, watches, bytes on their way.
    /// The handle tells how much of it is in use.
    ///
    /// ```
    /// use meshwork::Server;
    /// use meshwork::server::{Budgets, CallerLimits, Limits, Resource};
    ///
    /// let limits = Limits::default();
    /// let calls = CallerLimits { per_principal: 64, ..limits.get(Resource::Calls) };
    /// let budgets = Budgets::new(limits.with(Resource::Calls, calls));
    /// let server = Server::builder().budgets(budgets.clone());
    /// assert_eq!(budgets.in_use(Resource::Calls), 0);
    /// ```
    pub fn budgets(mut self, budgets: Budgets) -> Self {
        self.settings.budgets = budgets;
        self
    }

    /// The most connections that have not set up TLS and HTTP/2 yet, in all and of one address (of IPv6, one /64). The oldest of
    /// the address that has the most gives way to one more.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_handshakes(64, 16);
    /// ```
    pub fn max_handshakes(mut self, max: usize, per_address: usize) -> Self {
        self.settings.handshakes = (max, per_address);
        self
    }

    /// Serves connections that speak HTTP/1.1 by `taker`; else they are answered that this port speaks gRPC over HTTP/2, unless
    /// there is a service for [`http`](Builder::http).
    pub fn http1(mut self, taker: Arc<dyn Http1>) -> Self {
        self.settings.http1 = Some(taker);
        self
    }

    /// Shows `observer` the connections: those that open and close, and those that are refused.
    pub fn connection_observer(mut self, observer: Arc<dyn ConnectionObserver>) -> Self {
        self.settings.connections = Some(observer);
        self
    }

    /// How long a connection may take to set up TLS and HTTP/2.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().handshake_timeout(Duration::from_secs(5));
    /// ```
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.options.handshake = bounded(timeout);
        self
    }

    /// The most calls of one connection at once.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_concurrent_streams(100);
    /// ```
    pub fn max_concurrent_streams(mut self, max: u32) -> Self {
        self.settings.options.serve.max_concurrent_streams = max;
        self
    }

    /// The most streams of health (`Watch`) and reflection that one connection may have open. They are open to everybody: their
    /// budget, for an address and in all, is [`Resource::Watches`](super::Resource::Watches).
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_connection_watches(8);
    /// ```
    pub fn max_connection_watches(mut self, max: usize) -> Self {
        self.settings.watches_of_connection = max;
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
        self.settings.options.serve.keep_alive = Some((bounded(interval), bounded(timeout)));
        self
    }

    /// The flow-control windows of a stream and of a connection, in bytes: so much of requests that handlers have not read yet
    /// is held. At most 2³¹ − 1; a connection begins with 65,535, whatever is set (RFC 9113, section 6.9.2).
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().windows(2 << 20, 16 << 20);
    /// ```
    pub fn windows(mut self, stream: u32, connection: u32) -> Self {
        self.settings.options.serve.stream_window = stream;
        self.settings.options.serve.connection_window = connection;
        self
    }

    /// The largest frame that clients may send, in bytes: 16 KiB to 16 MiB (RFC 9113, section 6.5.2).
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_frame_size(64 << 10);
    /// ```
    pub fn max_frame_size(mut self, bytes: u32) -> Self {
        self.settings.options.serve.max_frame_size = bytes.clamp(16 << 10, (16 << 20) - 1);
        self
    }

    /// How many bytes of a stream's answer wait for the connection's writer at most.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().send_buffer(256 << 10);
    /// ```
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.settings.options.serve.send_buffer = bytes.clamp(1, 1 << 30);
        self
    }

    /// How long a client may take to read the next byte of an answer, and of what is on its way when its connection ends; 60 s. A
    /// call whose client makes no room for more ends with RESOURCE_EXHAUSTED; a connection that takes no byte at all is cut,
    /// whatever it sends. The deadline of a call holds for its reader as well.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().slow_reader(Duration::from_secs(10));
    /// ```
    pub fn slow_reader(mut self, limit: Duration) -> Self {
        self.settings.options.slow_reader = bounded(limit);
        self.settings.options.serve.linger = bounded(limit);
        self
    }

    /// The most bytes of a call's headers, as HTTP/2 counts them (RFC 9113, section 6.5.2). A call with more is answered with
    /// RESOURCE_EXHAUSTED; one with four times as many with HTTP's 431, and sixteen times as many end the connection.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().max_header_list_size(8 << 10);
    /// ```
    pub fn max_header_list_size(mut self, bytes: u32) -> Self {
        self.settings.options.serve.max_header_list_size = bytes;
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

    /// How long the first message of a call may take, and the only one of a method that takes one. Before it is there, a call
    /// holds nothing; after that time it is answered with DEADLINE_EXCEEDED.
    ///
    /// ```
    /// # use std::time::Duration; use meshwork::Server;
    /// let server = Server::builder().first_message_timeout(Duration::from_secs(30));
    /// ```
    pub fn first_message_timeout(mut self, timeout: Duration) -> Self {
        self.settings.first_message = bounded(timeout);
        self
    }

    /// Settings of single methods and services, by a service config's names.
    ///
    /// ```
    /// use meshwork::Server;
    /// use meshwork::server::MethodSettings;
    ///
    /// let settings = MethodSettings::parse(
    ///     r#"{"methodConfig": [{"name": [{"service": "shop.v1.Orders"}], "timeout": "5s", "maxRequestMessageBytes": 65536}]}"#,
    /// )?;
    /// let server = Server::builder().method_settings(settings);
    /// # Ok::<_, meshwork::server::InvalidMethodSettings>(())
    /// ```
    pub fn method_settings(mut self, settings: MethodSettings) -> Self {
        self.settings.methods = settings;
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

    /// Tells `observer` of each call, after those that were given before it.
    ///
    /// ```
    /// # use std::sync::Arc; use meshwork::{Server, server::CallObserver};
    /// struct Quiet;
    /// impl CallObserver for Quiet {}
    /// let server = Server::builder().observer(Arc::new(Quiet));
    /// ```
    pub fn observer(mut self, observer: Arc<dyn CallObserver>) -> Self {
        self.settings.observers.push(observer);
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

    /// Knows callers by `authenticator`. What goes on when the [credentials of its caller
    /// expire](super::auth::Principal::with_expiry) ends then.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.settings.authenticator = Some(authenticator);
        self
    }

    /// Says who may call which method. Without it everybody may call everything. [`Builder::contracts`] adds to it.
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

    /// An encoded `FileDescriptorSet` of the services: reflection shows it, and the plans of the methods are made of it: what
    /// they stream, and which there are. Adds to those that are set already.
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

    /// Shows services by reflection that another server answers for, as behind a gateway. [`Builder::contracts`] adds more.
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
        S::Future: Send + 'static,
    {
        self.settings.services.push(S::NAME.to_owned());
        self.settings.router.add(service);
        self
    }

    /// Answers the calls of services that were not added. `has` says which paths (`/package.Service/Method`) it answers: of these,
    /// such as the [access table](Builder::access) doesn't name are refused. Others come to it, whoever calls, and it is to
    /// answer them with UNIMPLEMENTED. [`Builder::contracts`] is for what changes while the server runs.
    pub fn fallback<S>(mut self, service: S, has: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.settings.router.set_fallback(service, has);
        self
    }

    /// Puts a layer around the [`Router`](super::Router), within all steps of the server and around the layers that were added before.
    ///
    /// Who may call a method was decided by then, by the path that came. With an [access table](Builder::access) a layer sees
    /// no call that neither a service nor a fallback is there for, unless the table names it: so a method that a layer answers
    /// by itself stands there.
    ///
    /// ```
    /// # use meshwork::Server;
    /// let server = Server::builder().layer(tower::layer::util::Identity::new());
    /// ```
    pub fn layer<N>(self, layer: N) -> Builder<Stack<L, N>> {
        Builder { settings: self.settings, layer: Stack::new(self.layer, layer) }
    }
}

/// A time that a clock can add: `Duration::MAX` means never, and no clock goes so far.
pub(super) fn bounded(time: Duration) -> Duration {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    time.min(YEARS)
}

impl<L> fmt::Debug for Builder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("services", &self.settings.services).finish_non_exhaustive()
    }
}
