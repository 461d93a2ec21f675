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
    order: Option<String>,
    state: Option<String>,
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

    /// What is known of the order.
    pub fn order(&mut self, order: &str, state: State) {
        let state = state.as_str_name().trim_start_matches("STATE_");
        self.outcome.order = Some(order.to_owned());
        self.outcome.state = Some(state.to_owned());
        self.note(state);
    }

    /// Prints the outcome, as far as it is known.
    pub fn print(&self) {
        if self.text {
            if let (Some(order), Some(state)) = (&self.outcome.order, &self.outcome.state) {
                println!("{order} is {state}");
            }
        } else if let Ok(json) = serde_json::to_string(&self.outcome) {
            println!("{json}");
        }
    }
}
