//! Where the gateway's time goes: samples of its CPU by `perf`, while callers keep it busy.
//!
//! The release build keeps its symbols. Samples are taken by a timer, which every machine has.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::Pace;
use crate::proxies::find;
use crate::ways::Way;

/// Samples a second of CPU; no divisor of what timers of programs have.
const SAMPLES: &str = "997";
/// How much longer than the look callers go on, in milliseconds: `perf` takes a while to start.
const MARGIN: u128 = 2_000;
/// What the standard library consists of.
const STANDARD: [&str; 3] = ["core", "alloc", "std"];

/// Shares of the gateway's CPU in percent, largest first.
#[derive(Debug)]
pub struct Profile {
    /// By crate, or by the part of the system.
    pub areas: Vec<(String, f64)>,
    /// By function.
    pub symbols: Vec<(String, f64)>,
}

/// Looks at the gateway on this way while its callers keep it busy.
///
/// # Errors
/// Why there is no profile.
pub fn take(way: &mut Way, pace: Pace) -> Result<Profile, String> {
    let perf = find("perf").ok_or("perf is not installed (on Debian: linux-perf)")?;
    let gateway = way.gateway().ok_or("there is no gateway on this way")?;
    gateway.clear_log();
    let (pid, folder) = (gateway.pid().to_string(), tempfile::tempdir().map_err(|error| error.to_string())?);
    let file = folder.path().join("perf.data");
    way.client.order(&format!("closed {} {}", pace.warm.as_millis(), pace.profile.as_millis() + MARGIN));
    way.client.line().ok_or("the callers ended")?;
    let mut record = Command::new(&perf);
    record.args(["record", "-q", "-e", "cpu-clock", "-F", SAMPLES, "-p", &pid, "-o"]).arg(&file);
    record.args(["--", "sleep", &pace.profile.as_secs().to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
    let recorded = record.status();
    // The callers end before anything is said of it.
    way.client.result().ok_or("the callers ended without a result")?;
    match recorded {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("`perf record` ended with {status}; see kernel.perf_event_paranoid")),
        Err(error) => return Err(format!("`perf record` can't be run: {error}")),
    }
    let mut report = Command::new(&perf);
    report.args(["report", "-q", "--stdio", "--no-children", "-F", "overhead,dso,symbol", "-t", ";", "-i"]).arg(&file);
    let output = report.stdin(Stdio::null()).stderr(Stdio::null()).output().map_err(|error| error.to_string())?;
    let profile = read(&String::from_utf8_lossy(&output.stdout));
    if profile.symbols.is_empty() { Err("`perf report` tells of no samples".to_owned()) } else { Ok(profile) }
}

/// Reads lines such as ` 2.62%  ;meshwork  ;[.] h2::hpack::huffman::decode`.
fn read(report: &str) -> Profile {
    let (mut areas, mut symbols) = (BTreeMap::new(), BTreeMap::new());
    for line in report.lines() {
        let mut columns = line.splitn(3, ';').map(str::trim);
        let (Some(share), Some(object), Some(symbol)) = (columns.next(), columns.next(), columns.next()) else {
            continue;
        };
        let Some(Ok(share)) = share.strip_suffix('%').map(str::parse::<f64>) else { continue };
        // Where the sample is: `[k]` in the kernel, `[.]` in the program.
        let (place, name) = symbol.split_once(' ').unwrap_or(("", symbol));
        let area = if place == "[k]" { "kernel".to_owned() } else { area(object, name) };
        *areas.entry(area).or_insert(0.0) += share;
        *symbols.entry(format!("{name} ({object})")).or_insert(0.0) += share;
    }
    Profile { areas: largest_first(areas), symbols: largest_first(symbols) }
}

fn largest_first(shares: BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_by(|one, other| other.1.total_cmp(&one.1));
    shares
}

/// The crate that a function belongs to; what belongs to the standard library is given to the first other crate that its types
/// name.
fn area(object: &str, name: &str) -> String {
    if object.starts_with("libc.") || object == "[vdso]" {
        return "libc".to_owned();
    }
    if name.trim_start_matches('_').starts_with("mi_") {
        return "mimalloc".to_owned();
    }
    let is_of_path = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let crates =
        name.split(|letter: char| !is_of_path(letter)).filter_map(|path| path.split_once("::")).map(|(root, _)| root);
    let mut crates = crates.filter(|root| root.starts_with(|first: char| first.is_ascii_lowercase())).peekable();
    if crates.peek().is_none() {
        return "others".to_owned();
    }
    crates.find(|root| !STANDARD.contains(root)).unwrap_or("std").to_owned()
}
