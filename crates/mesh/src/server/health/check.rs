//! Checks: probes that run again and again.

use std::fmt::{self, Display};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::report::{Severity, cut};
use super::state::{Hysteresis, ProbeOutcome};

type Predicate = Arc<dyn Fn() -> bool + Send + Sync>;
type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<Option<f64>, String>> + Send + Sync>;

/// Something that a server depends on, and how to find out whether it is well.
///
/// By default it is probed 5 s after the last probe ended, and sooner until it has passed once; a probe that takes 2 s or
/// panics has failed. A check fails after 3 probes in a row that failed over at least 10 s, and passes again after 2 that
/// succeeded; the first success ever is enough. Its failure degrades the server.
///
/// Whoever may read `/health` sees the probe's error sentence: it must hold no secrets, such as a URL with a password.
#[derive(Clone)]
pub struct Check {
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) hysteresis: Hysteresis,
    pub(super) limit: Option<f64>,
    probe: Probe,
    lasting: Option<Predicate>,
    pub(super) interval: Duration,
    timeout: Duration,
}

impl Check {
    /// A check that passes when `probe` returns Ok; else it returns a sentence.
    ///
    /// ```
    /// use meshwork::server::health::Check;
    /// let check = Check::new("database", || async { Err::<(), _>("it refuses connections") });
    /// ```
    pub fn new<F, E>(name: impl Into<String>, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let probe = move || {
            let probed = probe();
            async move { probed.await.map(|()| None).map_err(|error| error.to_string()) }.boxed()
        };
        Self::probing(name.into(), None, Arc::new(probe))
    }

    /// A check that passes when the number that `probe` returns, such as the seconds that a consumer is behind, is at most
    /// `limit`.
    ///
    /// ```
    /// use meshwork::server::health::Check;
    /// let check = Check::lag("relay", 30.0, || async { Ok::<_, String>(0.2) });
    /// ```
    pub fn lag<F, E>(name: impl Into<String>, limit: f64, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<f64, E>> + Send + 'static,
        E: Display,
    {
        let probe = move || {
            let probed = probe();
            async move { probed.await.map(Some).map_err(|error| error.to_string()) }.boxed()
        };
        Self::probing(name.into(), Some(limit), Arc::new(probe))
    }

    fn probing(name: String, limit: Option<f64>, probe: Probe) -> Self {
        Self {
            name,
            severity: Severity::Degrades,
            hysteresis: Hysteresis { failures: 3, over: Duration::from_secs(10), successes: 2 },
            limit,
            probe,
            lasting: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
        }
    }

    /// Whether the server isn't ready without it. Default: no, it is degraded.
    ///
    /// ```
    /// use meshwork::server::health::Check;
    /// let check = Check::new("database", || async { Ok::<_, String>(()) }).required(true);
    /// ```
    #[must_use]
    pub fn required(mut self, required: bool) -> Self {
        self.severity = if required { Severity::Required } else { Severity::Degrades };
        self
    }

    /// The pause between two probes; at least 10 ms. Default: 5 s.
    ///
    /// ```
    /// # use meshwork::server::health::Check;
    /// # let check = Check::new("database", || async { Ok::<_, String>(()) });
    /// let check = check.interval(std::time::Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(10));
        self
    }

    /// How long a probe may take. Default: 2 s.
    ///
    /// ```
    /// # use meshwork::server::health::Check;
    /// # let check = Check::new("database", || async { Ok::<_, String>(()) });
    /// let check = check.timeout(std::time::Duration::from_millis(500));
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many probes in a row must fail, and over what time at least, from the first to the last of them. Default: 3 over
    /// 10 s.
    ///
    /// ```
    /// # use meshwork::server::health::Check;
    /// # let check = Check::new("database", || async { Ok::<_, String>(()) });
    /// let check = check.fails_after(5, std::time::Duration::from_secs(20));
    /// ```
    #[must_use]
    pub fn fails_after(mut self, failures: u32, over: Duration) -> Self {
        (self.hysteresis.failures, self.hysteresis.over) = (failures, over);
        self
    }

    /// When one probe that failed is enough, because what stands in the way doesn't pass by itself. It is asked after such a
    /// probe. Default: never.
    ///
    /// ```
    /// # use meshwork::server::health::Check;
    /// # let check = Check::new("license", || async { Err::<(), _>("it has expired") });
    /// let check = check.fails_at_once_if(|| true);
    /// ```
    #[must_use]
    pub fn fails_at_once_if(mut self, lasting: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.lasting = Some(Arc::new(lasting));
        self
    }

    /// How many probes in a row must succeed before a check that failed passes again. Default: 2.
    ///
    /// ```
    /// # use meshwork::server::health::Check;
    /// # let check = Check::new("database", || async { Ok::<_, String>(()) });
    /// let check = check.passes_after(1);
    /// ```
    #[must_use]
    pub fn passes_after(mut self, successes: u32) -> Self {
        self.hysteresis.successes = successes;
        self
    }

    /// Probes once.
    pub(super) async fn run(&self) -> ProbeOutcome {
        let began = Instant::now();
        // The closure may panic as well as its future.
        let probed = AssertUnwindSafe(async { (self.probe)().await }).catch_unwind();
        let (value, result) = match timeout(self.timeout, probed).await {
            Err(_) => (None, Err(format!("it gave no answer within {:?}", self.timeout))),
            Ok(Err(_)) => (None, Err("its probe panicked; the log says why".to_owned())),
            Ok(Ok(Err(sentence))) => (None, Err(cut(sentence))),
            Ok(Ok(Ok(value))) => (value, self.within(value)),
        };
        let lasts = result.is_err() && self.lasting.as_ref().is_some_and(|lasting| lasting());
        ProbeOutcome { result, value, lasts, took: began.elapsed() }
    }

    fn within(&self, value: Option<f64>) -> Result<(), String> {
        match (value, self.limit) {
            // Not a number is over every limit.
            (Some(value), Some(limit)) if value.is_nan() || value > limit => {
                Err(format!("it is {value:.3}, and may be {limit} at most"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).field("severity", &self.severity).finish_non_exhaustive()
    }
}
