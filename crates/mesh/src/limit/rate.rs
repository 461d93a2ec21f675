//! Calls a second, as the client holds itself to.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::Status;

use crate::policy;

/// tokio's clock for governor, in nanoseconds since the limit was made: paused time works.
#[derive(Clone, Copy, Debug)]
struct TokioClock {
    base: Instant,
}

impl TokioClock {
    fn at(&self, instant: Instant) -> Nanos {
        let nanos = instant.saturating_duration_since(self.base).as_nanos();
        Nanos::new(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.at(Instant::now())
    }
}

/// How much later than at twice the expected time a turn may come, beside one period, before the order no longer holds: a call
/// whose future is kept and not polled may be what stands in the way.
const OVERDUE: Duration = Duration::from_millis(50);

/// Holds calls to a rate: a call waits for its turn, or fails at once when its turn would come after its deadline.
///
/// While nobody waits, a call costs an atomic step or two; no lock, no allocation.
pub struct RateLimit {
    governor: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    clock: TokioClock,
    /// Between two calls, for a long time.
    period: Duration,
    /// First come, first served: who holds it waits for the next token, the others wait for it, though not for ever.
    turn: Mutex<()>,
    waiting: AtomicUsize,
    max_waiting: usize,
    /// When the token that the first in line waits for is there, in nanoseconds of the clock.
    next: AtomicU64,
}

/// One that waits; dropped, it doesn't any more.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl RateLimit {
    /// How many calls wait at most, unless it is said.
    pub const MAX_WAITING: usize = 1024;

    /// A limit with a full burst. Zeros of the policy count as 1.
    pub fn new(policy: policy::RateLimit) -> Self {
        let per_second = NonZeroU32::new(policy.per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(policy.burst).unwrap_or(NonZeroU32::MIN);
        let clock = TokioClock { base: Instant::now() };
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self {
            governor: RateLimiter::direct_with_clock(quota, clock),
            clock,
            period: Duration::from_secs(1) / per_second.get(),
            turn: Mutex::new(()),
            waiting: AtomicUsize::new(0),
            max_waiting: Self::MAX_WAITING,
            next: AtomicU64::new(0),
        }
    }

    /// How many calls may wait at once; more are refused with RESOURCE_EXHAUSTED. 1024 unless said.
    ///
    /// ```
    /// use meshwork::{limit::RateLimit, policy};
    ///
    /// let limit = RateLimit::new(policy::RateLimit { per_second: 100, burst: 20 }).max_waiting(64);
    /// ```
    #[must_use]
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// The calls that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Lets a call go now, if nobody waits and the rate allows it.
    pub fn try_acquire(&self) -> bool {
        self.waiting() == 0 && self.governor.check().is_ok()
    }

    /// Waits until the call may go. Dropped while waiting, it takes nothing.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, at once, when its turn would come after `deadline`, or when too many wait. DEADLINE_EXCEEDED when
    /// the deadline passed before its turn, which came later than expected.
    pub async fn acquire(&self, deadline: Option<Instant>) -> Result<(), Status> {
        if self.try_acquire() { Ok(()) } else { self.wait(deadline).await }
    }

    async fn wait(&self, deadline: Option<Instant>) -> Result<(), Status> {
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if ahead >= self.max_waiting {
            return Err(Status::resource_exhausted(format!("{ahead} calls wait for the rate limit already")));
        }
        let mut own = Duration::ZERO;
        if ahead > 0 {
            // Each one ahead takes a token; the first of them takes the next.
            let now = self.clock.now();
            let next = Nanos::new(self.next.load(Ordering::Acquire)).duration_since(now);
            own = Duration::from(next).saturating_add(self.period.saturating_mul(to_u32(ahead)));
            in_time(own, deadline)?;
        }
        // Whoever ahead isn't polled takes no token, and must not hold up the others: they go on beside it.
        let overdue = own.saturating_mul(2).saturating_add(self.period).saturating_add(OVERDUE);
        let overdue = Instant::now().checked_add(overdue);
        let _turn = match deadline.into_iter().chain(overdue).min() {
            Some(until) => match tokio::time::timeout_at(until, self.turn.lock()).await {
                Ok(turn) => Some(turn),
                Err(_) if deadline.is_some_and(|deadline| deadline <= until) => {
                    let message = "the deadline passed while the call waited for its turn under the rate limit";
                    return Err(Status::deadline_exceeded(message));
                }
                Err(_) => None,
            },
            None => Some(self.turn.lock().await),
        };
        loop {
            let Err(not_yet) = self.governor.check() else { return Ok(()) };
            let now = self.clock.now();
            let wait = not_yet.wait_time_from(now);
            in_time(wait, deadline)?;
            self.next.store((now + Nanos::from(wait)).as_u64(), Ordering::Release);
            tokio::time::sleep(wait).await;
        }
    }
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn in_time(wait: Duration, deadline: Option<Instant>) -> Result<(), Status> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| wait > left) { Err(too_late(wait)) } else { Ok(()) }
}

fn too_late(wait: Duration) -> Status {
    Status::resource_exhausted(format!("the rate limit would let the call go in {wait:?}, after its deadline"))
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("period", &self.period)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
