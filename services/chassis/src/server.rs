//! A gRPC port: the service's methods with health, reflection, authorisation and a bounded stop.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use meshwork::deadline::IncomingDeadlineLayer;
use meshwork_api::FILE_DESCRIPTOR_SET;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};

use crate::auth::{AuthLayer, Verifier};
use crate::config::Listen;
use crate::drain::OpenCalls;
use crate::opening::Opening;

/// How long calls may go on after the stop was asked for. Without calls the stop takes a moment.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How many calls a connection may have open.
const STREAMS_PER_CONNECTION: u32 = 1024;
/// How long a connection may be silent before it is probed, and how long the probe may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// What every port serves beside its own services.
pub const PORT_SERVICES: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// A service can't start, or has to stop: one sentence for people, and what they can do.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct ServeError {
    /// What went wrong.
    pub sentence: String,
    /// What to do.
    pub hint: String,
}

impl ServeError {
    /// An error for people.
    pub fn new(sentence: impl Display, hint: impl Into<String>) -> Self {
        Self { sentence: sentence.to_string(), hint: hint.into() }
    }
}

impl From<tonic_reflection::server::Error> for ServeError {
    fn from(error: tonic_reflection::server::Error) -> Self {
        Self::new(format!("the contracts can't be served by reflection: {error}"), "this is a bug; please report it")
    }
}

/// The socket of a server.
///
/// # Errors
/// When the address can't be bound.
pub fn listen(listen: &Listen) -> Result<TcpListener, ServeError> {
    listen.listener().map_err(|error| {
        ServeError::new(
            format!("can't listen on {}: {error}", listen.address()),
            "stop what listens there, or choose another port",
        )
    })
}

/// The calls of a port on their way to its methods: what its layers wrap.
pub type Calls = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

type Wrap = Arc<dyn Fn(Calls) -> Calls + Send + Sync>;

/// A gRPC port in the making.
pub struct GrpcServer {
    routes: RoutesBuilder,
    services: Vec<&'static str>,
    shown: Vec<String>,
    auth: AuthLayer,
    before_auth: Option<Wrap>,
    after_auth: Option<Wrap>,
    verifier: Arc<Verifier>,
    needs_keys: bool,
    health: HealthReporter,
}

impl GrpcServer {
    /// A port with health (everything NOT_SERVING) and reflection, whose errors carry `domain`.
    ///
    /// Reflection shows the services that are added by [`GrpcServer::service`] and by [`GrpcServer::show`].
    pub async fn new(verifier: Arc<Verifier>, domain: &'static str) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        // tonic-health begins with SERVING, and a probe could pass before anything is ready.
        health.set_service_status("", ServingStatus::NotServing).await;
        let mut routes = RoutesBuilder::default();
        routes.add_service(health_service);
        let auth = AuthLayer::new(verifier.clone(), domain);
        Self {
            routes,
            services: Vec::new(),
            shown: Vec::new(),
            auth,
            before_auth: None,
            after_auth: None,
            verifier,
            needs_keys: true,
            health,
        }
    }

    /// Shows more services by reflection, which this port passes on to others.
    #[must_use]
    pub fn show(mut self, services: impl IntoIterator<Item = String>) -> Self {
        self.shown.extend(services);
        self
    }

    /// Puts a layer in front of authorisation: it sees all calls, those too that authorisation will refuse.
    #[must_use]
    pub fn before_auth<L>(mut self, layer: L) -> Self
    where
        L: Layer<Calls> + Send + Sync + 'static,
        L::Service:
            Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send,
    {
        self.before_auth = Some(Arc::new(move |calls| Calls::new(layer.layer(calls))));
        self
    }

    /// Puts a layer between authorisation and the methods: the calls have their [`Principal`](crate::Principal).
    #[must_use]
    pub fn after_auth<L>(mut self, layer: L) -> Self
    where
        L: Layer<Calls> + Send + Sync + 'static,
        L::Service:
            Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send,
    {
        self.after_auth = Some(Arc::new(move |calls| Calls::new(layer.layer(calls))));
        self
    }

    /// Lets the port be ready before the keys that verify tokens are there. Until then calls with a token are refused as
    /// KEYS_UNAVAILABLE.
    #[must_use]
    pub fn ready_without_keys(mut self) -> Self {
        self.needs_keys = false;
        self
    }

    /// Adds a service's methods.
    #[must_use]
    pub async fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        self.health.set_service_status(S::NAME, ServingStatus::NotServing).await;
        self.services.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// What tells the health of the services; for states that the port itself doesn't know.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Serves until `shutdown`, then lets calls finish for at most [`DRAIN`].
    ///
    /// The services become SERVING once `ready` is done and the keys that verify tokens are there (unless
    /// [`GrpcServer::ready_without_keys`]), and NOT_SERVING again when the stop begins.
    ///
    /// # Errors
    /// When reflection refuses our descriptors, or the server fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        ready: impl Future<Output = ()> + Send + 'static,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let Self { mut routes, services, shown, auth, before_auth, after_auth, verifier, needs_keys, health } = self;
        add_reflection(&mut routes, services.iter().copied().chain(shown.iter().map(String::as_str)))?;
        let set_all = {
            let health = health.clone();
            move |status: ServingStatus| {
                let (health, services) = (health.clone(), services.clone());
                async move {
                    for service in services.iter().chain(&[""]) {
                        health.set_service_status(*service, status).await;
                    }
                }
            }
        };
        tokio::spawn(verifier.clone().keep_fresh(shutdown.clone()));
        let watch = {
            let (shutdown, set_all) = (shutdown.clone(), set_all.clone());
            let keys = async move {
                if needs_keys {
                    verifier.ready().await;
                }
            };
            async move {
                tokio::select! {
                    ((), ()) = async { tokio::join!(ready, keys) } => {
                        set_all(ServingStatus::Serving).await;
                        shutdown.cancelled().await;
                    }
                    () = shutdown.cancelled() => {}
                }
                set_all(ServingStatus::NotServing).await;
            }
        };
        tokio::spawn(watch);
        let open = OpenCalls::default();
        let counted = open.clone();
        let layers = layer_fn(move |routes: Routes| {
            let wrap = |wrap: &Option<Wrap>, calls| match wrap {
                Some(wrap) => wrap(calls),
                None => calls,
            };
            let admitted = wrap(&after_auth, Calls::new(routes));
            let calls = wrap(&before_auth, Calls::new(auth.layer(admitted)));
            // What is left of a call's time holds for the calls that it makes to other services.
            let calls = IncomingDeadlineLayer.layer(calls);
            counted.count(Calls::new(calls.map_response(|answer: Response<_>| answer.map(Body::new))))
        });
        let server = tonic::transport::Server::builder()
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEP_ALIVE.0))
            .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
            .layer(layers)
            .add_routes(routes.routes())
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)).map(|stream| stream.map(Opening::new)),
                shutdown.clone().cancelled_owned(),
            );
        let bound = async {
            shutdown.cancelled().await;
            tokio::time::timeout(DRAIN, open.ended()).await
        };
        tokio::select! {
            result = server => result.map_err(|error| {
                ServeError::new(format!("the gRPC server has failed: {error}"), "look into the log for the cause")
            }),
            drained = bound => {
                if drained.is_err() {
                    tracing::warn!(seconds = DRAIN.as_secs(), "calls were still open when the time to drain was over");
                }
                Ok(())
            }
        }
    }
}

/// Serves reflection in both versions: several tools know only one of them.
fn add_reflection<'n>(
    routes: &mut RoutesBuilder,
    shown: impl Iterator<Item = &'n str>,
) -> Result<(), tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            // Each port names what it serves, not every service of the descriptors.
            .include_reflection_service(false)
    };
    let (mut v1, mut v1alpha) = (builder(), builder());
    for name in PORT_SERVICES.iter().copied().chain(shown) {
        v1 = v1.with_service_name(name);
        v1alpha = v1alpha.with_service_name(name);
    }
    routes.add_service(v1.build_v1()?);
    routes.add_service(v1alpha.build_v1alpha()?);
    Ok(())
}
