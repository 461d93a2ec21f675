//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! Progress and the commands that are run go to standard error; results go to standard output.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks to its terminal")]

mod bench;
mod cluster;
mod image;
mod packages;
mod peers;
mod process;
mod schemas;
mod setup;
mod soak;
mod test;
mod tested;
mod tool;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::bench::Output;
use crate::cluster::kit::ChartTools;
use crate::image::Build;
use crate::process::Process;
use crate::workspace::Workspace;

/// The project's own commands.
///
/// `cargo xtask test` is the whole check that a change must pass; it installs the tools that it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the tools that the tests need and that are missing.
    ///
    /// They go to $MESHWORK_TEST_TOOLS, else to meshwork/tools in the cache folder of the user ($XDG_CACHE_HOME, else
    /// ~/.cache), so that all checkouts share them. Takes no time when all is there. Prints where each tool is.
    Setup,

    /// Format all Rust code.
    Fmt,

    /// Check everything: format, contracts, lints, build, tests.
    ///
    /// Runs `setup` first, stops at the first step that fails, and ends with the seconds that each step took.
    Test {
        /// Run the long tests too: the tests see MESHWORK_TEST_FULL=1.
        #[arg(long)]
        full: bool,
    },

    /// Run one benchmark of tests/bench/ on the release build.
    Bench {
        /// The benchmark: the name of its folder, or of its file without `.rs`.
        name: String,

        /// How the result is printed; with `json`, standard output holds the JSON alone.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,

        /// What the benchmark itself is told, after `--`.
        #[arg(last = true)]
        args: Vec<String>,
    },

    /// Run the shop on private servers under load and faults, and judge it: orders, faults, times, violations.
    ///
    /// It runs the release build. The seed of the faults is printed, and taken from MESHWORK_SOAK_SEED when that is set.
    Soak {
        /// For how long orders are placed and processes fail.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_080))]
        minutes: u32,
    },

    /// Build the container image: one static binary on nothing. Prints where it is, its id and its size.
    ///
    /// It is written to target/image/meshwork.tar, which `docker load`, `podman load` and `ctr images import` take. The
    /// same commit gives the same bytes.
    Image {
        /// Take the binary of `cargo build` and this machine's libraries: quick, for tests; to meshwork-debug.tar.
        #[arg(long)]
        debug: bool,

        /// Put the image's files into this folder and pack nothing, as the Dockerfile does.
        #[arg(long, value_name = "FOLDER", conflicts_with = "debug")]
        rootfs: Option<PathBuf>,
    },

    /// Run a real Kubernetes node on this machine, and the tests that need one.
    Cluster {
        #[command(subcommand)]
        command: cluster::Command,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup => provide(),
        Command::Fmt => fmt(),
        Command::Test { full } => test::run(full),
        Command::Bench { name, output, args } => bench::run(&name, output, &args),
        Command::Soak { minutes } => soak::run(minutes),
        Command::Image { rootfs: Some(folder), .. } => image::unpack(&folder),
        Command::Cluster { command } => cluster::run(command),
        Command::Image { debug, .. } => image::run(if debug { Build::Debug } else { Build::Release }).map(drop),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Provides what the tests need; a cluster's own parts come with the first cluster.
fn provide() -> anyhow::Result<()> {
    let (tools, chart) = (setup::run()?, ChartTools::provide()?);
    for (name, path) in
        [("grpcurl", tools.grpcurl), ("buf", tools.buf), ("helm", chart.helm), ("kubectl", chart.kubectl)]
    {
        println!("{name} {}", path.display());
    }
    Ok(())
}

fn fmt() -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    Process::new("cargo").args(["fmt", "--all"]).folder(&workspace.root).limit(Duration::from_secs(120)).run()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
