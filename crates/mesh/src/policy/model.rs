//! What a policy says, after it was parsed and checked. Units are durations; defaults are those of the gRFCs.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

/// A set of status codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codes(u32);

impl Codes {
    /// Whether `code` is in the set.
    pub fn contains(self, code: Code) -> bool {
        self.0 & (1 << code as u32) != 0
    }

    /// Whether there is no code in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Code> for Codes {
    fn from_iter<T: IntoIterator<Item = Code>>(codes: T) -> Self {
        Self(codes.into_iter().fold(0, |set, code| set | 1 << code as u32))
    }
}

/// What holds for the calls of one method: an entry of `methodConfig`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodPolicy {
    /// The longest that a call may take, all attempts together; the caller's own deadline may be shorter.
    pub timeout: Option<Duration>,
    /// The longest that one attempt may take to be answered by headers (`meshwork.attemptTimeout`), from when its server has
    /// the whole request or takes no more of it. What is stuck longer counts as UNAVAILABLE, against its endpoint too.
    pub attempt_timeout: Option<Duration>,
    /// Whether calls wait while no endpoint can take them, unless the call says it itself.
    pub wait_for_ready: Option<bool>,
    /// The largest request message in bytes, as the codec made it.
    pub max_request_message_bytes: Option<usize>,
    /// The largest response message in bytes.
    pub max_response_message_bytes: Option<usize>,
    /// Whether and how attempts are repeated.
    pub repeat: Repeat,
    /// Whether not to repeat is what the policy says, so that no default takes its place.
    pub says_once: bool,
    /// The field of requests that makes attempts with side effects safe to repeat, where descriptors name one
    /// ([`Policy::with_descriptors`](super::Policy::with_descriptors)); for requests of one message.
    pub request_id: Option<RequestIdField>,
}

/// The field `request_id` of a request message (AIP-155): a server carries out one call by one id, however often it
/// comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestIdField {
    /// The number of the field.
    pub number: u32,
    /// Whether attempts are repeated only when the request has an id; not where the operator's policy asks for them.
    pub required: bool,
}

/// Whether and how the attempts of a call are repeated (gRFC A6).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Repeat {
    /// One attempt; transparent retries besides.
    #[default]
    Once,
    /// One attempt after the other.
    Retry(Arc<RetryPolicy>),
    /// Attempts beside each other.
    Hedge(Arc<HedgingPolicy>),
}

/// `retryPolicy` (gRFC A6).
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The most attempts, the first among them; more than 1.
    pub max_attempts: u32,
    /// How long the first retry waits, before jitter of ±20 %.
    pub initial_backoff: Duration,
    /// The longest that a retry waits, before jitter.
    pub max_backoff: Duration,
    /// What the wait grows by from retry to retry.
    pub backoff_multiplier: f64,
    /// The codes that are worth another attempt.
    pub retryable_status_codes: Codes,
}

impl Default for RetryPolicy {
    /// What methods get that may be repeated when nothing else is said of them: 3 attempts on UNAVAILABLE, 50 ms × 2, at
    /// most 1 s.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            backoff_multiplier: 2.0,
            retryable_status_codes: [Code::Unavailable].into_iter().collect(),
        }
    }
}

/// `hedgingPolicy` (gRFC A6).
#[derive(Clone, Debug, PartialEq)]
pub struct HedgingPolicy {
    /// The most attempts, the first among them; more than 1.
    pub max_attempts: u32,
    /// How long to wait before the next attempt is sent beside those that are under way; zero sends all at once.
    pub hedging_delay: Duration,
    /// The codes that don't end the call: the next attempt is sent at once.
    pub non_fatal_status_codes: Codes,
}

/// `retryThrottling` (gRFC A6), of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryThrottling {
    /// The tokens to begin with and the most that there can be, in thousandths.
    pub max_milli_tokens: u32,
    /// What a success gives back, in thousandths of a token.
    pub milli_token_ratio: u32,
}

/// `meshwork.retryBudget`: how many retries and hedges there may be against the calls of the last seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Retries allowed for each call, such as 0.2.
    pub ratio: f64,
    /// Retries allowed each second even when there are few calls.
    pub min_per_second: u32,
    /// How long a call counts.
    pub ttl: Duration,
}

/// `loadBalancingConfig`: the first policy in the list that is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LoadBalancing {
    /// `meshwork_peak_ewma`: the better of two random endpoints by latency, load and rate of failure.
    #[default]
    PeakEwma,
    /// `pick_first`: one endpoint for all calls (gRFC A62).
    PickFirst {
        /// `shuffleAddressList`: whether the endpoints are tried in random order; true. gRFC A62 has false; but names
        /// resolve to addresses in order here, and all clients would go to the lowest one.
        shuffle_address_list: bool,
    },
    /// `round_robin`: one after the other.
    RoundRobin,
    /// `least_request_experimental` (gRFC A48).
    LeastRequest {
        /// How many endpoints are compared, 2 to 10.
        choice_count: usize,
    },
}

/// `outlier_detection_experimental` (gRFC A50).
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierDetection {
    /// The time between two looks at the counts; 10 s. Less than 1 ms counts as that.
    pub interval: Duration,
    /// How long a first ejection lasts; it grows with each one; 30 s.
    pub base_ejection_time: Duration,
    /// The longest ejection; 300 s.
    pub max_ejection_time: Duration,
    /// The share of endpoints that may be ejected before another one is; 10 %.
    pub max_ejection_percent: u32,
    /// Compares endpoints with each other.
    pub success_rate: Option<SuccessRateEjection>,
    /// Compares endpoints with a fixed threshold.
    pub failure_percentage: Option<FailurePercentageEjection>,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            success_rate: None,
            failure_percentage: None,
        }
    }
}

/// `successRateEjection` (gRFC A50).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRateEjection {
    /// How many standard deviations below the mean is too low, in thousandths; 1900.
    pub stdev_factor: u32,
    /// How many of the ejections are carried out; 100 %.
    pub enforcement_percentage: u32,
    /// How many endpoints must have enough calls; 5.
    pub minimum_hosts: u32,
    /// How many calls in an interval are enough; 100.
    pub request_volume: u32,
}

impl Default for SuccessRateEjection {
    fn default() -> Self {
        Self { stdev_factor: 1900, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 100 }
    }
}

/// `failurePercentageEjection` (gRFC A50).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentageEjection {
    /// More than this share of failures is too much; 85 %.
    pub threshold: u32,
    /// How many of the ejections are carried out; 100 %.
    pub enforcement_percentage: u32,
    /// How many endpoints must have enough calls; 5.
    pub minimum_hosts: u32,
    /// How many calls in an interval are enough; 50.
    pub request_volume: u32,
}

impl Default for FailurePercentageEjection {
    fn default() -> Self {
        Self { threshold: 85, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 50 }
    }
}

/// `meshwork.circuitBreaker`: when an endpoint gets no calls for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// So many failures in a row open it; 5. `None`: only the rate counts.
    pub consecutive_failures: Option<u32>,
    /// So high a share of failures opens it.
    pub failure_rate: Option<FailureRate>,
    /// How long it stays open before probes are let through; 60 s.
    pub open_for: Duration,
    /// How many calls may probe at once while it is half-open, and how many must succeed for it to close; 3. Those that were not
    /// answered for `open_for` keep no others from probing.
    pub probes: u32,
    /// At most so many percent of the connected endpoints have circuits that are open or half-open, rounded down; 50. Below
    /// 100, the circuit of an only endpoint never opens: nobody could answer in its place.
    pub max_open_percent: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            failure_rate: None,
            open_for: Duration::from_secs(60),
            probes: 3,
            max_open_percent: 50,
        }
    }
}

/// `meshwork.circuitBreaker.failureRate`: a share of failures in a sliding window of ten buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureRate {
    /// The share of failures at which the breaker opens, in percent, 1 to 100.
    pub percent: u32,
    /// How many calls there must be in the window before their rate counts.
    pub min_calls: u32,
    /// The length of the window.
    pub window: Duration,
}

/// `meshwork.rateLimit`: how many calls a second a channel sends at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls each second, for a long time.
    pub per_second: u32,
    /// Calls at once after a pause.
    pub burst: u32,
}

/// What a whole service config says, methods apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelPolicy {
    /// `loadBalancingConfig`.
    pub load_balancing: LoadBalancing,
    /// `outlier_detection_experimental` around it.
    pub outlier_detection: Option<OutlierDetection>,
    /// `healthCheckConfig.serviceName`; an empty name asks for the whole server (gRFC A17).
    pub health_check: Option<Arc<str>>,
    /// `retryThrottling`.
    pub retry_throttling: Option<RetryThrottling>,
    /// `meshwork.retryBudget`.
    pub retry_budget: Option<RetryBudget>,
    /// `meshwork.circuitBreaker`; none unless it is said, an empty object takes the defaults.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// `meshwork.maxConcurrentRequests` (gRFC A32): calls in flight to the target, shared by all channels to it; open streams
    /// count too, calls that wait for an endpoint don't: they have a bound of their own. No limit unless it is said: the 1024
    /// of gRFC A32 are those of a cluster of xDS, and other gRPC libraries have none on a plain channel either.
    pub max_concurrent_requests: Option<usize>,
    /// `meshwork.rateLimit`.
    pub rate_limit: Option<RateLimit>,
    /// `connectionScaling.maxConnectionsPerSubchannel` (gRFC A105), 1 to 10; the same under `meshwork` comes before it.
    pub max_connections_per_subchannel: usize,
}

impl Default for ChannelPolicy {
    fn default() -> Self {
        Self {
            load_balancing: LoadBalancing::default(),
            outlier_detection: None,
            health_check: None,
            retry_throttling: None,
            retry_budget: None,
            circuit_breaker: None,
            max_concurrent_requests: None,
            rate_limit: None,
            max_connections_per_subchannel: 1,
        }
    }
}

/// The most attempts that a policy can ask for; more are brought down to it (gRFC A6).
pub const MAX_ATTEMPTS: u32 = 5;
