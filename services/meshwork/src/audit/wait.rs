//! What people are told while a shop is looked at again, on standard error.

use std::time::{Duration, Instant};

use super::verdict::{Finding, Verdict};
use crate::failure::Failure;
use crate::terminal::line;

/// How often the same is told.
const OFTEN: Duration = Duration::from_secs(10);

/// What was told last, and when.
#[derive(Debug, Default)]
pub struct Wait {
    told: Option<(String, Instant)>,
}

impl Wait {
    /// Tells why a shop is looked at again, and for how long it still will be: when that has changed, or is told no more.
    pub fn tell(&mut self, why: String, left: Duration) {
        if let Some(told) = self.line(why, left, Instant::now()) {
            eprintln!("{told}");
        }
    }

    /// The line, if it is time for one.
    fn line(&mut self, why: String, left: Duration, now: Instant) -> Option<String> {
        let is_fresh = self.told.as_ref().is_some_and(|(told, at)| *told == why && now.duration_since(*at) < OFTEN);
        if is_fresh {
            return None;
        }
        let told = format!("{}; looked at again for {}", line(&why), short(left));
        self.told = Some((why, now));
        Some(told)
    }
}

/// Why a shop is looked at again that could be judged.
pub fn violated(verdicts: &[Verdict]) -> String {
    let violated = verdicts.iter().filter(|verdict| verdict.finding() == Finding::Violated);
    let ids: Vec<_> = violated.map(|verdict| verdict.id).collect();
    let verb = if ids.len() == 1 { "doesn't" } else { "don't" };
    format!("{} {verb} hold yet", ids.join(", "))
}

/// Why a shop is looked at again that couldn't be.
pub fn unseen(failure: &Failure) -> String {
    format!("the shop can't be seen yet: {}", failure.sentence())
}

/// A time as people write it.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_told_when_it_changes_and_every_ten_seconds() {
        let (mut wait, begin) = (Wait::default(), Instant::now());
        let mut told = |why: &str, left, after| {
            wait.line(why.to_owned(), Duration::from_secs(left), begin + Duration::from_secs(after))
        };
        assert_eq!(told("users is\naway", 590, 0).unwrap(), "users is away; looked at again for 9m50s");
        assert_eq!(told("users is\naway", 589, 1), None);
        assert_eq!(told("I5 doesn't hold yet", 60, 2).unwrap(), "I5 doesn't hold yet; looked at again for 1m");
        assert_eq!(told("I5 doesn't hold yet", 51, 11), None);
        assert_eq!(told("I5 doesn't hold yet", 50, 12).unwrap(), "I5 doesn't hold yet; looked at again for 50s");
    }

    #[test]
    fn what_does_not_hold_yet_is_named() {
        let verdict = |id, holds| {
            let mut verdict = Verdict::new(id, "all is well");
            verdict.check(holds, "orders/1", || "it waits".to_owned());
            verdict
        };
        assert_eq!(violated(&[verdict("I1", true), verdict("I5", false)]), "I5 doesn't hold yet");
        assert_eq!(violated(&[verdict("I5", false), verdict("I9", false)]), "I5, I9 don't hold yet");
        let away = unseen(&Failure::new("users is away", "wait"));
        assert_eq!(away, "the shop can't be seen yet: users is away");
    }
}
