//! What a registry tells of itself.

use std::time::{Duration, SystemTime};

/// How many bytes of a probe's sentence are kept.
const SENTENCE: usize = 512;

/// What the failure of a check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The server can't do its work: it isn't ready.
    Required,
    /// The server does a part of its work, or does it worse: it stays ready.
    Degrades,
}

impl Severity {
    /// `required` or `degrades`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Degrades => "degrades",
        }
    }
}

/// What a check has found, with hysteresis: one failure doesn't fail it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// It has never passed.
    Pending,
    /// It passes, or hasn't failed for long enough.
    Passing,
    /// It has failed often enough and for long enough, and hasn't passed often enough since.
    Failed,
}

impl CheckState {
    /// `pending`, `passing` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Passing => "passing",
            Self::Failed => "failed",
        }
    }
}

/// How a server is, for a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overall {
    /// Every check passes.
    Healthy,
    /// It serves, but a check doesn't pass.
    Degraded,
    /// It doesn't serve.
    Unhealthy,
}

impl Overall {
    /// `healthy`, `degraded` or `unhealthy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A failure of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The sentence of the probe.
    pub sentence: String,
    /// When it ended.
    pub at: SystemTime,
}

/// One check at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// What its failure means.
    pub severity: Severity,
    /// What it has found.
    pub state: CheckState,
    /// Since when it has been in that state.
    pub since: SystemTime,
    /// When the last probe ended.
    pub checked: Option<SystemTime>,
    /// How long that probe took.
    pub took: Option<Duration>,
    /// How many of the last probes failed in a row.
    pub failures: u32,
    /// The last failure; it stays when the check passes again.
    pub last_problem: Option<Problem>,
    /// The last number of a [lag check](super::Check::lag).
    pub value: Option<f64>,
    /// What that number may be at most.
    pub limit: Option<f64>,
}

/// A registry at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// All of it in a word.
    pub overall: Overall,
    /// Whether the runtime's heartbeat is young.
    pub live: bool,
    /// Whether it has started.
    pub started: bool,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it stops.
    pub draining: bool,
    /// The conditions that aren't met yet, each with why, if [`Condition::waits`](super::Condition::waits) has said it.
    pub unmet: Vec<String>,
    /// The checks, by name.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// Why it isn't ready, in a sentence's second half; `None` when it is.
    pub fn why_not_ready(&self) -> Option<String> {
        if self.ready {
            return None;
        }
        if self.draining {
            return Some("is stopping".to_owned());
        }
        let checks = self
            .checks
            .iter()
            .filter(|check| check.severity == Severity::Required && check.state != CheckState::Passing);
        let names: Vec<_> = self.unmet.iter().chain(checks.map(|check| &check.name)).map(String::as_str).collect();
        Some(match (names.is_empty(), self.started) {
            (true, _) => "has not begun to serve".to_owned(),
            (false, false) => format!("starts: it waits for {}", names.join(", ")),
            (false, true) => format!("is not ready: {} failed", names.join(", ")),
        })
    }
}

/// A sentence, of no more bytes than are kept.
pub(super) fn cut(mut sentence: String) -> String {
    sentence.truncate(sentence.floor_char_boundary(SENTENCE));
    sentence
}
