//! Policies from code.

use std::sync::Arc;
use std::time::Duration;

use super::parts::Parts;
use super::{
    ChannelPolicy, CircuitBreaker, HedgingPolicy, LoadBalancing, MAX_ATTEMPTS, MethodPolicy, OutlierDetection, Policy,
    RateLimit, Repeat, RetryBudget, RetryPolicy, RetryThrottling,
};

/// Builds a [`Policy`] from code. What is set without a name holds for all methods that have no entry of their own.
///
/// ```
/// use std::time::Duration;
///
/// use meshwork::policy::{CircuitBreaker, MethodPolicy, Policy};
///
/// let policy = Policy::builder()
///     .timeout(Duration::from_secs(2))
///     .circuit_breaker(CircuitBreaker::default())
///     .method("users.v1.UserService", "GetUser", MethodPolicy { wait_for_ready: Some(true), ..MethodPolicy::default() })
///     .build();
/// assert_eq!(policy.method("/users.v1.UserService/GetUser").wait_for_ready, Some(true));
/// assert_eq!(policy.method("/users.v1.UserService/ListUsers").timeout, Some(Duration::from_secs(2)));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder makes no policy before `build`"]
pub struct PolicyBuilder {
    parts: Parts,
    default: MethodPolicy,
}

impl Policy {
    /// A policy from code.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }
}

impl PolicyBuilder {
    /// The longest that a call may take, all attempts together.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::policy::Policy::builder().timeout(Duration::from_secs(2));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.default.timeout = Some(timeout);
        self
    }

    /// The longest that one attempt may take to be answered; a stuck one counts as UNAVAILABLE.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::policy::Policy::builder().attempt_timeout(Duration::from_millis(250));
    /// ```
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.default.attempt_timeout = Some(timeout);
        self
    }

    /// Whether calls wait while no endpoint can take them.
    ///
    /// ```
    /// let builder = meshwork::policy::Policy::builder().wait_for_ready(true);
    /// ```
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.default.wait_for_ready = Some(wait);
        self
    }

    /// Repeats attempts, one after the other; 5 at most. Only for methods that may be repeated.
    ///
    /// ```
    /// use meshwork::policy::{Policy, RetryPolicy};
    ///
    /// let builder = Policy::builder().retry(RetryPolicy { max_attempts: 4, ..RetryPolicy::default() });
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.default.repeat = capped(Repeat::Retry(Arc::new(policy)));
        self
    }

    /// Repeats attempts beside each other; 5 at most. Only for methods that may be repeated.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use meshwork::policy::{HedgingPolicy, Policy};
    /// use tonic::Code;
    ///
    /// let builder = Policy::builder().hedge(HedgingPolicy {
    ///     max_attempts: 2,
    ///     hedging_delay: Duration::from_millis(20),
    ///     non_fatal_status_codes: [Code::Unavailable].into_iter().collect(),
    /// });
    /// ```
    pub fn hedge(mut self, policy: HedgingPolicy) -> Self {
        self.default.repeat = capped(Repeat::Hedge(Arc::new(policy)));
        self
    }

    /// What holds for one method, in place of all else: nothing is taken over from its service or from the default.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use meshwork::policy::{MethodPolicy, Policy};
    ///
    /// let slow = MethodPolicy { timeout: Some(Duration::from_secs(30)), ..MethodPolicy::default() };
    /// let builder = Policy::builder().method("users.v1.UserService", "ExportUsers", slow);
    /// ```
    pub fn method(mut self, service: &str, method: &str, policy: MethodPolicy) -> Self {
        let policy = MethodPolicy { repeat: capped(policy.repeat), ..policy };
        self.parts.methods.insert(format!("/{service}/{method}").into(), Arc::new(policy));
        self
    }

    /// What holds for the methods of a service, `package.Service`, in place of the default.
    ///
    /// ```
    /// use meshwork::policy::{MethodPolicy, Policy};
    ///
    /// let patient = MethodPolicy { wait_for_ready: Some(true), ..MethodPolicy::default() };
    /// let builder = Policy::builder().service("users.v1.UserService", patient);
    /// ```
    pub fn service(mut self, service: &str, policy: MethodPolicy) -> Self {
        let policy = MethodPolicy { repeat: capped(policy.repeat), ..policy };
        self.parts.services.insert(service.into(), Arc::new(policy));
        self
    }

    /// How endpoints are chosen.
    ///
    /// ```
    /// use meshwork::policy::{LoadBalancing, Policy};
    ///
    /// let builder = Policy::builder().load_balancing(LoadBalancing::RoundRobin);
    /// ```
    pub fn load_balancing(mut self, policy: LoadBalancing) -> Self {
        self.parts.channel.load_balancing = policy;
        self
    }

    /// Ejects endpoints that fail more than others (gRFC A50).
    ///
    /// ```
    /// use meshwork::policy::{FailurePercentageEjection, OutlierDetection, Policy};
    ///
    /// let builder = Policy::builder().outlier_detection(OutlierDetection {
    ///     failure_percentage: Some(FailurePercentageEjection::default()),
    ///     ..OutlierDetection::default()
    /// });
    /// ```
    pub fn outlier_detection(mut self, policy: OutlierDetection) -> Self {
        self.parts.channel.outlier_detection = Some(policy);
        self
    }

    /// Gives endpoints that fail a rest.
    ///
    /// ```
    /// use meshwork::policy::{CircuitBreaker, Policy};
    ///
    /// let builder = Policy::builder().circuit_breaker(CircuitBreaker { consecutive_failures: Some(3), ..CircuitBreaker::default() });
    /// ```
    pub fn circuit_breaker(mut self, policy: CircuitBreaker) -> Self {
        self.parts.channel.circuit_breaker = Some(policy);
        self
    }

    /// Asks servers for the health of `service` (gRFC A17); an empty name is the whole server.
    ///
    /// ```
    /// let builder = meshwork::policy::Policy::builder().health_check("users.v1.UserService");
    /// ```
    pub fn health_check(mut self, service: impl Into<Arc<str>>) -> Self {
        self.parts.channel.health_check = Some(service.into());
        self
    }

    /// Stops retries while too many attempts fail (gRFC A6).
    ///
    /// ```
    /// use meshwork::policy::{Policy, RetryThrottling};
    ///
    /// // 100 tokens; a success gives a tenth of one back.
    /// let builder = Policy::builder().retry_throttling(RetryThrottling { max_milli_tokens: 100_000, milli_token_ratio: 100 });
    /// ```
    pub fn retry_throttling(mut self, policy: RetryThrottling) -> Self {
        self.parts.channel.retry_throttling = Some(policy);
        self
    }

    /// Bounds retries by a share of the calls.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use meshwork::policy::{Policy, RetryBudget};
    ///
    /// let builder = Policy::builder().retry_budget(RetryBudget { ratio: 0.2, min_per_second: 10, ttl: Duration::from_secs(10) });
    /// ```
    pub fn retry_budget(mut self, policy: RetryBudget) -> Self {
        self.parts.channel.retry_budget = Some(policy);
        self
    }

    /// Bounds the calls each second.
    ///
    /// ```
    /// use meshwork::policy::{Policy, RateLimit};
    ///
    /// let builder = Policy::builder().rate_limit(RateLimit { per_second: 500, burst: 50 });
    /// ```
    pub fn rate_limit(mut self, policy: RateLimit) -> Self {
        self.parts.channel.rate_limit = Some(policy);
        self
    }

    /// Bounds the calls in flight to the target (gRFC A32); unbounded unless set.
    ///
    /// ```
    /// let builder = meshwork::policy::Policy::builder().max_concurrent_requests(256);
    /// ```
    pub fn max_concurrent_requests(mut self, most: usize) -> Self {
        self.parts.channel.max_concurrent_requests = Some(most);
        self
    }

    /// Bounds the connections to an endpoint whose streams run out (gRFC A105), 1 to 10; 1 unless set.
    ///
    /// ```
    /// let builder = meshwork::policy::Policy::builder().max_connections_per_subchannel(4);
    /// ```
    pub fn max_connections_per_subchannel(mut self, most: usize) -> Self {
        self.parts.channel.max_connections_per_subchannel = most.clamp(1, 10);
        self
    }

    /// All of what holds for the channel as a whole.
    ///
    /// ```
    /// use meshwork::policy::{ChannelPolicy, Policy};
    ///
    /// let builder = Policy::builder().channel(ChannelPolicy { max_concurrent_requests: Some(256), ..ChannelPolicy::default() });
    /// ```
    pub fn channel(mut self, policy: ChannelPolicy) -> Self {
        self.parts.channel = policy;
        self
    }

    /// The policy.
    pub fn build(self) -> Policy {
        Policy(Arc::new(Parts { default: Arc::new(self.default), ..self.parts }))
    }
}

/// With no more attempts than a policy can ask for, as in JSON.
fn capped(mut repeat: Repeat) -> Repeat {
    match &mut repeat {
        Repeat::Once => {}
        Repeat::Retry(policy) => {
            let policy = Arc::make_mut(policy);
            policy.max_attempts = policy.max_attempts.min(MAX_ATTEMPTS);
        }
        Repeat::Hedge(policy) => {
            let policy = Arc::make_mut(policy);
            policy.max_attempts = policy.max_attempts.min(MAX_ATTEMPTS);
        }
    }
    repeat
}
