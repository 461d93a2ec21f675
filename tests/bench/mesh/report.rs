//! What is printed: a table for people, an object a line for programs.

use std::collections::BTreeMap;

use serde_json::json;

use crate::callgrind::Counts;
use crate::faults::Row;
use crate::limited::{self, CALLERS, STREAMS, THROUGHPUT_GOAL};
use crate::messages;
use crate::paths;
use crate::processes::SERVERS;
use crate::throughput::{GOALS, Summary, Times};

/// What was measured, part by part; a part that was left out is empty.
#[derive(Default)]
pub struct Measured {
    pub summary: BTreeMap<String, Summary>,
    pub open: BTreeMap<String, Times>,
    pub counts: BTreeMap<String, Counts>,
    pub messages: Vec<messages::Row>,
    pub limited: Vec<limited::Row>,
    pub faults: Vec<Row>,
}

/// An object a line.
pub fn json(measured: &Measured) {
    for path in paths::ALL {
        if let Some(summary) = measured.summary.get(*path) {
            let row = json!({
                "path": path, "throughput_ratio": round(summary.throughput_ratio),
                "client_cpu_ratio": round(summary.client_cpu_ratio),
                "p99_us": measured.open.get(*path).map(|times| times.p99_us),
            });
            println!("{row}");
        }
        if let Some(Counts { instructions, allocations }) = measured.counts.get(*path) {
            println!(
                "{}",
                json!({"path": path, "instructions": round(*instructions), "allocations": round(*allocations)})
            );
        }
    }
    for row in &measured.messages {
        let row = json!({
            "call": row.shape.name(), "path": row.path, "failed": row.failed,
            "per_second": round(row.per_second), "client_us": round(row.client_us),
            "throughput_ratio": round(row.throughput_ratio), "client_cpu_ratio": round(row.client_cpu_ratio),
        });
        println!("{row}");
    }
    for row in &measured.limited {
        let row = json!({
            "streams": STREAMS, "callers": CALLERS, "path": row.path, "failed": row.failed,
            "per_second": round(row.per_second), "client_us": round(row.client_us),
            "throughput_ratio": round(row.throughput_ratio), "throughput_ratio_goal": THROUGHPUT_GOAL,
            "client_cpu_ratio": round(row.client_cpu_ratio), "p50_ms": round(row.p50_ms), "p99_ms": round(row.p99_ms),
            "p99_ms_goal": round(row.bound_ms), "wait_p99_ms": row.wait_p99_ms.map(round),
            "worst_p99_to_goal": round(row.worst),
        });
        println!("{row}");
    }
    for row in &measured.faults {
        let (fault, path) = (row.fault.name(), &row.path);
        println!(
            "{}",
            json!({"fault": fault, "path": path, "calls": row.calls, "failed": row.failed, "p99_ms": row.p99_ms})
        );
    }
}

/// To a thousandth.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Tables.
pub fn text(measured: &Measured) {
    if !measured.summary.is_empty() {
        costs(measured);
    } else if !measured.counts.is_empty() {
        counts(&measured.counts);
    }
    if !measured.messages.is_empty() {
        println!();
        println!("messages: of 128 bytes in streams, and of 1 MiB in unary calls");
        shapes(&measured.messages);
    }
    if !measured.limited.is_empty() {
        println!();
        println!("limited streams: {CALLERS} callers, {SERVERS} servers that allow {STREAMS} streams each");
        waits(&measured.limited);
    }
    if !measured.faults.is_empty() {
        println!();
        println!("{:<18} {:<18} {:>7} {:>7} {:>9} {:>9}", "fault", "path", "calls", "failed", "p99 ms", "p99.9 ms");
    }
    for row in &measured.faults {
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
    let [throughput, cpu] = [format!("≥ {:.2}", GOALS.0), format!("≤ {:.2}", GOALS.1)];
    println!("{:<18} {:>9} {:>9} {:>9} {:>9} {throughput:>11} {cpu:>11}", "goal of meshwork", "", "", "", "");
}

fn counts(counts: &BTreeMap<String, Counts>) {
    println!("{:<18} {:>12} {:>7}", "path", "instructions", "allocs");
    println!("{:<18} {:>12} {:>7}", "", "per call", "a call");
    for path in paths::ALL {
        if let Some(Counts { instructions, allocations }) = counts.get(*path) {
            println!("{path:<18} {instructions:>12.0} {allocations:>7.0}");
        }
    }
}

fn shapes(rows: &[messages::Row]) {
    println!(
        "{:<20} {:<18} {:>9} {:>9} {:>11} {:>11}",
        "call", "path", "calls/s", "client", "throughput", "client CPU"
    );
    println!("{:<20} {:<18} {:>9} {:>9} {:>11} {:>11}", "", "", "", "µs/call", "ratio", "ratio");
    for row in rows {
        let messages::Row { shape, path, per_second, client_us, throughput_ratio, client_cpu_ratio, failed } = row;
        println!(
            "{:<20} {path:<18} {per_second:>9.0} {client_us:>9.1} {throughput_ratio:>11.2} {client_cpu_ratio:>11.2}",
            shape.name()
        );
        if *failed > 0 {
            println!("{:<20} {path:<18} {failed} calls failed", shape.name());
        }
    }
}

fn waits(rows: &[limited::Row]) {
    let line = |path: &str, values: [&str; 9]| {
        let [rate, throughput, client, cpu, p50, p99, bound, worst, wait] = values;
        println!(
            "{path:<18} {rate:>9} {throughput:>11} {client:>9} {cpu:>11} {p50:>8} {p99:>8} {bound:>8} {worst:>9} {wait:>9}"
        );
    };
    line("path", ["calls/s", "throughput", "client", "client CPU", "p50", "p99", "p99 goal", "worst p99", "wait p99"]);
    line("", ["", "ratio", "µs/call", "ratio", "ms", "ms", "ms", "to goal", "ms"]);
    for row in rows {
        let one = |value: f64| format!("{value:.1}");
        let two = |value: f64| format!("{value:.2}");
        let values = [
            format!("{:.0}", row.per_second),
            two(row.throughput_ratio),
            one(row.client_us),
            two(row.client_cpu_ratio),
            one(row.p50_ms),
            one(row.p99_ms),
            one(row.bound_ms),
            two(row.worst),
            row.wait_p99_ms.map_or_else(|| "-".to_owned(), one),
        ];
        line(row.path, values.each_ref().map(String::as_str));
        if row.failed > 0 {
            println!("{:<18} {} calls failed", row.path, row.failed);
        }
    }
    line("goal", ["", &format!("≥ {THROUGHPUT_GOAL:.2}"), "", "", "", "", "", "≤ 1.00", ""]);
}
