//! The whole check that a change must pass.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cluster::check::{self, Scope};
use crate::cluster::kit::ChartTools;
use crate::image::Build;
use crate::process::Process;
use crate::setup;
use crate::tested::{FEATURES, with_tools};
use crate::workspace::Workspace;

/// The longest that anything may take that only reads files.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// The longest that a build may take, from nothing, on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The longest that the tests may take, their build included.
const TEST_LIMIT: Duration = Duration::from_secs(3600);

/// The contracts of events.
const EVENTS: &str = "proto/meshwork/events";

/// The contracts of events as they were proposed last, compiled: what is stored and under way was written by them.
const EVENTS_IMAGE: &str = "proto/events.binpb";

/// Runs all steps, stops at the first that fails, and prints the seconds of each.
///
/// Every cargo step selects the whole workspace: another selection would unify features differently and compile the
/// dependencies again.
///
/// # Errors
/// When a step fails; the message names it.
pub fn run(full: bool) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut report = Report::default();
    let outcome = steps(&workspace, full, &mut report);
    println!("\n{}", report.table());
    outcome
}

fn steps(workspace: &Workspace, full: bool, report: &mut Report) -> Result<()> {
    let cargo = |args: &[&str]| Process::new("cargo").args(args.iter().copied()).folder(&workspace.root);

    let (tools, chart_tools) = report.step("setup", || Ok((setup::run()?, ChartTools::provide()?)))?;
    eprintln!("event stores are tested on SQLite and on {}", tools.mongodb());
    report.step("format", || cargo(&["fmt", "--all", "--check"]).limit(READ_LIMIT).run())?;
    report.step("contracts", || contracts(workspace, &tools.buf))?;
    report.step("lints", || {
        let clippy = cargo(&["clippy", "--workspace", "--all-targets", "--locked"]).args(FEATURES);
        clippy.args(["--", "-D", "warnings"]).limit(BUILD_LIMIT).run()
    })?;
    if full {
        // What is released has none of the features; this compiles all of our crates once more.
        report.step("release", || {
            let clippy = cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
            clippy.args(["--", "-D", "warnings"]).limit(BUILD_LIMIT).run()
        })?;
    }
    let binary = report.step("build", || {
        cargo(&["build", "--workspace", "--locked"]).args(FEATURES).limit(BUILD_LIMIT).run()?;
        workspace.binary("debug", "meshwork")
    })?;
    report.step("tests", || {
        let mut tests = with_tools(cargo(&["test", "--workspace", "--locked"]).args(FEATURES), &tools)
            .env("MESHWORK_TEST_BIN", binary);
        tests = chart_tools.given_to(tests);
        if full {
            tests = tests.env("MESHWORK_TEST_FULL", "1");
        }
        tests.limit(TEST_LIMIT).run()
    })?;
    match check::obstacle(workspace)? {
        Some(obstacle) => {
            report.leave_out("cluster", &obstacle);
            Ok(())
        }
        None if full => report.step("cluster", || check::on_own(workspace, Scope::All, Build::Release)),
        None => report.step("cluster", || check::on_own(workspace, Scope::Smoke, Build::Debug)),
    }
}

/// Lints the contracts, and holds those of events against what they were.
fn contracts(workspace: &Workspace, buf: &Path) -> Result<()> {
    let buf = |args: &[&str]| Process::new(buf).args(args.iter().copied()).folder(&workspace.root).limit(READ_LIMIT);
    buf(&["lint"]).run()?;
    buf(&["breaking", "--against", EVENTS_IMAGE]).run()?;
    let built = workspace.target.join("events.binpb");
    buf(&["build", "--exclude-source-info", "--path", EVENTS, "--output"]).arg(&built).run()?;
    renew(&workspace.root.join(EVENTS_IMAGE), &built)
}

/// Takes what the contracts of events have gained into their image, so that it is held to from now on.
///
/// # Errors
/// When they have gained something: the image belongs to the change.
fn renew(image: &Path, built: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let bytes = read(built)?;
    if read(image)? == bytes {
        return Ok(());
    }
    fs::write(image, bytes).with_context(|| format!("cannot write {}", image.display()))?;
    bail!("the contracts of events have grown, and {EVENTS_IMAGE} has been renewed: commit it with them");
}

/// The steps so far and how long each took.
#[derive(Default)]
struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// It wasn't run, because this machine can't.
    LeftOut,
}

impl Outcome {
    /// What stands beside the step in the table.
    fn mark(self) -> &'static str {
        match self {
            Self::Passed => "",
            Self::Failed => "  failed",
            Self::LeftOut => "  left out",
        }
    }
}

impl Report {
    /// Runs a step under a heading.
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed();
        eprintln!("== {name}: {} in {:.1} s", word(outcome.is_ok()), took.as_secs_f64());
        let ended = if outcome.is_ok() { Outcome::Passed } else { Outcome::Failed };
        self.steps.push(Step { name, took, outcome: ended });
        outcome.with_context(|| format!("the step `{name}` failed"))
    }

    /// Notes that a step wasn't run, where nobody overlooks it.
    fn leave_out(&mut self, name: &'static str, obstacle: &str) {
        eprintln!("\n== {name}: LEFT OUT, so nothing is known of it\n{obstacle}");
        self.steps.push(Step { name, took: Duration::ZERO, outcome: Outcome::LeftOut });
    }

    /// The steps as a table, with their sum.
    fn table(&self) -> String {
        let mut table = format!("{:<10} {:>8}\n", "step", "seconds");
        for Step { name, took, outcome } in &self.steps {
            let mark = outcome.mark();
            // Writing to a string can't fail.
            let _ = writeln!(table, "{name:<10} {:>8.1}{mark}", took.as_secs_f64());
        }
        let total: Duration = self.steps.iter().map(|step| step.took).sum();
        let _ = write!(table, "{:<10} {:>8.1}", "total", total.as_secs_f64());
        table
    }
}

fn word(passed: bool) -> &'static str {
    if passed { "passed" } else { "failed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_with_its_cause() {
        let mut report = Report::default();
        assert_eq!(report.step("build", || Ok(7)).unwrap(), 7);
        let error = report.step("tests", || -> Result<()> { anyhow::bail!("one is red") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "the step `tests` failed: one is red");
        report.leave_out("cluster", "no root");
        let outcomes: Vec<_> = report.steps.iter().map(|step| step.outcome).collect();
        assert_eq!(outcomes, [Outcome::Passed, Outcome::Failed, Outcome::LeftOut]);
    }

    #[test]
    fn an_image_that_has_grown_is_renewed_once() {
        let folder = std::env::temp_dir().join(format!("meshwork-contracts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (image, built) = (folder.join("image"), folder.join("built"));
        fs::write(&image, "old").unwrap();
        fs::write(&built, "new").unwrap();
        let error = renew(&image, &built).unwrap_err().to_string();
        assert!(error.contains("commit it"), "{error}");
        assert_eq!(fs::read_to_string(&image).unwrap(), "new");
        renew(&image, &built).unwrap();
        fs::remove_file(&image).unwrap();
        let error = renew(&image, &built).unwrap_err().to_string();
        assert!(error.starts_with("cannot read"), "an image that is gone isn't made up: {error}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_table_holds_every_step_and_the_sum() {
        let step = |name, millis, outcome| Step { name, took: Duration::from_millis(millis), outcome };
        let report = Report {
            steps: vec![
                step("build", 61_500, Outcome::Passed),
                step("tests", 1_000, Outcome::Failed),
                step("cluster", 0, Outcome::LeftOut),
            ],
        };
        let expected = "\
step        seconds
build          61.5
tests           1.0  failed
cluster         0.0  left out
total          62.5";
        assert_eq!(report.table(), expected);
    }
}
