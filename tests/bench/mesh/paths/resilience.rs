//! The layers of tower-resilience over tonic's balancer: retry, circuit breaker, rate limiter, timeout.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::Status;
use tonic::transport::Channel;
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_resilience::circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};
use tower_resilience::ratelimiter::{RateLimiterLayer, RateLimiterServiceError};
use tower_resilience::retry::RetryLayer;
use tower_resilience::timelimiter::{TimeLimiterError, TimeLimiterLayer};

use super::{Path, channels, request, try_limit};
use crate::message;

type Failure = CircuitBreakerError<RateLimiterServiceError<TimeLimiterError<Status>>>;

/// The stack, over whatever type the layers have made.
#[derive(Clone)]
pub struct Layers<S>(S);

/// Two retries after 10 and 20 ms, 250 ms a try, and a breaker that opens at half of 100 calls.
pub fn layers(servers: &[SocketAddr]) -> impl Path {
    let channel = channels::balance_list(servers);
    let call = move |deadline| {
        let channel: Channel = channel.clone();
        async move { message::call(channel, request(deadline)).await.map(drop) }
    };
    let retry = RetryLayer::<Option<Duration>, (), Failure>::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(10))
        .build();
    let breaker = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .wait_duration_in_open(Duration::from_secs(1))
        .build()
        .unwrap();
    let limiter = RateLimiterLayer::builder()
        .limit_for_period(1_000_000)
        .refresh_period(Duration::from_secs(1))
        .timeout_duration(try_limit())
        .build()
        .unwrap();
    let timeout = TimeLimiterLayer::builder().timeout_duration(try_limit()).build();
    Layers(ServiceBuilder::new().layer(retry).layer(breaker).layer(limiter).layer(timeout).service(service_fn(call)))
}

impl<S> Path for Layers<S>
where
    S: Service<Option<Duration>, Response = (), Error = Failure, Future: Send> + Clone + Send + 'static,
{
    async fn call(&mut self, deadline: Option<Duration>) -> Result<(), Status> {
        let ready = self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        ready.call(deadline).await.map_err(|error| Status::unavailable(error.to_string()))
    }
}
