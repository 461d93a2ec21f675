//! Retries and hedging around any gRPC service.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http_body::Body;
use tokio::time::Instant;
use tonic::Status;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::adapter::ServiceAttempts;
use super::{AttemptLog, Budget, Buffers, NoRetry, OnSuccess, Plan, Repeatable, RetryBody, Throttle, run};
use crate::deadline::effective;
use crate::observe::Observers;
use crate::outcome::TrackedBody;
use crate::policy::{HedgingPolicy, Repeat, RetryPolicy};
use crate::random::Random;

/// What both layers share.
#[derive(Clone, Debug)]
struct LayerSettings {
    repeat: Repeat,
    attempt_timeout: Option<Duration>,
    throttle: Option<Arc<Throttle>>,
    budget: Option<Arc<Budget>>,
    buffers: Arc<Buffers>,
    random: Random,
    observers: Observers,
}

impl LayerSettings {
    fn new(repeat: Repeat) -> Self {
        Self {
            repeat,
            attempt_timeout: None,
            throttle: None,
            budget: None,
            buffers: Arc::default(),
            random: Random::system(),
            observers: Observers::default(),
        }
    }

    fn plan<'a>(&'a self, method: &'a PathAndQuery, now: Instant, deadline: Option<Instant>) -> Plan<'a> {
        Plan {
            now,
            repeat: &self.repeat,
            attempt_timeout: self.attempt_timeout,
            deadline,
            wait_for_ready: false,
            throttle: self.throttle.as_deref(),
            budget: self.budget.as_deref(),
            buffers: &self.buffers,
            random: &self.random,
            observers: &self.observers,
            repeats: None,
            method,
        }
    }
}

macro_rules! layer {
    ($layer:ident, $service:ident, $policy:ident, $repeat:ident, $what:literal) => {
        #[doc = concat!($what, " (gRFC A6), for calls that may be repeated.")]
        ///
        /// The deadline is the `grpc-timeout` of the request: nothing is repeated past it. A request with
        /// [`NoRetry`](crate::retry::NoRetry) in its extensions isn't repeated.
        #[derive(Clone, Debug)]
        pub struct $layer(Arc<LayerSettings>);

        impl $layer {
            #[doc = concat!($what, " by `policy`, without throttle and budget; 1 MiB of a call is kept to be sent again.")]
            pub fn new(policy: $policy) -> Self {
                Self(Arc::new(LayerSettings::new(Repeat::$repeat(Arc::new(policy)))))
            }

            /// An attempt that is not answered in this time counts as UNAVAILABLE.
            ///
            /// ```
            /// # use std::time::Duration;
            #[doc = concat!("# fn set(layer: meshwork::layer::", stringify!($layer), ") -> impl Sized {")]
            /// layer.attempt_timeout(Duration::from_millis(500))
            /// # }
            /// ```
            pub fn attempt_timeout(self, timeout: Duration) -> Self {
                self.with(|shared| shared.attempt_timeout = Some(timeout))
            }

            /// Shares the tokens of a target.
            ///
            /// ```
            /// # use std::sync::Arc;
            /// # use meshwork::{policy::RetryThrottling, retry::Throttle};
            #[doc = concat!("# fn set(layer: meshwork::layer::", stringify!($layer), ") -> impl Sized {")]
            /// layer.throttle(Arc::new(Throttle::new(RetryThrottling { max_milli_tokens: 100_000, milli_token_ratio: 100 })))
            /// # }
            /// ```
            pub fn throttle(self, throttle: Arc<Throttle>) -> Self {
                self.with(|shared| shared.throttle = Some(throttle))
            }

            /// Shares a retry budget.
            ///
            /// ```
            /// # use std::sync::Arc;
            /// # use std::time::Duration;
            /// # use meshwork::{policy::RetryBudget, retry::Budget};
            #[doc = concat!("# fn set(layer: meshwork::layer::", stringify!($layer), ") -> impl Sized {")]
            /// layer.budget(Arc::new(Budget::new(RetryBudget { ratio: 0.2, min_per_second: 10, ttl: Duration::from_secs(10) })))
            /// # }
            /// ```
            pub fn budget(self, budget: Arc<Budget>) -> Self {
                self.with(|shared| shared.budget = Some(budget))
            }

            /// Limits what is kept to be sent again.
            ///
            /// ```
            /// # use std::sync::Arc;
            /// # use meshwork::retry::Buffers;
            #[doc = concat!("# fn set(layer: meshwork::layer::", stringify!($layer), ") -> impl Sized {")]
            /// layer.buffers(Arc::new(Buffers::new(256 << 10, 8 << 20)))
            /// # }
            /// ```
            pub fn buffers(self, buffers: Arc<Buffers>) -> Self {
                self.with(|shared| shared.buffers = buffers)
            }

            /// Where jitter comes from.
            ///
            /// ```
            /// # use meshwork::random::Random;
            #[doc = concat!("# fn set(layer: meshwork::layer::", stringify!($layer), ") -> impl Sized {")]
            /// layer.random(Random::seeded(7))
            /// # }
            /// ```
            pub fn random(self, random: Random) -> Self {
                self.with(|shared| shared.random = random)
            }

            /// Who is told of attempts.
            ///
            /// ```
            /// # use meshwork::observe::{Event, Observers};
            #[doc = concat!("# fn set(layer: meshwork::layer::", stringify!($layer), ") -> impl Sized {")]
            /// layer.observers(Observers::new(|event: &Event<'_>| println!("{event:?}")))
            /// # }
            /// ```
            pub fn observers(self, observers: Observers) -> Self {
                self.with(|shared| shared.observers = observers)
            }

            fn with(mut self, set: impl FnOnce(&mut LayerSettings)) -> Self {
                set(Arc::make_mut(&mut self.0));
                self
            }
        }

        impl<S> Layer<S> for $layer {
            type Service = $service<S>;

            fn layer(&self, inner: S) -> $service<S> {
                $service { inner, shared: self.0.clone() }
            }
        }

        #[doc = concat!($what, " around a gRPC service: made by [`", stringify!($layer), "`].")]
        #[derive(Clone, Debug)]
        pub struct $service<S> {
            inner: S,
            shared: Arc<LayerSettings>,
        }

        impl<S, B> Service<http::Request<tonic::body::Body>> for $service<S>
        where
            S: Service<http::Request<tonic::body::Body>, Response = http::Response<B>> + Clone + Send + 'static,
            S::Future: Send,
            S::Error: Into<StdError> + Send,
            B: Body<Data = Bytes> + Send + 'static,
            B::Error: Into<StdError>,
        {
            type Response = http::Response<RetryBody<B>>;
            type Error = Status;
            type Future = BoxFuture<'static, Result<Self::Response, Status>>;

            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
                self.inner.poll_ready(cx).map_err(|error| Status::from_error(error.into()))
            }

            fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                call(ready, Arc::clone(&self.shared), request).boxed()
            }
        }
    };
}

layer!(RetryLayer, Retry, RetryPolicy, Retry, "Retries");
layer!(HedgeLayer, Hedge, HedgingPolicy, Hedge, "Hedging");

async fn call<S, B>(
    ready: S,
    shared: Arc<LayerSettings>,
    request: http::Request<tonic::body::Body>,
) -> Result<http::Response<RetryBody<B>>, Status>
where
    S: Service<http::Request<tonic::body::Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<StdError> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let now = Instant::now();
    let deadline = effective(request.headers(), None, now)?;
    let method = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut plan = shared.plan(&method, now, deadline);
    if request.extensions().get::<NoRetry>().is_some() {
        plan.repeat = &Repeat::Once;
    }
    let success = OnSuccess::new(shared.throttle.clone());
    let request = Repeatable::new(request, plan.buffers, None);
    let result = run(ServiceAttempts::ready(ready), &request, &plan, &mut AttemptLog::new()).await;
    result.map(|response| TrackedBody::respond(response, success)).map_err(|error| error.status)
}
