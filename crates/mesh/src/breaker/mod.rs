//! Circuit breaker: an endpoint that fails too often gets no calls for a while, then a few that probe it.
//!
//! Closed, a call costs one atomic load, and its success another one. Everything else (opening, probes) is rare and goes
//! through a lock that is never held while waiting.

mod admitted;
mod layer;
mod share;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

pub use self::admitted::AdmittedCall;
pub use self::layer::{BreakerFuture, CircuitBreakerLayer, CircuitBreakerService};
use self::share::OpenPlace;
pub(crate) use self::share::OpenShare;
use self::window::Window;
use crate::observe::Circuit;
use crate::outcome::Outcome;
use crate::policy::CircuitBreaker;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
/// The bits of a word that hold the state; those above hold the round.
const STATE_BITS: u32 = 2;

/// A circuit breaker. Clones are the same breaker.
#[derive(Clone)]
pub struct Breaker(Arc<BreakerState>);

struct BreakerState {
    /// The state and its round, see [`BreakerState::state`]. Written under the lock of `gate` only.
    circuit: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
    /// Whether the policy has a failure rate.
    rated: AtomicBool,
    policy: ArcSwap<CircuitBreaker>,
    window: Window,
    gate: Mutex<Gate>,
    hook: OnceLock<Box<dyn Fn(Circuit) + Send + Sync>>,
    place: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// `None`: it may open whatever others do.
    share: Option<Arc<OpenShare>>,
}

/// What matters while the circuit isn't closed.
#[derive(Debug, Default)]
struct Gate {
    /// When an open circuit turns half-open, or when the places of the probes under way are free again though none was
    /// answered; `None` when the time is too far away to be told.
    until: Option<Instant>,
    /// Tells the calls and probes of one time from those of another; it grows when the circuit turns half-open or closes.
    round: u64,
    /// Probes under way that keep others from probing.
    probing: u32,
    /// How often their places were freed in this round.
    freed: u32,
    /// Probes that succeeded.
    succeeded: u32,
    /// Its part of the share, unless the circuit is closed.
    open: Option<OpenPlace>,
    /// Whether the endpoint is gone.
    retired: bool,
}

/// What a breaker says to a call.
#[derive(Debug)]
pub enum Admission {
    /// The circuit is closed: the call goes, and its outcome is to be recorded.
    Closed {
        /// Which closed time it is: an outcome counts in its own.
        round: u64,
    },
    /// The circuit is half-open and the call is one of the few that probe.
    Probe(ProbePermit),
    /// The call doesn't go.
    Rejected {
        /// When the circuit turns half-open; `None` when it is half-open and its probes are under way.
        until: Option<Instant>,
    },
}

/// The right to probe; dropped, it is given back and nothing is judged.
#[must_use = "dropped, the probe is given back"]
pub struct ProbePermit {
    inner: Arc<BreakerState>,
    round: u64,
    /// [`Gate::freed`] when it began.
    freed: u32,
    /// Whether it keeps others from probing.
    placed: bool,
}

impl Admission {
    /// The response began: a probe that is a stream may last for hours, and keeps no others from probing meanwhile. It is
    /// judged at its end still.
    pub fn answered(&mut self) {
        if let Self::Probe(permit) = self {
            permit.give_back();
        }
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: CircuitBreaker) -> Self {
        Self(Arc::new(BreakerState {
            circuit: AtomicU64::new(CLOSED),
            failures: AtomicU32::new(0),
            rated: AtomicBool::new(policy.failure_rate.is_some()),
            policy: ArcSwap::from_pointee(policy),
            window: Window::new(Instant::now()),
            gate: Mutex::default(),
            hook: OnceLock::new(),
            place: OnceLock::new(),
            share: None,
        }))
    }

    /// A closed breaker that opens only while `share` has room for it.
    pub(crate) fn within(policy: CircuitBreaker, share: Arc<OpenShare>) -> Self {
        let mut breaker = Self::new(policy);
        if let Some(inner) = Arc::get_mut(&mut breaker.0) {
            inner.share = Some(share);
        }
        breaker
    }

    /// Has `hook` told of each change, without a lock held. The first hook stays. It must be quick and must not block.
    ///
    /// ```
    /// use meshwork::breaker::Breaker;
    /// use meshwork::policy::CircuitBreaker;
    ///
    /// let breaker = Breaker::new(CircuitBreaker::default()).on_change(|circuit| println!("{circuit:?}"));
    /// ```
    #[must_use]
    pub fn on_change(self, hook: impl Fn(Circuit) + Send + Sync + 'static) -> Self {
        let _ = self.0.hook.set(Box::new(hook));
        self
    }

    /// Has `hook` told when a probe gave its place back and calls may have been rejected for want of one, so that who waits may
    /// ask again; and when the last place was taken, so that [`Breaker::open_until`] tells when there are others. The first hook
    /// stays. It must be quick and must not block.
    #[must_use]
    pub(crate) fn on_place(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        let _ = self.0.place.set(Box::new(hook));
        self
    }

    /// Whether a call may go now.
    pub fn admit(&self, now: Instant) -> Admission {
        let inner = &self.0;
        if let (CLOSED, round) = inner.state() {
            return Admission::Closed { round };
        }
        let mut gate = inner.lock();
        let turned = inner.turn(&mut gate, now);
        let mut filled = false;
        let admission = match inner.state().0 {
            CLOSED => Admission::Closed { round: gate.round },
            HALF_OPEN if !inner.is_full(&gate) => {
                if gate.probing == 0 {
                    gate.until = now.checked_add(inner.policy.load().open_for);
                }
                gate.probing += 1;
                filled = inner.is_full(&gate);
                let (inner, round, freed) = (Arc::clone(inner), gate.round, gate.freed);
                Admission::Probe(ProbePermit { inner, round, freed, placed: true })
            }
            HALF_OPEN => Admission::Rejected { until: None },
            _ => Admission::Rejected { until: gate.until },
        };
        drop(gate);
        inner.notify(turned);
        if filled {
            inner.notify_place();
        }
        admission
    }

    /// Whether [`Breaker::admit`] would reject a call now. It takes nothing.
    pub fn rejects(&self, now: Instant) -> bool {
        let inner = &self.0;
        if inner.state().0 == CLOSED {
            return false;
        }
        let gate = inner.lock();
        match inner.state().0 {
            OPEN => gate.until.is_none_or(|until| now < until),
            HALF_OPEN => inner.is_full(&gate) && gate.until.is_none_or(|until| now < until),
            _ => false,
        }
    }

    /// Takes the outcome of a call that went while the circuit was closed, as it still is.
    pub fn record(&self, now: Instant, outcome: Outcome) {
        self.record_of(self.0.state().1, now, outcome);
    }

    /// As [`Breaker::record`], of a call that was admitted in `round`. Calls of an earlier one don't count: they say nothing
    /// of the server since.
    fn record_of(&self, round: u64, now: Instant, outcome: Outcome) {
        let inner = &self.0;
        if !outcome.is_judged() || inner.state() != (CLOSED, round) {
            return;
        }
        let failed = outcome.is_failure();
        if failed {
            inner.failures.fetch_add(1, Ordering::Relaxed);
        } else if inner.failures.load(Ordering::Relaxed) != 0 {
            inner.failures.store(0, Ordering::Relaxed);
        }
        if inner.rated.load(Ordering::Relaxed)
            && let Some(rate) = inner.policy.load().failure_rate
        {
            inner.window.record(now, rate.window, failed);
        } else if !failed {
            return;
        }
        if !inner.too_many(now) {
            return;
        }
        let mut gate = inner.lock();
        // Asked again: another call may have opened it, and it may even have closed since.
        let turned = (inner.state() == (CLOSED, round) && inner.too_many(now))
            .then(|| inner.open_if_allowed(&mut gate, now))
            .flatten();
        drop(gate);
        inner.notify(turned);
    }

    /// Takes the outcome of a call, however it was admitted.
    pub fn settle(&self, now: Instant, admission: Admission, outcome: Outcome) {
        match admission {
            Admission::Closed { round } => self.record_of(round, now, outcome),
            Admission::Probe(permit) => permit.settle(now, outcome),
            Admission::Rejected { .. } => {}
        }
    }

    /// Turns an open circuit half-open before its time: there is a new connection.
    pub fn half_open(&self) {
        let inner = &self.0;
        if inner.state().0 == CLOSED {
            return;
        }
        let mut gate = inner.lock();
        let turned = (inner.state().0 == OPEN).then(|| inner.half_open(&mut gate));
        drop(gate);
        inner.notify(turned);
    }

    /// The state; an open circuit turns half-open by time, and places of probes that were not answered are freed.
    pub fn state(&self, now: Instant) -> Circuit {
        let inner = &self.0;
        if inner.state().0 != CLOSED {
            let mut gate = inner.lock();
            let turned = inner.turn(&mut gate, now);
            drop(gate);
            inner.notify(turned);
        }
        match inner.state().0 {
            CLOSED => Circuit::Closed,
            OPEN => Circuit::Open,
            _ => Circuit::HalfOpen,
        }
    }

    /// Its endpoint is gone: it takes no part of the share any more, however long calls to it go on and whatever they come to.
    pub(crate) fn retire(&self) {
        let mut gate = self.0.lock();
        (gate.open, gate.retired) = (None, true);
    }

    /// When calls that are rejected may be let through: an open circuit turns half-open then, and one that is half-open, with
    /// all its probes under way, lets others probe beside them. `None` when it lets calls through. It may be in the past:
    /// [`Breaker::state`] then turns it.
    pub fn open_until(&self) -> Option<Instant> {
        let inner = &self.0;
        if inner.state().0 == CLOSED {
            return None;
        }
        let gate = inner.lock();
        match inner.state().0 {
            OPEN => gate.until,
            HALF_OPEN if inner.is_full(&gate) => gate.until,
            _ => None,
        }
    }

    /// Takes a new policy. The state stays, and so do failures in a row; a window of another length begins empty.
    pub fn update(&self, policy: CircuitBreaker) {
        let inner = &self.0;
        let _gate = inner.lock();
        let before = inner.policy.load_full();
        let window = |policy: &CircuitBreaker| policy.failure_rate.map(|rate| rate.window);
        if window(&before) != window(&policy) {
            inner.window.clear();
        }
        inner.rated.store(policy.failure_rate.is_some(), Ordering::Relaxed);
        inner.policy.store(Arc::new(policy));
    }
}

impl BreakerState {
    fn lock(&self) -> MutexGuard<'_, Gate> {
        // Nothing in a gate is left half done by a panic.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, turned: Option<Circuit>) {
        if let (Some(circuit), Some(hook)) = (turned, self.hook.get()) {
            hook(circuit);
        }
    }

    fn notify_place(&self) {
        if let Some(hook) = self.place.get() {
            hook();
        }
    }

    /// Whether as many probes are under way as may be.
    fn is_full(&self, gate: &Gate) -> bool {
        gate.probing >= self.policy.load().probes.max(1)
    }

    fn too_many(&self, now: Instant) -> bool {
        let policy = self.policy.load();
        let failures = self.failures.load(Ordering::Relaxed);
        policy.consecutive_failures.is_some_and(|limit| failures >= limit.max(1))
            || policy.failure_rate.is_some_and(|rate| {
                let (ok, failed) = self.window.sum(now, rate.window);
                let calls = ok + failed;
                failed > 0 && calls >= u64::from(rate.min_calls) && failed * 100 >= calls * u64::from(rate.percent)
            })
    }

    /// The state and its round.
    fn state(&self) -> (u64, u64) {
        let word = self.circuit.load(Ordering::Acquire);
        (word & ((1 << STATE_BITS) - 1), word >> STATE_BITS)
    }

    fn set(&self, state: u64, round: u64) {
        self.circuit.store(round << STATE_BITS | state, Ordering::Release);
    }

    /// Opens a closed circuit, unless as many are open as may be: then it stays closed, and the next failure asks again.
    fn open_if_allowed(&self, gate: &mut Gate, now: Instant) -> Option<Circuit> {
        if let Some(share) = &self.share
            && !gate.retired
        {
            gate.open = Some(share.take()?);
        }
        Some(self.open(gate, now))
    }

    fn open(&self, gate: &mut Gate, now: Instant) -> Circuit {
        gate.until = now.checked_add(self.policy.load().open_for);
        self.forget();
        self.set(OPEN, gate.round);
        Circuit::Open
    }

    fn half_open(&self, gate: &mut Gate) -> Circuit {
        *gate = Gate { round: gate.round + 1, open: gate.open.take(), retired: gate.retired, ..Gate::default() };
        self.set(HALF_OPEN, gate.round);
        Circuit::HalfOpen
    }

    fn close(&self, gate: &mut Gate) -> Circuit {
        *gate = Gate { round: gate.round + 1, retired: gate.retired, ..Gate::default() };
        self.forget();
        self.set(CLOSED, gate.round);
        Circuit::Closed
    }

    fn forget(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.window.clear();
    }

    /// Turns an open circuit half-open when its time has come. Frees the places of probes that were not answered for as long as
    /// a circuit stays open: calls without a deadline, that the server answers late or never, must not keep it from all others.
    fn turn(&self, gate: &mut Gate, now: Instant) -> Option<Circuit> {
        if gate.until.is_none_or(|until| now < until) {
            return None;
        }
        match self.state().0 {
            OPEN => return Some(self.half_open(gate)),
            HALF_OPEN if gate.probing > 0 => {
                gate.probing = 0;
                gate.freed += 1;
            }
            _ => {}
        }
        None
    }
}

impl ProbePermit {
    /// The probe ended at `now` with `outcome`; one that was cancelled is given back.
    pub fn settle(self, now: Instant, outcome: Outcome) {
        if !outcome.is_judged() {
            return;
        }
        let inner = &self.inner;
        let mut gate = inner.lock();
        if gate.round != self.round || inner.state().0 != HALF_OPEN {
            return;
        }
        let turned = if outcome.is_failure() {
            Some(inner.open(&mut gate, now))
        } else {
            gate.succeeded += 1;
            (gate.succeeded >= inner.policy.load().probes.max(1)).then(|| inner.close(&mut gate))
        };
        drop(gate);
        inner.notify(turned);
        // The drop gives the place back, unless the round is over.
    }
}

impl Drop for ProbePermit {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl ProbePermit {
    fn give_back(&mut self) {
        if !std::mem::replace(&mut self.placed, false) {
            return;
        }
        let inner = &self.inner;
        let mut gate = inner.lock();
        if (gate.round, gate.freed) != (self.round, self.freed) {
            return;
        }
        let full = inner.is_full(&gate);
        gate.probing = gate.probing.saturating_sub(1);
        drop(gate);
        if full && inner.state().0 == HALF_OPEN {
            inner.notify_place();
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("circuit", &self.0.state())
            .field("failures", &self.0.failures)
            .field("gate", &self.0.gate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProbePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbePermit").field("round", &self.round).finish_non_exhaustive()
    }
}
