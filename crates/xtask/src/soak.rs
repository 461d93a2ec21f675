//! Runs the shop on real servers for a long time, under load and faults, and judges it.

use std::time::Duration;

use anyhow::Result;

use crate::process::Process;
use crate::setup;
use crate::tested::{FEATURES, with_tools};
use crate::workspace::Workspace;

/// The longest that the builds may take, from nothing, on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// The longest that all may take beside the load: builds, starts, what is left to settle, and reports.
const BESIDE: Duration = Duration::from_secs(2 * 3600);

/// The test that does it.
const SOAK: &str = "ordeal::soak";

/// Builds a release, without crash points or planted bugs, and has it bear load and faults for so many minutes.
///
/// # Errors
/// When the build fails, or the audit finds a violation.
pub fn run(minutes: u32) -> Result<()> {
    let workspace = Workspace::find()?;
    let tools = setup::run()?;
    let cargo = |args: &[&str]| Process::new("cargo").args(args.iter().copied()).folder(&workspace.root);
    cargo(&["build", "--release", "--locked", "--bin", "meshwork"]).limit(BUILD_LIMIT).run()?;
    let test = cargo(&["test", "--workspace", "--locked", "--test", "ordeal"]).args(FEATURES);
    with_tools(test, &tools)
        .args(["--", "--exact", SOAK, "--ignored", "--nocapture"])
        .env("MESHWORK_TEST_BIN", workspace.binary("release", "meshwork")?)
        .env("MESHWORK_SOAK_MINUTES", minutes.to_string())
        .limit(Duration::from_secs(60 * u64::from(minutes)) + BESIDE)
        .run()
}
