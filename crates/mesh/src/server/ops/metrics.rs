//! `/metrics`: the exposition format of Prometheus, text 0.0.4.

use std::fmt::{self, Display, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Ops;
use crate::server::budget::{Budgets, Resource};
use crate::server::health::{CheckReport, CheckState, Report};

/// Something that has metrics. It is asked at each scrape, on the runtime: it must be quick and must not block.
pub trait MetricsSource: Send + Sync + 'static {
    /// Appends whole lines, `# HELP` and `# TYPE` included, of metrics that no other source has.
    fn render(&self, out: &mut String);
}

impl<F: Fn(&mut String) + Send + Sync + 'static> MetricsSource for F {
    fn render(&self, out: &mut String) {
        self(out);
    }
}

/// The value of a label, with what has a meaning in it escaped.
///
/// ```
/// use meshwork::server::ops::Label;
/// assert_eq!(format!("up{{name=\"{}\"}} 1", Label("a\"b")), r#"up{name="a\"b"} 1"#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Label<'a>(pub &'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            char => f.write_char(char),
        })
    }
}

type OfReport = (&'static str, &'static str, fn(&Report) -> bool);
type OfCheck = (&'static str, &'static str, fn(&CheckReport) -> Option<f64>);
type OfBudgets = (&'static str, &'static str, &'static str, fn(&Budgets, Resource) -> u64);

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

const OF_REPORT: [OfReport; 4] = [
    ("meshwork_health_live", "Whether the runtime's heartbeat is young.", |report| report.live),
    ("meshwork_health_started", "Whether it has started.", |report| report.started),
    ("meshwork_health_ready", "Whether it serves.", |report| report.ready),
    ("meshwork_health_draining", "Whether it stops.", |report| report.draining),
];

const OF_CHECK: [OfCheck; 4] = [
    ("meshwork_health_check_passing", "Whether a check passes, with hysteresis.", |check| {
        Some(f64::from(u8::from(check.state == CheckState::Passing)))
    }),
    ("meshwork_health_check_duration_seconds", "How long the last probe of a check took.", |check| {
        check.took.map(|took| took.as_secs_f64())
    }),
    ("meshwork_health_check_value", "The last number of a lag check.", |check| check.value),
    ("meshwork_health_check_limit", "What the number of a lag check may be at most.", |check| check.limit),
];

const OF_BUDGETS: [OfBudgets; 2] = [
    ("meshwork_budget_in_use", GAUGE, "How much of a resource callers have.", |budgets, resource| {
        u64::try_from(budgets.in_use(resource)).unwrap_or(u64::MAX)
    }),
    ("meshwork_budget_refused_total", COUNTER, "How often a caller was refused more of a resource.", Budgets::refused),
];

impl Ops {
    /// All metrics. A source that panics is left out.
    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        let reports: Vec<_> = self.health.iter().map(|(name, health)| (name.as_str(), health.report())).collect();
        for (name, help, value) in OF_REPORT {
            let lines = reports.iter().map(|(server, report)| {
                format!("{name}{{server=\"{}\"}} {}\n", Label(server), u8::from(value(report)))
            });
            family(&mut out, name, GAUGE, help, lines);
        }
        for (name, help, value) in OF_CHECK {
            let checks =
                reports.iter().flat_map(|(server, report)| report.checks.iter().map(move |check| (server, check)));
            let lines = checks.filter_map(|(server, check)| {
                let (server, label, severity) = (Label(server), Label(&check.name), check.severity.as_str());
                let value = value(check)?;
                Some(format!("{name}{{server=\"{server}\",check=\"{label}\",severity=\"{severity}\"}} {value}\n"))
            });
            family(&mut out, name, GAUGE, help, lines);
        }
        for (name, kind, help, value) in OF_BUDGETS {
            let lines = self.budgets.iter().flat_map(|(server, budgets)| {
                Resource::ALL.map(|resource| {
                    let (server, value) = (Label(server), value(budgets, resource));
                    format!("{name}{{server=\"{server}\",resource=\"{resource}\"}} {value}\n")
                })
            });
            family(&mut out, name, kind, help, lines);
        }
        for source in &self.sources {
            // Each has a string of its own: what it does to it, it does to no other.
            let mut lines = String::new();
            if catch_unwind(AssertUnwindSafe(|| source.render(&mut lines))).is_err() {
                tracing::error!("a source of metrics panicked; it is left out of this scrape");
                continue;
            }
            out.push_str(&lines);
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
        }
        out
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        out.extend(lines);
    }
}
