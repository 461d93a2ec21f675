//! Runs the tests of a cluster.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::kit::Kit;
use super::node::Node;
use crate::image::{self, Build};
use crate::process::Process;
use crate::setup;
use crate::tested::{FEATURES, with_tools};
use crate::workspace::Workspace;

/// The longest that building what is tested may take.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The longest that the tests may take, their build included.
const TEST_LIMIT: Duration = Duration::from_secs(3600);

/// Which tests are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those whose names begin with `smoke`.
    Smoke,
    /// All.
    All,
}

/// A cluster that is already there.
pub struct Given {
    /// The context in the user's kubeconfig.
    pub context: String,
    /// What it pulls as `meshwork`.
    pub image: String,
}

/// What the tests are told of the cluster.
struct Target<'a> {
    kubeconfig: &'a Path,
    image: &'a str,
    /// The state folder, when the node is ours: some tests look at its processes and its disk.
    state: Option<&'a Path>,
}

/// Why this machine can run no cluster of its own, if so.
///
/// # Errors
/// When the checkout isn't found.
pub fn obstacle(workspace: &Workspace) -> Result<Option<String>> {
    Ok(Node::of(workspace)?.check().err().map(|error| format!("{error:#}")))
}

/// Runs them on a node of our own: it is started if none is up, and ended afterwards if it was started for this.
///
/// # Errors
/// When something isn't built, the node doesn't start, or a test fails. The message says where the logs are.
pub fn on_own(workspace: &Workspace, scope: Scope, build: Build) -> Result<()> {
    let node = Node::of(workspace)?;
    node.check()?;
    let kit = Kit::provide()?;
    build_binary(workspace)?;
    let archive = image::run(build)?;
    let was_started = node.up(&kit, Some(&archive))?;
    let kubeconfig = node.kubeconfig();
    let target = Target {
        kubeconfig: &kubeconfig,
        // As the chart names it, and people.
        image: image::REFERENCE.trim_start_matches("docker.io/library/"),
        state: Some(node.state()),
    };
    let outcome = run(workspace, scope, &kit, &target);
    let logs = workspace.target.join("cluster-logs");
    if outcome.is_err() {
        describe(&kit, &target, &logs);
    }
    if was_started {
        node.down(outcome.is_err().then_some(&*logs.join("node")))?;
    }
    outcome.with_context(|| format!("the logs of the node and the state of the pods are in {}", logs.display()))
}

/// Runs them on a cluster that is already there.
///
/// # Errors
/// When something isn't built, the cluster can't be reached, or a test fails.
pub fn on_given(workspace: &Workspace, scope: Scope, given: &Given) -> Result<()> {
    let kit = Kit::provide()?;
    // With that context alone, and as its current one: so no test can touch another cluster.
    let text = Process::new(&kit.kubectl)
        .args(["config", "view", "--minify", "--flatten", "--context", &given.context])
        .output()
        .with_context(|| format!("the context `{}` isn't in your kubeconfig", given.context))?;
    let kubeconfig = workspace.target.join("cluster-kubeconfig");
    write_private(&kubeconfig, &text).with_context(|| format!("cannot write {}", kubeconfig.display()))?;
    let target = Target { kubeconfig: &kubeconfig, image: &given.image, state: None };
    let outcome = run_on_given(workspace, scope, &kit, given, &target);
    // It holds credentials.
    fs::remove_file(&kubeconfig).with_context(|| format!("cannot remove {}", kubeconfig.display()))?;
    outcome
}

fn run_on_given(workspace: &Workspace, scope: Scope, kit: &Kit, given: &Given, target: &Target<'_>) -> Result<()> {
    kubectl(kit, target, &["get", "--raw", "/readyz"])
        .output()
        .with_context(|| format!("the cluster of the context `{}` doesn't answer", given.context))?;
    build_binary(workspace)?;
    run(workspace, scope, kit, target)
}

/// Writes a file that nobody else may read.
#[cfg(unix)]
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)
}

/// Builds the client of the tests, which puts the load on the cluster from this machine.
fn build_binary(workspace: &Workspace) -> Result<()> {
    let build = Process::new("cargo").args(["build", "--workspace", "--locked"]).args(FEATURES);
    build.folder(&workspace.root).limit(BUILD_LIMIT).run()
}

fn run(workspace: &Workspace, scope: Scope, kit: &Kit, target: &Target<'_>) -> Result<()> {
    let tools = setup::run()?;
    let tests = Process::new("cargo").args(["test", "--workspace", "--locked", "--test", "cluster"]).args(FEATURES);
    let tests = tests.folder(&workspace.root);
    let tests = with_tools(tests, &tools)
        .args(["--", "--ignored", "--test-threads=1", "--nocapture"])
        .env("MESHWORK_TEST_BIN", workspace.binary("debug", "meshwork")?)
        .env("MESHWORK_TEST_HELM", &kit.helm)
        .env("MESHWORK_TEST_KUBECTL", &kit.kubectl)
        .env("MESHWORK_TEST_KUBECONFIG", target.kubeconfig)
        // Where a channel looks whose target is `k8s:///…`.
        .env("KUBECONFIG", target.kubeconfig)
        .env("MESHWORK_TEST_IMAGE", target.image)
        // A proxy for the world doesn't know the addresses of a node.
        .env("NO_PROXY", "*")
        .env("no_proxy", "*");
    let tests = match scope {
        Scope::Smoke => tests.arg("smoke"),
        // What is in them is in the others, too.
        Scope::All => tests.args(["--skip", "smoke"]),
    };
    let tests = target.state.into_iter().fold(tests, |tests, state| tests.env("MESHWORK_TEST_CLUSTER_STATE", state));
    tests.limit(TEST_LIMIT).run()
}

/// Writes down how the cluster looks, for somebody who asks why a test failed.
fn describe(kit: &Kit, target: &Target<'_>, folder: &Path) {
    let questions: [(&str, &[&str]); 3] = [
        ("pods", &["get", "pods", "--all-namespaces", "--output=wide"]),
        ("described", &["describe", "pods", "--all-namespaces"]),
        ("events", &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]),
    ];
    for (name, question) in questions {
        let path = folder.join(format!("{name}.txt"));
        let answer = kubectl(kit, target, question).output();
        let written = fs::create_dir_all(folder)
            .map_err(anyhow::Error::from)
            .and(answer)
            .and_then(|text| Ok(fs::write(&path, text)?));
        if let Err(error) = written {
            eprintln!("cannot write {}: {error:#}", path.display());
        }
    }
}

fn kubectl(kit: &Kit, target: &Target<'_>, args: &[&str]) -> Process {
    Process::new(&kit.kubectl)
        .arg("--kubeconfig")
        .arg(target.kubeconfig)
        .arg("--request-timeout=10s")
        .args(args.iter().copied())
        .limit(Duration::from_secs(30))
}
