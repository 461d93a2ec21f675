//! How far a move is, on standard error.

use std::time::{Duration, Instant};

use meshwork_users::shards::MoveProgress;

/// How often a step is told of while it goes on.
const EVERY: Duration = Duration::from_secs(1);

/// What was told last.
#[derive(Default)]
pub struct Lines {
    last: Option<(String, Instant)>,
    has_begun: bool,
}

impl Lines {
    /// Tells how far a move is: at each step, and now and then in it.
    pub fn tell(&mut self, progress: &MoveProgress) {
        self.has_begun = true;
        let step = format!("{} {}", progress.id, progress.step);
        if self.last.as_ref().is_some_and(|(last, at)| *last == step && at.elapsed() < EVERY) {
            return;
        }
        self.last = Some((step, Instant::now()));
        eprintln!("{}", line(progress));
    }

    /// Whether anything was begun.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }
}

fn line(progress: &MoveProgress) -> String {
    let MoveProgress { step, copied, followed, deleted, fences, .. } = progress;
    let mut line = format!("{:<8} {copied} rows copied, {followed} changes followed", step.to_string());
    if *fences > 1 {
        line.push_str(&format!(", fence {fences}"));
    }
    if *deleted > 0 {
        line.push_str(&format!(", {deleted} rows deleted at the old owner"));
    }
    line
}
