//! The whole check that a change must pass.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::Process;
use crate::setup::{self, Tools};
use crate::workspace::Workspace;

/// The longest that anything may take that only reads files.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// The longest that a build may take, from nothing, on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The longest that the tests may take, their build included.
const TEST_LIMIT: Duration = Duration::from_secs(3600);

/// What is checked is built with crash points and planted bugs, all of it, so that one build serves every step. Without them
/// it is compiled by `xtask bench` and `xtask soak`, and here by a long run.
pub const FEATURES: [&str; 2] = ["--features", "meshwork-cli/ablation,meshwork-cli/kubernetes"];

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

    let tools = report.step("setup", setup::run)?;
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
        if full {
            tests = tests.env("MESHWORK_TEST_FULL", "1");
        }
        tests.limit(TEST_LIMIT).run()
    })
}

/// A run of tests that finds the tools.
pub fn with_tools(tests: Process, tools: &Tools) -> Process {
    tests
        .env("MESHWORK_TEST_GRPCURL", &tools.grpcurl)
        .env("MESHWORK_TEST_H2SPEC", &tools.h2spec)
        .env("MESHWORK_TEST_FERRETDB", &tools.ferretdb)
        .env("MESHWORK_TEST_NATS", &tools.nats)
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
    passed: bool,
}

impl Report {
    /// Runs a step under a heading.
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed();
        eprintln!("== {name}: {} in {:.1} s", word(outcome.is_ok()), took.as_secs_f64());
        self.steps.push(Step { name, took, passed: outcome.is_ok() });
        outcome.with_context(|| format!("the step `{name}` failed"))
    }

    /// The steps as a table, with their sum.
    fn table(&self) -> String {
        let mut table = format!("{:<10} {:>8}\n", "step", "seconds");
        for Step { name, took, passed } in &self.steps {
            let mark = if *passed { "" } else { "  failed" };
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
        assert_eq!(report.steps.iter().map(|step| step.passed).collect::<Vec<_>>(), [true, false]);
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
        let step = |name, millis, passed| Step { name, took: Duration::from_millis(millis), passed };
        let report = Report { steps: vec![step("build", 61_500, true), step("tests", 1_000, false)] };
        let expected = "\
step        seconds
build          61.5
tests           1.0  failed
total          62.5";
        assert_eq!(report.table(), expected);
    }
}
