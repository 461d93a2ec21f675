//! A cluster, driven as people drive it: by `kubectl` and `helm`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a condition may take to come about.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one command may take, by itself.
const COMMAND: &str = "400";

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    kubectl: PathBuf,
    helm: PathBuf,
    kubeconfig: PathBuf,
    /// Where the state of the project's own node is; `None` for a cluster that was there before.
    pub node: Option<PathBuf>,
    /// The image under test, as `REPOSITORY:TAG`.
    pub image: String,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn required(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set; run `cargo xtask cluster test`, which sets it"))
}

impl Cluster {
    /// The one that `cargo xtask cluster test` names.
    pub fn from_environment() -> Self {
        Self {
            kubectl: required("MESHWORK_TEST_KUBECTL").into(),
            helm: required("MESHWORK_TEST_HELM").into(),
            kubeconfig: required("MESHWORK_TEST_KUBECONFIG").into(),
            node: variable("MESHWORK_TEST_CLUSTER_STATE").map(PathBuf::from),
            image: variable("MESHWORK_TEST_IMAGE").unwrap_or_else(|| format!("meshwork:{}", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// The root of the project, where the chart is.
    pub fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// A shell that finds `kubectl`, `helm` and `grpcurl` and talks to the cluster.
    pub fn shell(&self, script: &str) -> Command {
        let grpcurl = PathBuf::from(required("MESHWORK_TEST_GRPCURL"));
        let folders = [&self.kubectl, &self.helm, &grpcurl].map(|program| program.parent().unwrap().to_owned());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut command = Command::new("timeout");
        command.args([COMMAND, "bash", "-euc", script]).current_dir(Self::root());
        command.env("PATH", path).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// Runs `kubectl`, which must succeed; what it prints.
    pub fn kubectl(&self, args: &[&str]) -> String {
        succeed(&self.kubectl, args, &self.kubeconfig)
    }

    /// As [`Cluster::kubectl`], as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[args, &["--output=json"]].concat())).unwrap()
    }

    /// The items of a list.
    pub fn items(&self, args: &[&str]) -> Vec<Value> {
        self.json(args)["items"].as_array().cloned().unwrap_or_default()
    }

    /// Runs `helm`, which must succeed; what it prints.
    pub fn helm(&self, args: &[&str]) -> String {
        succeed(&self.helm, args, &self.kubeconfig)
    }
}

/// Runs a program of the cluster, which must succeed.
fn succeed(program: &Path, args: &[&str], kubeconfig: &Path) -> String {
    let mut command = Command::new("timeout");
    command.arg(COMMAND).arg(program).args(args).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    text(&command.output().unwrap(), &format!("{} {}", program.display(), args.join(" ")))
}

/// What a command has printed, which must have succeeded.
pub fn text(output: &Output, what: &str) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{what}` failed ({}):\n{printed}\n{problems}", output.status);
    printed
}

/// Waits for a condition; how long it took.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "{what} never came, in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}
