//! `cargo xtask bench events`: the relay beside a plain publisher of the same messages, and how long events are under
//! way.
//!
//! On JetStream as its server comes, on a server that waits for the disk before each acknowledgement, and on three
//! servers that keep three copies; how long they are under way on the embedded bus too. The events come from a log in
//! memory, so that the relay and the bus are measured, and no store.
//!
//! For a quick look, after `cargo xtask bench events --`: `--rounds N`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

mod jetstream;
mod lag;
mod log;
mod plain;
mod report;
mod running;
mod throughput;

use std::process::ExitCode;

use meshwork_events::SqliteBus;
use meshwork_testkit::Nats;

use crate::report::{Report, Row};
use crate::running::Running;

/// How often each publisher runs, by turns.
const ROUNDS: usize = 5;
/// The most rounds that can be asked for.
const MOST_ROUNDS: usize = 50;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| arguments.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1].as_str());
    let rounds = match value("--rounds") {
        None => ROUNDS,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|rounds| (1..=MOST_ROUNDS).contains(rounds))
            .ok_or_else(|| format!("`--rounds` is `{text}`; right is a number from 1 to {MOST_ROUNDS}"))?,
    };
    jetstream::check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
    let report = Report { rounds, rows: runtime.block_on(measure(rounds)) };
    if value("--output") == Some("json") {
        report.json();
    } else {
        report.text();
    }
    Ok(())
}

async fn measure(rounds: usize) -> Vec<Row> {
    let servers = [
        ("jetstream", Nats::builder(), 1),
        ("jetstream_sync_always", Nats::builder().sync_always(), 1),
        ("jetstream_three", Nats::builder().nodes(3), 3),
    ];
    let mut rows = Vec::new();
    for (name, server, replicas) in servers {
        eprintln!("{name}: {rounds} rounds");
        rows.push(jetstream::measure(name, server, replicas, rounds).await);
    }
    eprintln!("embedded");
    rows.push(embedded().await);
    rows
}

async fn embedded() -> Row {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(SqliteBus::open(folder.path()).await.unwrap());
    let lag = lag::measure(&running).await;
    running.stop().await;
    Row { bus: "embedded", throughput: None, lag }
}
