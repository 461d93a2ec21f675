//! What the demo prints.

use std::time::Instant;

use meshwork_api::meshwork::orders::v1::order::State;
use serde::Serialize;

/// The steps so far.
#[derive(Debug)]
pub struct Report {
    text: bool,
    begun: Option<(&'static str, Instant)>,
    outcome: Outcome,
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    order: String,
    state: String,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    millis: u64,
}

impl Report {
    /// No steps yet; as text they are printed while they happen.
    pub fn new(text: bool) -> Self {
        Self { text, begun: None, outcome: Outcome::default() }
    }

    /// A step begins.
    pub fn begin(&mut self, step: &'static str) {
        self.begun = Some((step, Instant::now()));
    }

    /// The step is done.
    pub fn done(&mut self) {
        let Some((step, begun)) = self.begun.take() else { return };
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.text {
            println!("{step:<28} {millis:>6} ms");
        }
        self.outcome.steps.push(Step { step, millis });
    }

    /// What the last step has made.
    pub fn note(&self, what: &str) {
        if self.text {
            println!("  {what}");
        }
    }

    /// What has become of the order.
    pub fn end_of_order(&mut self, order: &str, state: State) {
        self.outcome.order = order.to_owned();
        self.outcome.state = state.as_str_name().trim_start_matches("STATE_").to_owned();
        self.note(&self.outcome.state);
    }

    /// Prints the outcome.
    pub fn print(&self) {
        if self.text {
            println!("{} is {}", self.outcome.order, self.outcome.state);
        } else if let Ok(json) = serde_json::to_string(&self.outcome) {
            println!("{json}");
        }
    }
}
