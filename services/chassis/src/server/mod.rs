//! The gRPC port of a service: a [`meshwork::Server`] with what all services of the back end have in common.

mod certificate;
mod config;
mod context;
mod error;
mod listeners;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use meshwork::server::health::Health;
use meshwork::server::rate::Rate;
use meshwork::server::{Builder, Domain, Listener, Router};
use meshwork_api::FILE_DESCRIPTOR_SET;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::StdError;
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service};

pub use self::config::{ServerConfig, TlsConfig};
pub use self::context::{ContextLayer, ContextService};
pub use self::error::ServeError;
pub use self::listeners::{behind, listen, listeners};
use crate::auth::{AccessTable, Verifier};

/// The settings of a port; see [`builder`].
pub type ServerBuilder = Builder<Stack<Identity, ContextLayer>>;

/// A port whose callers are known by `verifier` and admitted by the contracts' access options, whose errors carry `domain`,
/// and whose states are those of `health`. What handlers write keeps the context of their call ([`ContextLayer`]).
///
/// Until `verifier` has keys, calls with a token are refused as KEYS_UNAVAILABLE; see [`keep_keys`] and [`require_keys`].
///
/// # Errors
/// When the contracts of this build don't say whom their methods admit, or a setting can't be used.
pub fn builder(
    config: &ServerConfig,
    domain: &'static str,
    verifier: &Verifier,
    health: &Health,
) -> Result<ServerBuilder, ServeError> {
    check_times(config)?;
    let trusted = listeners::trusted_proxies(domain, config)?;
    let handshakes = usize::try_from(config.max_handshakes.get()).unwrap_or(usize::MAX);
    let mut builder = meshwork::Server::builder()
        .layer(ContextLayer)
        .trusted_proxies(trusted)
        .domain(Domain::new(domain))
        .authenticator(Arc::new(verifier.authenticator(domain)))
        .access(AccessTable::from_contracts()?.layers())
        .health(health.clone())
        .descriptors(FILE_DESCRIPTOR_SET)
        .reflection(config.reflection)
        .reflection_rate(reflection_rate(config)?)
        .budgets(config.budgets())
        .max_handshakes(handshakes, config.max_handshakes_per_address)
        .handshake_timeout(config.handshake_timeout)
        .max_concurrent_streams(config.max_calls_per_connection.get())
        .windows(config.stream_window.get(), config.connection_window.get())
        .max_unwritten(config.max_unwritten_bytes_per_connection)
        .max_connection_watches(config.max_watches_per_connection)
        .verification_timeout(config.verification_timeout)
        .first_message_timeout(config.first_message_timeout)
        .slow_reader(config.slow_reader_timeout)
        .max_header_list_size(config.max_header_list_size)
        .max_message_size(config.max_message_size)
        .drain(config.drain());
    if let Some(metrics) = &config.metrics {
        builder = builder.observer(metrics.server());
    }
    if let Some(tls) = config.tls.options() {
        builder = builder.tls(tls);
        health.check(certificate::check(&config.tls.certificate));
    }
    let idle = if config.max_connection_idle.is_zero() { Duration::MAX } else { config.max_connection_idle };
    builder = builder.max_connection_idle(idle);
    if let Some(deadline) = &config.drain_deadline {
        builder = builder.drain_deadline(deadline.clone().cancelled_owned());
    }
    if config.max_send_buffer > 0 {
        builder = builder.send_buffer_size(config.max_send_buffer);
    }
    if !config.max_connection_age.is_zero() {
        builder = builder.max_connection_age(config.max_connection_age);
    }
    if !config.timeout.is_zero() {
        builder = builder.timeout(config.timeout);
    }
    Ok(builder)
}

/// Refuses times in which nothing can be done.
fn check_times(config: &ServerConfig) -> Result<(), ServeError> {
    let times =
        [("handshake_timeout", config.handshake_timeout), ("verification_timeout", config.verification_timeout)];
    match times.into_iter().find(|(_, time)| time.is_zero()) {
        None => Ok(()),
        Some((key, _)) => {
            Err(ServeError::new(format!("server.{key} is 0s"), format!("set `server.{key}` of the service above zero")))
        }
    }
}

/// How much one address may ask reflection.
fn reflection_rate(config: &ServerConfig) -> Result<Rate, ServeError> {
    let (burst, each_second) = (config.max_reflection_messages, config.max_reflection_messages_per_second);
    Rate::new(burst.get().into(), each_second.get().into(), Duration::from_secs(1)).map_err(|error| {
        ServeError::new(
            format!("server.max_reflection_messages: {error}"),
            "set `max_reflection_messages` and `max_reflection_messages_per_second` of the service's `server` lower",
        )
    })
}

/// Fetches the keys that verify tokens, and again now and then, until `stop`.
pub async fn keep_keys(verifier: Arc<Verifier>, stop: CancellationToken) {
    verifier.keep_fresh(stop).await;
}

/// As [`keep_keys`]; the port is ready once there are keys.
pub fn require_keys(
    verifier: Arc<Verifier>,
    health: &Health,
) -> impl FnOnce(CancellationToken) -> BoxFuture<'static, ()> {
    let there = health.condition("keys");
    move |stop| {
        let ready = Arc::clone(&verifier);
        Box::pin(async move {
            let told = async move {
                ready.ready().await;
                there.met();
                std::future::pending().await
            };
            tokio::select! {
                () = keep_keys(verifier, stop) => {}
                () = told => {}
            }
        })
    }
}

/// Serves `listener`, and those that `server` has, until `shutdown`, and drains then.
///
/// # Errors
/// When the port can't be set up by its settings.
pub async fn serve<L, B>(
    server: Builder<L>,
    listener: impl Into<Listener>,
    shutdown: CancellationToken,
) -> Result<(), ServeError>
where
    L: Layer<Router>,
    L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    <L::Service as Service<Request<Body>>>::Error: Into<StdError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    server
        .serve_with_shutdown(listener, shutdown.cancelled_owned())
        .await
        .map_err(|error| ServeError::new(error, "correct the `server` settings of the service"))
}
