//! What is done, one thing after another, each with its time.

use std::time::{Duration, Instant};

/// The steps so far, and how long each took.
#[derive(Default)]
pub struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    /// Does the next thing.
    pub async fn time<T>(&mut self, what: &'static str, work: impl Future<Output = T>) -> T {
        println!("== {what}");
        let begun = Instant::now();
        let done = work.await;
        println!("== {what}: {:.1} s", begun.elapsed().as_secs_f64());
        self.0.push((what, begun.elapsed()));
        done
    }

    /// Prints all of them as a table.
    pub fn print(&self) {
        println!("\n{:<42} {:>8}", "step", "seconds");
        for (what, took) in &self.0 {
            println!("{what:<42} {:>8.1}", took.as_secs_f64());
        }
    }
}
