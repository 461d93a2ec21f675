//! What is printed: tables for people, an object a line for programs.

use serde_json::json;

use crate::decisions::Decisions;
use crate::goodput::{DEADLINE, Goodput, OVERLOAD};
use crate::handler::{PLACES, WORK};
use crate::outage::{Outage, PER_SECOND, Times};
use crate::throughput::{Cost, Round};

pub struct Report {
    pub costs: Vec<Cost>,
    pub outage: Option<Outage>,
    pub decisions: Vec<Decisions>,
    pub goodput: Option<Goodput>,
}

impl Report {
    /// An object a line.
    pub fn json(&self) {
        let round = |value: f64| (value * 1e3).round() / 1e3;
        for Cost { server, round: seen, throughput_ratio, cpu_ratio } in &self.costs {
            let row = json!({
                "server": server, "per_second": seen.per_second.round(), "throughput_ratio": round(*throughput_ratio),
                "server_cpu_us": round(seen.server_us), "server_cpu_ratio": round(*cpu_ratio), "failed": seen.failed,
            });
            println!("{row}");
        }
        if let Some(Outage { well, frozen }) = &self.outage {
            let row = json!({
                "outage": "Redis frozen", "calls": frozen.calls, "failed": frozen.failed,
                "p99_ms": round(frozen.p99), "added_p99_ms": round(frozen.p99 - well.p99),
            });
            println!("{row}");
        }
        for Decisions { limiter, tasks, per_second, fallback } in &self.decisions {
            println!(
                "{}",
                json!({"limiter": limiter, "tasks": tasks, "per_second": per_second.round(), "fallback": fallback})
            );
        }
        if let Some(goodput) = &self.goodput {
            for (name, good) in goodput.rows() {
                let row = json!({
                    "overload": name, "offered": goodput.offered, "good": round(good), "peak": round(goodput.peak),
                    "of_peak": round(good / goodput.peak),
                });
                println!("{row}");
            }
        }
    }

    /// Tables.
    pub fn text(&self) {
        if !self.costs.is_empty() {
            costs(&self.costs);
        }
        if let Some(Outage { well, frozen }) = &self.outage {
            println!(
                "\n{:<18} {:>7} {:>7} {:>9} {:>9} {:>9}",
                "redis", "calls", "failed", "p50 ms", "p99 ms", "p99.9 ms"
            );
            for (name, Times { calls, failed, p50, p99, p999 }) in [("well", well), ("frozen", frozen)] {
                println!("{name:<18} {calls:>7} {failed:>7} {p50:>9.1} {p99:>9.1} {p999:>9.1}");
            }
            println!("added p99: {:.1} ms, of an open route at {PER_SECOND:.0} calls a second", frozen.p99 - well.p99);
        }
        if !self.decisions.is_empty() {
            println!("\n{:<18} {:>7} {:>12} {:>9}", "limiter", "tasks", "decisions/s", "fallback");
        }
        for Decisions { limiter, tasks, per_second, fallback } in &self.decisions {
            println!("{limiter:<18} {tasks:>7} {per_second:>12.0} {fallback:>9}");
        }
        if let Some(goodput) = &self.goodput {
            println!("\n{:<18} {:>9} {:>9} {:>9} {:>9}", "overload", "offered/s", "good/s", "peak/s", "of peak");
            for (name, good) in goodput.rows() {
                let Goodput { peak, offered, .. } = goodput;
                println!("{name:<18} {offered:>9.0} {good:>9.0} {peak:>9.0} {:>9.2}", good / peak);
            }
            let (work, deadline) = (WORK.as_millis(), DEADLINE.as_millis());
            println!("{OVERLOAD} times what {PLACES} places of {work} ms can do, with deadlines of {deadline} ms");
        }
    }
}

impl Goodput {
    fn rows(&self) -> [(&'static str, f64); 2] {
        [("with shedding", self.sheds), ("with a queue", self.queues)]
    }
}

fn costs(costs: &[Cost]) {
    println!(
        "{:<26} {:>9} {:>11} {:>9} {:>11} {:>9} {:>9}",
        "server", "calls/s", "throughput", "server", "server CPU", "client", "busy"
    );
    println!("{:<26} {:>9} {:>11} {:>9} {:>11} {:>9} {:>9}", "", "", "ratio", "µs/call", "ratio", "µs/call", "%");
    for Cost { server, round, throughput_ratio, cpu_ratio } in costs {
        let Round { per_second, server_us, client_us, busy, failed } = round;
        println!(
            "{server:<26} {per_second:>9.0} {throughput_ratio:>11.3} {server_us:>9.1} {cpu_ratio:>11.3} {client_us:>9.1} {:>9.0}",
            busy * 100.0
        );
        if *failed > 0.0 {
            println!("{server:<26} {failed} calls failed");
        }
    }
}
