//! `meshwork`: the whole back end, or one service of it, and the tools around it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

#[cfg(feature = "ablation")]
mod ablation;
mod admin;
mod audit;
mod cache;
mod cli;
mod config;
mod deadletters;
mod demo;
mod event;
mod events;
mod failure;
mod health;
mod history;
mod load;
mod lock;
mod logs;
mod metrics;
mod migrate;
#[cfg(test)]
mod open_auth;
mod projections;
mod run;
mod serve;
mod shards;
mod state;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "ablation")]
    match ablation::arm() {
        Ok(true) => {}
        Ok(false) => return ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "meshwork", &mut std::io::stdout());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(format!("can't start the runtime: {error}"), "look at the limits of this process")
    })?;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Up(args) => up::run(args).await,
            Command::Serve { service, settings } => serve::run(&settings, service).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Load(args) => load::run(args).await,
            Command::Projections(args) => projections::run(args).await,
            Command::DeadLetters(args) => deadletters::run(args).await,
            Command::Cache(args) => cache::run(args).await,
            Command::Events(args) => events::run(args).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Shards(args) => shards::run(args).await,
            Command::Config(settings) => config::print(&settings),
            Command::Migrate(args) => migrate::run(&args).await,
            Command::Healthcheck { address, service, timeout } => health::command(&address, &service, timeout).await,
            Command::Completions { .. } => Ok(()),
        }
    });
    // Whatever still runs has had its time; a blocking task must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
