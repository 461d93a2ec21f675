//! What is printed: a table for people, an object a line for programs.

use std::collections::BTreeMap;

use serde_json::json;

use crate::callgrind::Counts;
use crate::faults::Row;
use crate::paths;
use crate::throughput::{Summary, Times};

/// What was measured without a fault.
pub struct Measured {
    pub summary: BTreeMap<String, Summary>,
    pub open: BTreeMap<String, Times>,
    pub counts: BTreeMap<String, Counts>,
}

/// An object a line.
pub fn json(measured: &Measured, rows: &[Row]) {
    let round = |value: f64| (value * 1e3).round() / 1e3;
    for path in paths::ALL {
        if let Some(summary) = measured.summary.get(*path) {
            let row = json!({
                "path": path, "throughput_ratio": round(summary.throughput_ratio),
                "client_cpu_ratio": round(summary.client_cpu_ratio),
                "p99_us": measured.open.get(*path).map(|times| times.p99_us),
            });
            println!("{row}");
        }
    }
    for row in rows {
        let (fault, path) = (row.fault.name(), &row.path);
        println!(
            "{}",
            json!({"fault": fault, "path": path, "calls": row.calls, "failed": row.failed, "p99_ms": row.p99_ms})
        );
    }
}

/// Tables.
pub fn text(measured: &Measured, rows: &[Row]) {
    if !measured.summary.is_empty() {
        costs(measured);
    }
    if !rows.is_empty() {
        println!();
        println!("{:<18} {:<18} {:>7} {:>7} {:>9} {:>9}", "fault", "path", "calls", "failed", "p99 ms", "p99.9 ms");
    }
    for row in rows {
        let Row { fault, path, calls, failed, p99_ms, p999_ms } = row;
        println!("{:<18} {path:<18} {calls:>7} {failed:>7} {p99_ms:>9.1} {p999_ms:>9.1}", fault.name());
    }
}

fn costs(measured: &Measured) {
    println!(
        "{:<18} {:>9} {:>9} {:>9} {:>9} {:>11} {:>11} {:>10} {:>8} {:>8} {:>12} {:>7}",
        "path",
        "calls/s",
        "client",
        "server",
        "proxy",
        "throughput",
        "client CPU",
        "total CPU",
        "p50",
        "p99",
        "instructions",
        "allocs"
    );
    println!(
        "{:<18} {:>9} {:>9} {:>9} {:>9} {:>11} {:>11} {:>10} {:>8} {:>8} {:>12} {:>7}",
        "", "", "µs/call", "µs/call", "µs/call", "ratio", "ratio", "ratio", "µs", "µs", "per call", "a call"
    );
    for path in paths::ALL {
        let Some(Summary { round, throughput_ratio, client_cpu_ratio, total_cpu_ratio }) = measured.summary.get(*path)
        else {
            continue;
        };
        let times = measured.open.get(*path);
        let time = |value: fn(&Times) -> u64| times.map_or_else(|| "-".to_owned(), |times| value(times).to_string());
        let counts = measured.counts.get(*path);
        let count =
            |value: fn(&Counts) -> f64| counts.map_or_else(|| "-".to_owned(), |counts| format!("{:.0}", value(counts)));
        println!(
            "{path:<18} {:>9.0} {:>9.1} {:>9.1} {:>9.1} {throughput_ratio:>11.2} {client_cpu_ratio:>11.2} \
             {total_cpu_ratio:>10.2} {:>8} {:>8} {:>12} {:>7}",
            round.per_second,
            round.client_us,
            round.server_us,
            round.proxy_us,
            time(|times| times.p50_us),
            time(|times| times.p99_us),
            count(|counts| counts.instructions),
            count(|counts| counts.allocations),
        );
        if round.failed > 0.0 {
            println!("{path:<18} {} calls failed", round.failed);
        }
        if let Some(times) = times.filter(|times| times.failed > 0) {
            println!("{path:<18} {} calls failed at {:.0} a second", times.failed, times.per_second);
        }
    }
}
