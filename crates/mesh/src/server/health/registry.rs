//! The registry of states and checks.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;

use super::check::Check;
use super::heart::Heartbeat;
use super::report::{CheckState, Report, cut};
use super::state::{ConditionState, Entry, ProbeOutcome, State};

/// The pauses between the first probes, until one succeeds: they double from the one to the other.
const FIRST_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// How a server is. Clones share it; the checks end with the last of them, or when the server stops.
#[derive(Clone)]
pub struct Health(pub(super) Arc<HealthRegistry>);

pub(super) struct HealthRegistry {
    pub(super) state: watch::Sender<State>,
    pub(super) heart: Arc<Heartbeat>,
    /// Cancelled with the last handle.
    gone: CancellationToken,
    /// Cancelled when the checks are to end.
    stop: CancellationToken,
    clock: Clock,
    ids: AtomicU64,
}

impl Health {
    /// Everything but `liveness` is NOT_SERVING until [`Health::open`].
    pub fn new() -> Self {
        Self::with_clock(SystemTime::now)
    }

    /// As [`Health::new`]; reports take their times from `clock`.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use meshwork::server::health::Health;
    /// let health = Health::with_clock(|| SystemTime::UNIX_EPOCH);
    /// ```
    pub fn with_clock(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let gone = CancellationToken::new();
        Self(Arc::new(HealthRegistry {
            state: watch::Sender::default(),
            heart: Arc::default(),
            stop: gone.child_token(),
            gone,
            clock: Box::new(clock),
            ids: AtomicU64::new(0),
        }))
    }

    /// Makes `service` known: it is SERVING while the server is ready.
    ///
    /// ```
    /// # let health = meshwork::server::health::Health::new();
    /// health.register("meshwork.users.v1.UserService");
    /// ```
    pub fn register(&self, service: &str) {
        self.0.change(|state| state.register(service));
    }

    /// Makes `service` known and sets it; it is never better than the server as a whole. SERVING lets it follow the server
    /// again.
    ///
    /// ```
    /// use meshwork::server::health::{Health, ServingStatus};
    /// let health = Health::new();
    /// health.set("meshwork.users.v1.UserService", ServingStatus::NotServing);
    /// ```
    pub fn set(&self, service: &str, status: ServingStatus) {
        self.0.change(|state| state.set(service, status));
    }

    /// Makes `service` unknown again: who asks for it gets NOT_FOUND, who watches it SERVICE_UNKNOWN. What asks for the server as a
    /// whole, such as the empty name, stays.
    ///
    /// ```
    /// use meshwork::server::health::Health;
    /// let health = Health::new();
    /// health.register("meshwork.users.v1.UserService");
    /// health.forget("meshwork.users.v1.UserService");
    /// assert_eq!(health.status("meshwork.users.v1.UserService"), None);
    /// ```
    pub fn forget(&self, service: &str) {
        self.0.change(|state| state.forget(service));
    }

    /// Begins to run `check`, in the place of an earlier one of its name. The server starts only when all required checks
    /// have passed once; one that is added later makes it unready until it passes.
    ///
    /// ```
    /// use meshwork::server::health::{Check, Health};
    /// # #[tokio::main] async fn main() {
    /// let health = Health::new();
    /// health.check(Check::new("database", || async { Ok::<_, String>(()) }).required(true));
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn check(&self, check: Check) {
        self.beat();
        let inner = &self.0;
        let id = inner.ids.fetch_add(1, Ordering::Relaxed);
        let entry = Entry::new(id, check.severity, check.hysteresis, check.limit, (inner.clock)());
        inner.change(|state| {
            state.checks.insert(check.name.clone(), entry);
            false
        });
        let stop = inner.stop.clone();
        let run = probe(check, id, Arc::downgrade(inner));
        tokio::spawn(async move { stop.run_until_cancelled(run).await });
    }

    /// Something that must have happened once before the server starts, such as the first fetch of keys. Add it before
    /// [`Health::open`].
    ///
    /// ```
    /// # let health = meshwork::server::health::Health::new();
    /// let keys = health.condition("keys");
    /// keys.met();
    /// ```
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let name = name.into();
        self.0.change(|state| {
            state.conditions.insert(name.clone(), ConditionState::default());
            false
        });
        Condition { registry: Arc::downgrade(&self.0), name }
    }

    /// The server begins to serve: from now on the states say what the checks find. [`Health::service`] does it too.
    ///
    /// ```
    /// # let health = meshwork::server::health::Health::new();
    /// health.open();
    /// ```
    pub fn open(&self) {
        self.beat();
        self.0.change(|state| {
            state.opened = true;
            false
        });
    }

    /// Everything but `liveness` is NOT_SERVING from now on, whatever the checks say: the server stops. Nothing undoes it, and the
    /// checks end. Those who watch are told; their streams end when the server ends them.
    ///
    /// ```
    /// # let health = meshwork::server::health::Health::new();
    /// health.drain();
    /// ```
    pub fn drain(&self) {
        self.0.change(|state| {
            state.draining = true;
            false
        });
        self.0.stop.cancel();
    }

    /// Waits until the server is ready, which may be now; returns false when it stops instead.
    pub async fn ready(&self) -> bool {
        let mut states = self.0.state.subscribe();
        states.wait_for(|state| state.ready() || state.draining).await.is_ok_and(|state| state.ready())
    }

    /// Whether the server serves.
    pub fn is_ready(&self) -> bool {
        self.0.state.borrow().ready()
    }

    /// Whether the runtime's heartbeat is younger than 30 s. It beats where the registry was first used within a runtime;
    /// another thread can ask for it when that runtime is stuck.
    pub fn is_live(&self) -> bool {
        self.0.heart.beats()
    }

    /// The state of a name; `None` when it isn't known.
    pub fn status(&self, service: &str) -> Option<ServingStatus> {
        self.0.state.borrow().status(service, self.is_live())
    }

    /// All that is known now.
    pub fn report(&self) -> Report {
        self.0.state.borrow().report(self.is_live())
    }

    /// The time, by the clock of the reports.
    pub fn now(&self) -> SystemTime {
        (self.0.clock)()
    }

    /// Lets the heart beat.
    pub(in crate::server) fn beat(&self) {
        self.0.heart.start(&self.0.gone);
    }
}

impl HealthRegistry {
    /// Changes the state, and tells those who watch when what they see may have changed: `change` says so, or it follows.
    fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        self.state.send_if_modified(|state| {
            let before = state.face();
            let changed = change(state);
            state.settle();
            changed || state.face() != before
        });
    }

    /// Takes what a probe found; the state of its check after that, or `None` when there is no such check any more.
    fn record(&self, name: &str, id: u64, outcome: ProbeOutcome) -> Option<CheckState> {
        let (now, wall) = (Instant::now(), (self.clock)());
        let mut turned = None;
        self.change(|state| {
            if let Some(entry) = state.checks.get_mut(name).filter(|entry| entry.id == id) {
                let before = entry.state;
                let problem = outcome.result.as_ref().err().cloned();
                entry.record(outcome, now, wall);
                turned = Some((before, entry.state, problem));
            }
            false
        });
        let (before, after, problem) = turned?;
        if before != after {
            match problem {
                None if before == CheckState::Pending => tracing::debug!(check = name, "a health check passes"),
                None => tracing::info!(check = name, "a health check passes again"),
                Some(problem) => tracing::warn!(check = name, problem, "a health check has failed"),
            }
        }
        Some(after)
    }
}

/// Probes until the registry is gone, or another check has come in the place of this one.
async fn probe(check: Check, id: u64, registry: Weak<HealthRegistry>) {
    let (mut pause, longest) = FIRST_PAUSES;
    loop {
        let outcome = check.run().await;
        let Some(state) = registry.upgrade().and_then(|registry| registry.record(&check.name, id, outcome)) else {
            return;
        };
        if state == CheckState::Pending {
            sleep(pause.min(check.interval)).await;
            pause = (pause * 2).min(longest);
        } else {
            sleep(check.interval).await;
        }
    }
}

impl Drop for HealthRegistry {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("state", &*self.0.state.borrow()).finish_non_exhaustive()
    }
}

/// Something that a server waits for before it starts. Dropped unmet, it stays unmet; it keeps no registry alive.
#[derive(Clone)]
pub struct Condition {
    registry: Weak<HealthRegistry>,
    name: String,
}

impl Condition {
    /// It is met, for ever.
    ///
    /// ```
    /// # let health = meshwork::server::health::Health::new();
    /// # let keys = health.condition("keys");
    /// keys.met();
    /// ```
    pub fn met(&self) {
        self.note(|awaited| awaited.met = true);
    }

    /// Says why it isn't met yet: reports tell it behind its name. Whoever may read `/health` sees it, so that it must hold no
    /// secrets.
    ///
    /// ```
    /// # let health = meshwork::server::health::Health::new();
    /// # let keys = health.condition("keys");
    /// keys.waits("connection refused");
    /// assert_eq!(health.report().unmet, ["keys (connection refused)"]);
    /// ```
    pub fn waits(&self, why: impl Into<String>) {
        let why = cut(why.into());
        self.note(|awaited| awaited.why = Some(why));
    }

    fn note(&self, note: impl FnOnce(&mut ConditionState)) {
        let Some(registry) = self.registry.upgrade() else { return };
        registry.change(|state| {
            if let Some(awaited) = state.conditions.get_mut(&self.name) {
                note(awaited);
            }
            false
        });
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("name", &self.name).finish_non_exhaustive()
    }
}
