//! What is printed: a table for people, one document for programs.

use serde_json::{Map, Value, json};

use crate::lag::{Lag, PER_SECOND};
use crate::throughput::Throughput;

/// What the relay should reach of a plain publisher's throughput. Missing it is no failure.
const RATIO_GOAL: f64 = 0.9;

/// What was measured on one bus.
pub struct Row {
    /// The bus.
    pub bus: &'static str,
    /// Where there is a plain publisher to stand beside.
    pub throughput: Option<Throughput>,
    /// How long its events are under way.
    pub lag: Lag,
}

/// All that was measured.
pub struct Report {
    /// How often each publisher has run.
    pub rounds: usize,
    /// The buses.
    pub rows: Vec<Row>,
}

impl Report {
    /// One document.
    pub fn json(&self) {
        let rows: Vec<Value> = self.rows.iter().map(|row| Value::Object(object(row))).collect();
        let document = json!({
            "rounds": self.rounds, "ratio_goal": RATIO_GOAL, "lag_events_per_second": PER_SECOND, "rows": rows,
        });
        println!("{document}");
    }

    /// A table.
    pub fn text(&self) {
        println!(
            "the relay beside a plain publisher of the same messages, {} runs each, by turns; lag at {PER_SECOND}/s",
            self.rounds
        );
        line("bus", ["events", "relay", "plain", "ratio of", "least", "most", "lag p50", "lag p99"]);
        line("", ["a run", "events/s", "events/s", "medians", "ratio", "ratio", "ms", "ms"]);
        for Row { bus, throughput, lag } in &self.rows {
            let figures = throughput.as_ref().map(|it| {
                let [least, most] = it.least_and_most;
                let (relay, plain) = (format!("{:.0}", it.relay), format!("{:.0}", it.plain));
                let ratios = [it.ratio(), least, most].map(|ratio| format!("{ratio:.2}"));
                let [ratio, least, most] = ratios;
                [it.events.to_string(), relay, plain, ratio, least, most]
            });
            let [events, relay, plain, ratio, least, most] =
                figures.unwrap_or_else(|| [(); 6].map(|()| "-".to_owned()));
            let [p50, p99] = [lag.p50_ms, lag.p99_ms].map(|millis| format!("{millis:.2}"));
            line(bus, [&events, &relay, &plain, &ratio, &least, &most, &p50, &p99]);
        }
        line("goal", ["", "", "", &format!("≥ {RATIO_GOAL:.2}"), "", "", "", ""]);
    }
}

fn line(bus: &str, [events, relay, plain, ratio, least, most, p50, p99]: [&str; 8]) {
    let line = format!("{bus:<22} {events:>7} {relay:>9} {plain:>9} {ratio:>9} {least:>7} {most:>7} {p50:>8} {p99:>8}");
    println!("{}", line.trim_end());
}

fn object(row: &Row) -> Map<String, Value> {
    let Row { bus, throughput, lag } = row;
    let mut object = Map::new();
    object.insert("bus".to_owned(), json!(bus));
    if let Some(throughput) = throughput {
        object.insert("events_per_run".to_owned(), json!(throughput.events));
        object.insert("relay_per_second".to_owned(), json!(throughput.relay.round()));
        object.insert("plain_per_second".to_owned(), json!(throughput.plain.round()));
        object.insert("ratio".to_owned(), json!(rounded(throughput.ratio())));
        object.insert("ratio_least_and_most".to_owned(), json!(throughput.least_and_most.map(rounded)));
    }
    object.insert("lag_ms_p50".to_owned(), json!(rounded(lag.p50_ms)));
    object.insert("lag_ms_p99".to_owned(), json!(rounded(lag.p99_ms)));
    object
}

/// To a thousandth.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
