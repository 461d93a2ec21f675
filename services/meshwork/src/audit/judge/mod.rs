//! Judging what a shop tells of itself, at rest. Nothing here asks anybody.
//!
//! | file | invariants |
//! |---|---|
//! | `stock` | I1, I2, I3: pieces are where reservations say, and none is sold twice |
//! | `requests` | I4, I11: what was answered stands, once |
//! | `saga` | I5, I6: every order ends, and its reservation with it |
//! | `events` | I7, I8: what was appended is whole, and published |
//! | `consumers` | I9: what was published is applied |
//! | `lists` | I10: what is shown is what the events make |
//! | `letters` | I14, I15: letters are sent, once, and nothing waits for people |

mod consumers;
mod events;
mod index;
mod letters;
mod lists;
mod requests;
mod saga;
mod stock;

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod tests;

use self::index::Index;
use super::evidence::{Evidence, Refused};
use super::requests::Requests;
use super::verdict::Verdict;

/// The verdicts, in the order of the invariants. Without a history, what clients were told isn't judged.
pub fn judge(evidence: &Evidence, history: Option<&Requests>) -> Vec<Verdict> {
    let index = Index::of(evidence);
    let verdicts = vec![
        stock::identities(evidence),
        stock::sums(evidence),
        stock::oversell(evidence),
        requests::acknowledged(&index, history),
        saga::ended(evidence),
        saga::reservations(evidence, &index),
        events::sound(evidence),
        events::published(evidence),
        consumers::applied(evidence, &index),
        lists::shown(evidence, &index),
        requests::once(evidence, history),
        letters::sent(evidence, &index),
        letters::nothing_waits(evidence, &index),
    ];
    verdicts.into_iter().map(|verdict| unless_unlisted(verdict, evidence)).collect()
}

/// A verdict, unless it needs what can't be listed, as something in that is damaged.
fn unless_unlisted(verdict: Verdict, evidence: &Evidence) -> Verdict {
    let (needed, tells) = match verdict.id {
        "I2" | "I3" => ("reservations", false),
        "I6" => ("reservations", true),
        "I14" => ("notifications", true),
        _ => return verdict,
    };
    let Some(Refused { subject, answer }) = evidence.unlisted.iter().find(|refused| *refused.subject == *needed) else {
        return verdict;
    };
    let problem = format!("can't be listed: {answer}");
    if !tells {
        return Verdict::not_judged(verdict.id, verdict.title, &format!("{subject} {problem}"));
    }
    let mut violated = Verdict::new(verdict.id, verdict.title);
    violated.check(false, subject, || problem);
    violated
}
