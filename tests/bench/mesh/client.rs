//! A client: a process of its own, so that what it costs can be told from what servers and proxies cost.
//!
//! It obeys lines on its standard input and ends when that ends: `closed WARM_MS WINDOW_MS [IN_FLIGHT]`, `count CALLS`,
//! and `open PER_SECOND TOTAL_MS FROM_MS UNTIL_MS DEADLINE_MS`. It writes `window` when a measurement begins, and one line
//! of JSON when it has ended.

use std::io::BufRead as _;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};

use crate::load::{self, IN_FLIGHT, Steady};
use crate::paths::Path;

/// The lines of standard input; the process ends soon after the last one.
pub fn lines() -> Receiver<String> {
    // They are read in the background, because this thread drives the runtime.
    let (sender, lines) = channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
        // Also in the midst of a measurement: nobody is left to read it.
        drop(sender);
        std::thread::sleep(Duration::from_secs(60));
        std::process::exit(0);
    });
    lines
}

/// Serves the orders from standard input.
pub async fn run<P: Path>(path: P) {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let mut words = line.split(' ');
        let order = words.next().unwrap();
        let numbers: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
        let time = |at: usize| Duration::from_secs_f64(numbers[at] / 1e3);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number")]
        let number = |at: usize| numbers.get(at).map(|number| *number as usize);
        let answer = match order {
            "closed" => {
                let in_flight = number(2).unwrap_or(IN_FLIGHT);
                let done = load::closed(&path, in_flight, time(0), time(1), || println!("window")).await;
                json!({"calls": done.calls, "failed": done.failed, "seconds": done.seconds, "cpu_us": done.cpu_us})
            }
            "count" => {
                let failed = load::count(&path, number(0).unwrap()).await;
                json!({"failed": failed})
            }
            "open" => {
                let steady =
                    Steady { per_second: numbers[0], total: time(1), from: time(2), until: time(3), deadline: time(4) };
                let seen = load::open(&path, steady, || println!("window")).await;
                json!({
                    "calls": seen.calls, "failed": seen.failed,
                    "p50_us": seen.times.value_at_quantile(0.5), "p99_us": seen.times.value_at_quantile(0.99),
                    "p999_us": seen.times.value_at_quantile(0.999),
                })
            }
            _ => unreachable!("an order that there is not: {order}"),
        };
        println!("{answer}");
    }
}
