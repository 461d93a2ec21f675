//! Runs a benchmark on the release build.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::process::Process;
use crate::workspace::Workspace;
use crate::{peers, setup};

/// The longest that the release build may take, from nothing, on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// The longest that a benchmark may take, the build of its own code included.
const BENCH_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// How a benchmark prints its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: standard output holds one JSON document and nothing else.
    Json,
}

/// The benchmark of the mesh channel: it needs other proxies, and no services.
const MESH: &str = "mesh";

/// The benchmark of the gateway: it needs the same proxies, and the gateway.
const GATEWAY: &str = "gateway";

/// The benchmark of the mesh server: it needs no services either.
const SERVER: &str = "server";

/// The benchmark of the event store: it needs servers for it.
const ORDERS: &str = "orders";

/// The benchmark of orders from created to confirmed: it needs servers too.
const SAGA: &str = "saga";

/// The benchmark of the relay and the event bus: it needs a NATS server, and no services.
const EVENTS: &str = "events";

/// Builds what the benchmark `name` needs and runs it; `args` are for the benchmark itself.
///
/// # Errors
/// When there is no such benchmark; the message lists those that there are. When the build or the benchmark fails.
pub fn run(name: &str, output: Output, args: &[String]) -> Result<()> {
    let workspace = Workspace::find()?;
    check(name, &benchmarks(&workspace.root.join("tests/bench"))?)?;

    let cargo = |args: &[&str]| Process::new("cargo").args(args.iter().copied()).folder(&workspace.root);
    let mut bench = if runs_services(name) {
        cargo(&["build", "--release", "--locked", "--bin", "meshwork"]).limit(BUILD_LIMIT).run()?;
        // All packages are selected here as above, so that the same build of the dependencies serves both.
        cargo(&["bench", "--locked", "--workspace", "--bench", name, "--"])
            .env("MESHWORK_TEST_BIN", workspace.binary("release", "meshwork")?)
    } else {
        cargo(&["bench", "--locked", "--package", "meshwork-api", "--bench", name, "--"])
    };
    if has_peers(name) {
        let peers = setup::folder("peers")?;
        peers::provide(&peers);
        bench = bench.env("MESHWORK_BENCH_PEERS", peers);
    }
    if name == ORDERS {
        bench = bench.env("MESHWORK_TEST_FERRETDB", setup::run()?.ferretdb);
    }
    if name == EVENTS {
        bench = bench.env("MESHWORK_TEST_NATS", setup::run()?.nats);
    }
    if name == SAGA {
        let tools = setup::run()?;
        bench = bench.env("MESHWORK_TEST_FERRETDB", tools.ferretdb).env("MESHWORK_TEST_NATS", tools.nats);
    }
    if output == Output::Json {
        bench = bench.args(["--output", "json"]);
    }
    bench.args(args).limit(BENCH_LIMIT).run()
}

/// Whether the benchmark `name` runs services, so that it needs the binary.
fn runs_services(name: &str) -> bool {
    ![MESH, SERVER, EVENTS].contains(&name)
}

/// Whether the benchmark `name` compares with other proxies.
fn has_peers(name: &str) -> bool {
    [MESH, GATEWAY].contains(&name)
}

/// The names of the benchmarks in `folder`, files and folders with a `main.rs`, in order; none when there is no such folder.
fn benchmarks(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn check(name: &str, names: &[String]) -> Result<()> {
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    if names.is_empty() {
        bail!("there is no benchmark `{name}`, nor any other yet; add one as tests/bench/{name}.rs");
    }
    bail!("there is no benchmark `{name}`; take one of: {}", names.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_answered_with_those_that_exist() {
        let names = ["mesh".to_owned(), "orders".to_owned()];
        check("mesh", &names).unwrap();
        let error = check("mess", &names).unwrap_err().to_string();
        assert_eq!(error, "there is no benchmark `mess`; take one of: mesh, orders");
        let error = check("mess", &[]).unwrap_err().to_string();
        assert_eq!(error, "there is no benchmark `mess`, nor any other yet; add one as tests/bench/mess.rs");
    }

    #[test]
    fn the_gateway_is_the_binary_that_is_built_beside_other_proxies() {
        assert!(runs_services("gateway") && has_peers("gateway"));
        assert!(!runs_services("mesh") && has_peers("mesh"));
        assert!(runs_services("orders") && !has_peers("orders"));
    }

    #[test]
    fn what_is_named_here_is_there() {
        let names = benchmarks(Path::new("../../tests/bench")).unwrap();
        for name in [MESH, GATEWAY, SERVER, ORDERS, SAGA, EVENTS] {
            check(name, &names).unwrap();
        }
    }

    #[test]
    fn benchmarks_are_the_rust_files_of_the_folder() {
        // Tests run in the folder of their package; its sources stand in for benchmarks.
        let names = benchmarks(Path::new("src")).unwrap();
        assert_eq!(
            names,
            [
                "bench",
                "main",
                "packages",
                "peers",
                "process",
                "schemas",
                "setup",
                "soak",
                "test",
                "tested",
                "tool",
                "workspace"
            ]
        );
        // So does its own folder, as the one with a `main.rs`.
        assert!(benchmarks(Path::new(".")).unwrap().contains(&"src".to_owned()));
        assert!(benchmarks(Path::new("/no/such/folder")).unwrap().is_empty());
    }
}
