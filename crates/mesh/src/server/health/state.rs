//! The state that a registry's handles share, and what follows from it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tonic_health::ServingStatus;

use super::report::{CheckReport, CheckState, Overall, Problem, Report, Severity};

/// The names that ask for the server and not for one of its services.
const STARTUP: &str = "startup";
const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";
const ALL: &str = "";

/// What is known of a server.
#[derive(Debug)]
pub(super) struct State {
    pub opened: bool,
    pub draining: bool,
    started: bool,
    pub conditions: BTreeMap<String, ConditionState>,
    pub checks: BTreeMap<String, Entry>,
    /// What each name is set to; SERVING follows the checks.
    services: BTreeMap<String, ServingStatus>,
}

/// A condition.
#[derive(Debug, Default)]
pub(super) struct ConditionState {
    pub met: bool,
    /// Why it isn't met yet, if that is known.
    pub why: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        let names = [STARTUP, LIVENESS, READINESS, ALL];
        Self {
            opened: false,
            draining: false,
            started: false,
            conditions: BTreeMap::new(),
            checks: BTreeMap::new(),
            services: names.into_iter().map(|name| (name.to_owned(), ServingStatus::Serving)).collect(),
        }
    }
}

impl State {
    /// Draws the conclusions of a change.
    pub(super) fn settle(&mut self) {
        let met = self.conditions.values().all(|condition| condition.met);
        self.started |= self.opened && met && self.required_pass();
    }

    fn required_pass(&self) -> bool {
        self.checks.values().all(|entry| entry.severity == Severity::Degrades || entry.state == CheckState::Passing)
    }

    pub(super) fn ready(&self) -> bool {
        !self.draining && self.started && self.required_pass()
    }

    /// What the names' states follow from.
    pub(super) fn face(&self) -> (bool, bool, bool) {
        (self.started, self.ready(), self.draining)
    }

    /// The state of a name; `None` when it isn't known.
    pub(super) fn status(&self, name: &str, live: bool) -> Option<ServingStatus> {
        let set = *self.services.get(name)?;
        let serves = match name {
            STARTUP => self.started && !self.draining,
            // Whoever restarts what isn't alive must leave alone what starts, and what stops.
            LIVENESS => live,
            _ => self.ready(),
        };
        Some(if serves { set } else { ServingStatus::NotServing })
    }

    /// Makes a name known; whether it is new.
    pub(super) fn register(&mut self, name: &str) -> bool {
        let new = !self.services.contains_key(name);
        if new {
            self.services.insert(name.to_owned(), ServingStatus::Serving);
        }
        new
    }

    /// Sets a name; whether that is a change.
    pub(super) fn set(&mut self, name: &str, status: ServingStatus) -> bool {
        self.services.insert(name.to_owned(), status) != Some(status)
    }

    /// Makes a name unknown that doesn't ask for the server; whether it was known.
    pub(super) fn forget(&mut self, name: &str) -> bool {
        ![STARTUP, LIVENESS, READINESS, ALL].contains(&name) && self.services.remove(name).is_some()
    }

    /// The conditions that aren't met, each with why, if that is known.
    fn unmet(&self) -> impl Iterator<Item = String> {
        let unmet = self.conditions.iter().filter(|(_, condition)| !condition.met);
        unmet.map(|(name, condition)| match &condition.why {
            Some(why) => format!("{name} ({why})"),
            None => name.clone(),
        })
    }

    pub(super) fn report(&self, live: bool) -> Report {
        let passing = self.checks.values().all(|entry| entry.state == CheckState::Passing);
        let ready = self.ready();
        let overall = match (ready && live, passing) {
            (false, _) => Overall::Unhealthy,
            (true, false) => Overall::Degraded,
            (true, true) => Overall::Healthy,
        };
        Report {
            overall,
            live,
            started: self.started,
            ready,
            draining: self.draining,
            unmet: self.unmet().collect(),
            checks: self.checks.iter().map(|(name, entry)| entry.report(name)).collect(),
        }
    }
}

/// How many probes it takes to change a check's state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hysteresis {
    pub failures: u32,
    pub over: Duration,
    pub successes: u32,
}

/// A check and what it has found.
#[derive(Debug)]
pub(super) struct Entry {
    /// Tells a check from one of the same name that came in its place.
    pub id: u64,
    pub severity: Severity,
    pub state: CheckState,
    hysteresis: Hysteresis,
    limit: Option<f64>,
    since: SystemTime,
    checked: Option<(SystemTime, Duration)>,
    failures: u32,
    successes: u32,
    failing_since: Option<Instant>,
    last_problem: Option<Problem>,
    value: Option<f64>,
}

/// What a probe found.
#[derive(Debug)]
pub(super) struct ProbeOutcome {
    pub result: Result<(), String>,
    pub value: Option<f64>,
    /// Whether what it found doesn't pass by itself.
    pub lasts: bool,
    pub took: Duration,
}

impl Entry {
    pub(super) fn new(
        id: u64,
        severity: Severity,
        hysteresis: Hysteresis,
        limit: Option<f64>,
        since: SystemTime,
    ) -> Self {
        Self {
            id,
            severity,
            state: CheckState::Pending,
            hysteresis,
            limit,
            since,
            checked: None,
            failures: 0,
            successes: 0,
            failing_since: None,
            last_problem: None,
            value: None,
        }
    }

    /// Takes what a probe found that ended `now`, which the wall clock calls `wall`.
    pub(super) fn record(&mut self, outcome: ProbeOutcome, now: Instant, wall: SystemTime) {
        self.checked = Some((wall, outcome.took));
        self.value = outcome.value;
        let state = match outcome.result {
            Ok(()) => {
                (self.failures, self.failing_since) = (0, None);
                self.successes = self.successes.saturating_add(1);
                // The first success ever is enough, so that a start is quick.
                let enough = self.state != CheckState::Failed || self.successes >= self.hysteresis.successes;
                if enough { CheckState::Passing } else { CheckState::Failed }
            }
            Err(sentence) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                let failing = now.saturating_duration_since(*self.failing_since.get_or_insert(now));
                self.last_problem = Some(Problem { sentence, at: wall });
                let enough = self.failures >= self.hysteresis.failures && failing >= self.hysteresis.over;
                if self.state == CheckState::Passing && (enough || outcome.lasts) {
                    CheckState::Failed
                } else {
                    self.state
                }
            }
        };
        if state != self.state {
            (self.state, self.since) = (state, wall);
        }
    }

    fn report(&self, name: &str) -> CheckReport {
        CheckReport {
            name: name.to_owned(),
            severity: self.severity,
            state: self.state,
            since: self.since,
            checked: self.checked.map(|(at, _)| at),
            took: self.checked.map(|(_, took)| took),
            failures: self.failures,
            last_problem: self.last_problem.clone(),
            value: self.value,
            limit: self.limit,
        }
    }
}
