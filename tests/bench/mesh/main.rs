//! `cargo xtask bench mesh`: our channel beside tonic's, beside layers and proxies, well and under faults.
//!
//! Servers, clients and proxies are processes of their own, so that the CPU of each can be told. Throughput is measured in
//! short rounds over all paths; what counts are ratios to tonic's `balance_list` of the same round.
//!
//! For a look at some paths alone, after `cargo xtask bench mesh --`: `--only PATH,PATH` and `--rounds N`. Its parts are
//! `calm` (throughput, and latency at a steady rate), `counts` (by callgrind), `messages` (streams, and large messages),
//! `limited` (few streams) and `faults`: `--no-PART` leaves one out, `--only-PART` runs it alone. `--profiles FOLDER` keeps
//! what callgrind has seen: `--only-counts --only meshwork,balance-list --profiles target/profiles`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]
#![allow(missing_docs, reason = "a program")]

mod callgrind;
mod client;
mod crowd;
mod faults;
mod limited;
mod load;
mod message;
mod messages;
mod paths;
mod processes;
mod proxies;
mod report;
mod run;
mod server;
mod shape;
mod throughput;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;

use crate::callgrind::Counts;
use crate::faults::Fault;
use crate::paths::YARDSTICK;
use crate::processes::Fleet;
use crate::report::Measured;
use crate::run::Way;
use crate::shape::Shape;

/// How many rounds there are unless it is said.
const ROUNDS: usize = 9;
/// The parts of a run.
const PARTS: [&str; 5] = ["calm", "counts", "messages", "limited", "faults"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["server", port] => block_on(server::run(port.parse().unwrap(), None)),
        ["server", port, streams] => block_on(server::run(port.parse().unwrap(), Some(streams.parse().unwrap()))),
        ["client", path, servers] => block_on(paths::run(path, &addresses(servers))),
        ["shaped", path, servers, shape] => block_on(paths::run_shaped(path, Shape::of(shape), &addresses(servers))),
        ["crowd", path, servers] => block_on(paths::run_crowd(path, &addresses(servers))),
        _ => measure(&words),
    }
}

fn addresses(servers: &str) -> Vec<SocketAddr> {
    servers.split(',').map(|server| server.parse().unwrap()).collect()
}

/// All processes have the same runtime.
fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work);
}

fn measure(words: &[&str]) {
    let has = |flag: &str| words.contains(&flag);
    let value = |flag: &str| words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
    let wanted = |path: &str| value("--only").is_none_or(|only| only.split(',').any(|name| name == path));
    // Whether a part is run: all are, but for those that a flag leaves out and those that are not the only one.
    let part = |name: &str| {
        let mut others = PARTS.into_iter().filter(|other| *other != name);
        !has(&format!("--no-{name}")) && !others.any(|other| has(&format!("--only-{other}")))
    };
    let rounds = value("--rounds").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut measured = Measured::default();
    if part("calm") || part("counts") || part("faults") {
        let mut fleet = Fleet::start(None);
        let ways = ways(wanted, &fleet);
        if part("calm") {
            calm(&ways, &fleet, rounds, &mut measured);
        }
        if part("counts") && callgrind::is_there() {
            measured.counts = counts(&ways, &fleet, value("--profiles").map(Path::new));
        }
        if part("faults") {
            measured.faults = faults(&ways, &mut fleet);
        }
    }
    if part("messages") {
        measured.messages = messages::run(wanted, rounds);
    }
    if part("limited") {
        measured.limited = limited::run(wanted, rounds);
    }
    let print = if value("--output") == Some("json") { report::json } else { report::text };
    print(&measured);
}

/// The paths that are wanted and can be taken.
fn ways(wanted: impl Fn(&str) -> bool, fleet: &Fleet) -> Vec<Way> {
    let mut ways = Vec::new();
    for path in paths::ALL.iter().filter(|path| wanted(path)) {
        match Way::open(path, fleet) {
            Ok(way) => ways.push(way),
            Err(error) => eprintln!("without {path}: {error}"),
        }
    }
    ways
}

fn faults(ways: &[Way], fleet: &mut Fleet) -> Vec<faults::Row> {
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        for way in ways.iter().filter(|way| paths::balances(&way.name)) {
            match faults::run(fault, way, fleet) {
                Some(row) => {
                    eprintln!("{}, {}: {} of {} failed", fault.name(), row.path, row.failed, row.calls);
                    rows.push(row);
                }
                None => eprintln!("{}, {}: the client ended without a result", fault.name(), way.name),
            }
        }
    }
    rows
}

fn calm(ways: &[Way], fleet: &Fleet, rounds: usize, measured: &mut Measured) {
    let summary = throughput::summary(&throughput::rounds(ways, fleet, rounds));
    // Without the yardstick, half of what the first path reaches.
    let reference = summary.get(YARDSTICK).or_else(|| summary.values().next());
    let rate = reference.map_or(1_000.0, |summary| summary.round.per_second / 2.0);
    measured.open = throughput::open(ways, fleet, rate);
    measured.summary = summary;
}

/// Counts what a call costs; the profiles are kept in `folder`, if there is one.
fn counts(ways: &[Way], fleet: &Fleet, folder: Option<&Path>) -> BTreeMap<String, Counts> {
    let passing = tempfile::tempdir().unwrap();
    let folder = folder.unwrap_or(passing.path());
    std::fs::create_dir_all(folder).unwrap();
    let own = ways.iter().filter(|way| paths::proxy(&way.name).is_none());
    own.filter_map(|way| Some((way.name.clone(), callgrind::count(way, fleet, folder)?))).collect()
}
