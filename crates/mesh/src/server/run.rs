//! A server that runs: from the first state of its health to the last of its hooks.

use std::future::Future;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::body::Body;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::accept::{Admission, Connections, Ends, Register};
use super::builder::Builder;
use super::contracts::Offer;
use super::drain::{Drain, Hook};
use super::health::Health;
use super::pipeline::{Handlers, HttpRequests, Pipeline, reflection_limits};
use super::plan::{CurrentPlans, MethodCounts, PlanInputs, Plans};
use super::rate::RateLimits;
use super::router::Router;
use super::settings::Settings;
use super::tls::ServerTls;
use super::{Listener, ServerError, reflection, signal};

impl<L> Builder<L> {
    /// Ends the grace of [`Drain`] when `deadline` is done, however much is left of it: several servers of a process that stop
    /// one after the other have one grace together, and not one each.
    ///
    /// ```
    /// use meshwork::Server;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let over = CancellationToken::new();
    /// let first = Server::builder().drain_deadline(over.clone().cancelled_owned());
    /// let second = Server::builder().drain_deadline(over.clone().cancelled_owned());
    /// ```
    pub fn drain_deadline(mut self, deadline: impl Future<Output = ()> + Send + 'static) -> Self {
        self.settings.drain_deadline = Box::pin(deadline);
        self
    }

    /// Serves `listener`, and those of [`Builder::listen`], until SIGTERM or SIGINT, and drains then. A second signal ends the process
    /// at once.
    ///
    /// # Errors
    /// As [`Builder::serve_with_shutdown`]; or when signals can't be listened for.
    pub async fn serve<B>(self, listener: impl Into<Listener>) -> Result<(), ServerError>
    where
        L: Layer<Router>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<StdError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let stop = signal::shutdown().map_err(ServerError::Signals)?;
        self.serve_with_shutdown(listener, stop).await
    }

    /// Serves `listener`, and those of [`Builder::listen`], until `shutdown` is done, and drains then; see [`Drain`].
    ///
    /// # Errors
    /// When TLS, the descriptors, the contracts or the reflection service can't be set up. Once it serves, nothing that a client
    /// does is an error.
    pub async fn serve_with_shutdown<B>(
        self,
        listener: impl Into<Listener>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError>
    where
        L: Layer<Router>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<StdError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let Self { mut settings, layer } = self;
        let tls = settings.tls.take();
        let speaks_http1 = settings.http1.is_some() || settings.http.is_some();
        let tls = tls.map(|tls| ServerTls::new(tls.http1(speaks_http1)));
        let tls = tls.transpose().map_err(ServerError::Tls)?;
        let reflection = add_reflection(&mut settings)?;
        for service in &settings.services {
            settings.health.register(service);
        }
        settings.router.add(settings.health.service_of(settings.domain));
        // Contracts change as long as the offer is there.
        let (plans, _offer) = plans(&mut settings, reflection)?;
        let stopping = CancellationToken::new();
        let pipeline = Arc::new(pipeline(&settings, plans, stopping.clone()));
        let Settings { router, options, handshakes, http1, connections, drain, drain_deadline, .. } = settings;
        let Settings { health, hooks, mut listeners, .. } = settings;
        listeners.insert(0, listener.into());
        let mut connections = Connections {
            admission: Admission::new(pipeline.budgets.clone()),
            pipeline,
            handlers: Handlers::new(layer.layer(router)),
            tls: tls.map(Arc::new),
            options: Arc::new(options),
            opening: Register::new(handshakes.0, handshakes.1),
            evicts: None,
            http1,
            observer: connections,
            tasks: TaskTracker::new(),
            ends: Ends::default(),
        };
        // A server that is dropped in the middle leaves neither streams nor connections behind.
        let _stopping = stopping.clone().drop_guard();
        connections.accept(listeners, stop(shutdown, &health, drain.delay)).await;
        stopping.cancel();
        if !connections.drain(drain.grace, drain_deadline).await {
            tracing::warn!(
                seconds = drain.grace.as_secs(),
                "calls were still open when the grace was over; they were ended with UNAVAILABLE"
            );
        }
        finish(hooks, drain).await;
        Ok(())
    }
}

/// Adds the reflection services; where they are if contracts may change.
fn add_reflection(settings: &mut Settings) -> Result<Option<Arc<ArcSwap<Router>>>, ServerError> {
    if !settings.reflection {
        return Ok(None);
    }
    if settings.contracts.is_some() {
        // They come with the first offer.
        let current = Arc::<ArcSwap<Router>>::default();
        reflection::add_current(&mut settings.router, &current);
        return Ok(Some(current));
    }
    if !settings.descriptors.is_empty() {
        let shown = settings.services.iter().chain(&settings.shown).map(String::as_str);
        reflection::add(&mut settings.router, &settings.descriptors, None, shown).map_err(ServerError::Reflection)?;
    }
    Ok(None)
}

/// Makes the plans; and what is offered, if contracts may change.
fn plans(
    settings: &mut Settings,
    reflection: Option<Arc<ArcSwap<Router>>>,
) -> Result<(CurrentPlans, Option<Arc<Offer>>), ServerError> {
    let inputs = PlanInputs {
        sets: take(&mut settings.descriptors),
        access: settings.access.take(),
        settings: take(&mut settings.methods),
        timeout: settings.timeout,
        first_message: settings.first_message,
        max_message: settings.max_message_size,
        by_address: settings.by_address.limits().cloned(),
        by_principal: settings.by_principal.limits().cloned(),
        router: settings.router.clone(),
    };
    let Some(contracts) = settings.contracts.take() else {
        return Ok((CurrentPlans::fixed(Plans::build(&inputs, None, &MethodCounts::default())?), None));
    };
    let shown = settings.services.iter().chain(&settings.shown).cloned().collect();
    let offer = Arc::new(Offer::new(inputs, shown, reflection)?);
    Ok((contracts.follow(&offer)?, Some(offer)))
}

/// What all calls go through.
fn pipeline(settings: &Settings, plans: CurrentPlans, stopping: CancellationToken) -> Pipeline {
    let by_address = settings.by_address.limits();
    let by_principal = settings.by_principal.limits();
    Pipeline {
        plans,
        domain: settings.domain,
        observers: settings.observers.clone(),
        authenticator: settings.authenticator.clone(),
        verification_timeout: settings.verification_timeout,
        by_address: settings.by_address.limits().cloned(),
        counts_refusals: settings.by_address.counts_refusals(),
        by_principal: by_principal.cloned(),
        reports_limits: by_address.into_iter().chain(by_principal).any(RateLimits::reports),
        reflection: settings.reflection_rate.and_then(|rate| reflection_limits(rate, settings.domain)),
        budgets: settings.budgets.clone(),
        trusted: settings.trusted.clone(),
        watches_of_connection: settings.watches_of_connection,
        max_header_list: usize::try_from(settings.options.serve.max_header_list_size).unwrap_or(usize::MAX),
        slow_reader: settings.options.slow_reader,
        http: settings.http.as_ref().map(|service| {
            let service = Arc::clone(service);
            Arc::new(HttpRequests { service, first_byte: settings.first_message, counted: settings.max_message_size })
        }),
        stopping,
    }
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
        let mut hook = AbortOnDropHandle::new(tokio::spawn(hook));
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
