//! A server that runs: from the first state of its health to the last of its hooks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::accept::Connections;
use super::arrival::ArrivalLayer;
use super::auth::AuthorizationLayer;
use super::bound::StatusSizeLayer;
use super::builder::{Builder, Settings};
use super::connection::Ends;
use super::deadline::ServerDeadlineLayer;
use super::drain::{Drain, DrainLayer, Hook};
use super::handshake::Handshakes;
use super::health::Health;
use super::methods::StreamingMethods;
use super::panic::PanicGuardLayer;
use super::router::Router;
use super::shed::LoadShedLayer;
use super::size::MessageSizeLayer;
use super::stack::{Handlers, Layers};
use super::streams::StreamBudget;
use super::telemetry::TelemetryLayer;
use super::tls::ServerTls;
use super::{Listener, ServerError, reflection, signal};

impl<L> Builder<L> {
    /// Serves until SIGTERM or SIGINT, and drains then. A second signal ends the process at once.
    ///
    /// # Errors
    /// As [`Builder::serve_with_shutdown`]; or when signals can't be listened for.
    pub async fn serve<B>(self, listener: impl Into<Listener>) -> Result<(), ServerError>
    where
        L: Layer<Router>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send,
        <L::Service as Service<Request<Body>>>::Error: Into<StdError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let stop = signal::shutdown().map_err(ServerError::Signals)?;
        self.serve_with_shutdown(listener, stop).await
    }

    /// Serves until `shutdown` is done, and drains then; see [`Drain`].
    ///
    /// # Errors
    /// When TLS, the descriptors or the reflection service can't be set up. Once it serves, nothing that a client does is an
    /// error.
    pub async fn serve_with_shutdown<B>(
        self,
        listener: impl Into<Listener>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError>
    where
        L: Layer<Router>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send,
        <L::Service as Service<Request<Body>>>::Error: Into<StdError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let Self { mut settings, layer } = self;
        let stopping = CancellationToken::new();
        let layers = layers(&settings, &stopping)?;
        let tls = settings.tls.take().map(ServerTls::new).transpose().map_err(ServerError::Tls)?;
        if settings.reflection && !settings.descriptors.is_empty() {
            let shown = settings.services.iter().chain(&settings.shown).map(String::as_str);
            reflection::add(&mut settings.router, &settings.descriptors, shown).map_err(ServerError::Reflection)?;
        }
        let Settings {
            mut router,
            options,
            max_connections,
            max_handshakes,
            drain,
            health,
            hooks,
            services,
            domain,
            ..
        } = settings;
        for service in &services {
            health.register(service);
        }
        router.add(health.service_of(domain));
        let mut connections = Connections {
            stack: layers.around(Handlers(layer.layer(router))),
            tls: tls.map(Arc::new),
            options: Arc::new(options),
            handshakes: Handshakes::new(max_handshakes),
            turns: None,
            places: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            ends: Ends::default(),
        };
        connections.accept(listener.into(), stop(shutdown, &health, drain.delay)).await;
        stopping.cancel();
        if !connections.drain(drain.grace).await {
            tracing::warn!(
                seconds = drain.grace.as_secs(),
                "calls were still open when the grace was over; they were cut off"
            );
        }
        finish(hooks, drain).await;
        Ok(())
    }
}

/// Puts the layers together.
fn layers(settings: &Settings, stopping: &CancellationToken) -> Result<Layers, ServerError> {
    let domain = || settings.domain;
    let mut streams = StreamingMethods::default();
    for set in &settings.descriptors {
        streams = streams.and(StreamingMethods::decode(set).map_err(ServerError::Descriptors)?);
    }
    let access = settings.access.clone().map(|table| AuthorizationLayer::new(table, domain()));
    let message_size = MessageSizeLayer::new(settings.max_message_size, domain());
    let load_shed = settings.load_shed.clone().map(|limit| LoadShedLayer::new(limit, domain())).unwrap_or_default();
    let budget = StreamBudget::new(settings.streams);
    Ok(Layers {
        telemetry: settings.observer.clone().map(TelemetryLayer::new).unwrap_or_default(),
        status_size: StatusSizeLayer::new(),
        panic_guard: PanicGuardLayer::new(domain()),
        drain: DrainLayer::new(stopping.clone(), streams.clone(), domain()),
        deadline: ServerDeadlineLayer::new(settings.timeout, domain()),
        by_address: settings.by_address.clone(),
        authentication: settings.authentication.clone(),
        authorization: access.unwrap_or_default(),
        by_principal: settings.by_principal.clone(),
        arrival: ArrivalLayer::new(settings.arrival, streams.clone(), message_size, domain()),
        load_shed: load_shed.streams(budget, streams, domain()),
        message_size,
    })
}

/// Done when the server is to accept no more: some time after it said that it is NOT_SERVING.
async fn stop(shutdown: impl Future<Output = ()>, health: &Health, delay: Duration) {
    shutdown.await;
    health.drain();
    tokio::time::sleep(delay).await;
}

/// Runs the hooks, all at once.
async fn finish(hooks: Vec<(String, Hook)>, drain: Drain) {
    let hooks = hooks.into_iter().map(|(name, hook)| async move {
        // In a task of its own: a hook that panics takes no other with it.
        let mut hook = tokio::spawn(hook);
        match tokio::time::timeout(drain.hooks, &mut hook).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(hook = name, %error, "a drain hook has failed"),
            Err(_) => {
                hook.abort();
                tracing::error!(
                    hook = name,
                    seconds = drain.hooks.as_secs(),
                    "a drain hook took too long and was cut off"
                );
            }
        }
    });
    join_all(hooks).await;
}
