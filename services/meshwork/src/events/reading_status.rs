//! What a tail of events says beside the events: that it reads, that it can't, and that it does again.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use meshwork_events::Lane;

/// Tells on standard error how reading goes. Lanes fail together: it is said once.
pub struct ReadingStatus {
    lanes: usize,
    place: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    begun: BTreeSet<Lane>,
    failing: BTreeSet<Lane>,
}

impl ReadingStatus {
    /// For so many lanes of the bus at `place`.
    pub fn new(lanes: usize, place: String) -> Self {
        Self { lanes, place, known: Mutex::default() }
    }

    /// A lane is read.
    pub fn reads(&self, lane: &Lane) {
        say(self.after_reading(lane));
    }

    /// A lane can't be read at this moment.
    pub fn fails(&self, lane: &Lane, problem: &dyn Display) {
        say(self.after_failing(lane, problem));
    }

    fn after_reading(&self, lane: &Lane) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = known.begun.insert(lane.clone());
        let has_failed = known.failing.remove(lane);
        if is_new && known.begun.len() == self.lanes {
            return Some(format!("reading events from {}", self.place));
        }
        (has_failed && known.failing.is_empty()).then(|| "reading goes on".to_owned())
    }

    fn after_failing(&self, lane: &Lane, problem: &dyn Display) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = known.failing.is_empty();
        known.failing.insert(lane.clone());
        is_first.then(|| format!("{} can't be read: {problem}; it is tried again", self.place))
    }
}

fn say(sentence: Option<String>) {
    if let Some(sentence) = sentence {
        // Whoever has closed standard error wants to hear nothing.
        writeln!(std::io::stderr(), "{sentence}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_fail_together_are_told_of_once() {
        let lane = |partition| Lane { stream: "orders".to_owned(), partition };
        let status = ReadingStatus::new(2, "NATS, a:4222".to_owned());
        assert_eq!(
            status.after_failing(&lane(0), &"it is down").unwrap(),
            "NATS, a:4222 can't be read: it is down; it is tried again"
        );
        assert_eq!(status.after_failing(&lane(1), &"it is down"), None);
        assert_eq!(status.after_reading(&lane(0)), None);
        assert_eq!(status.after_reading(&lane(1)).unwrap(), "reading events from NATS, a:4222");
        assert_eq!(status.after_reading(&lane(1)), None);
        assert!(status.after_failing(&lane(1), &"it is down").is_some());
        assert_eq!(status.after_reading(&lane(0)), None);
        assert_eq!(status.after_reading(&lane(1)).unwrap(), "reading goes on");
    }
}
