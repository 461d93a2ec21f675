//! What `meshwork audit` prints.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::verdict::{Finding, Verdict};
use crate::terminal::line;

/// The verdicts, one a line, with what violates them below.
pub fn text(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let Verdict { id, title, checked, violations, examples, detail, .. } = verdict;
        let counts = match verdict.finding() {
            Finding::Holds => format!("holds       {checked:>9} checked"),
            Finding::Violated => format!("VIOLATED    {violations:>9} of {checked}"),
            Finding::NotJudged => "not judged".to_owned(),
        };
        let detail = if detail.is_empty() { String::new() } else { format!(" ({})", line(detail)) };
        writeln!(text, "{id:<4} {counts:<30}  {title}{detail}").ok();
        for example in examples {
            writeln!(text, "       {}: {}", line(&example.subject), line(&example.problem)).ok();
        }
        let more = usize::try_from(*violations).unwrap_or(usize::MAX).saturating_sub(examples.len());
        if more > 0 {
            writeln!(text, "       and {more} more").ok();
        }
    }
    text
}

/// The verdicts as JSON, and after how long they were reached.
pub fn json(verdicts: &[Verdict], after: Duration) -> Value {
    let invariants = verdicts.iter().map(|verdict| {
        let examples = verdict.examples.iter();
        let examples = examples.map(|example| json!({ "subject": example.subject, "problem": example.problem }));
        json!({
            "id": verdict.id,
            "title": verdict.title,
            "verdict": verdict.finding().as_str(),
            "checked": verdict.checked,
            "detail": verdict.detail,
            "violations": verdict.violations,
            "examples": examples.collect::<Vec<_>>(),
        })
    });
    let violated = verdicts.iter().filter(|verdict| verdict.finding() == Finding::Violated).count();
    json!({
        "invariants": invariants.collect::<Vec<_>>(),
        "violated": violated,
        "settled_ms": u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> [Verdict; 3] {
        let mut good = Verdict::new("I1", "all is well");
        good.check(true, "products/1", || "nothing".to_owned());
        let mut bad = Verdict::new("I2", "nothing is lost");
        for order in 0..25 {
            bad.check(false, format_args!("orders/{order}"), || "it is\nlost".to_owned());
        }
        [good, bad, Verdict::not_judged("I4", "answers stand", "no history")]
    }

    #[test]
    fn people_read_a_line_for_each_invariant_and_some_violations() {
        let text = text(&verdicts());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3 + 20 + 1, "{text}");
        assert!(lines[0].starts_with("I1   holds") && lines[0].ends_with("1 checked   all is well"), "{text}");
        assert!(lines[1].starts_with("I2   VIOLATED") && lines[1].contains("25 of 25"), "{text}");
        assert_eq!(lines[2], "       orders/0: it is lost");
        assert_eq!(lines[22], "       and 5 more");
        assert!(
            lines[23].starts_with("I4   not judged") && lines[23].ends_with("answers stand (no history)"),
            "{text}"
        );
    }

    #[test]
    fn scripts_read_words_and_counts() {
        let json = json(&verdicts(), Duration::from_millis(1500));
        assert_eq!((&json["violated"], &json["settled_ms"]), (&json!(1), &json!(1500)));
        let words: Vec<_> = (0..3).map(|at| json["invariants"][at]["verdict"].as_str().unwrap()).collect();
        assert_eq!(words, ["holds", "violated", "not_judged"]);
        let bad = &json["invariants"][1];
        assert_eq!((&bad["id"], &bad["checked"], &bad["violations"]), (&json!("I2"), &json!(25), &json!(25)));
        assert_eq!(bad["examples"].as_array().unwrap().len(), 20);
        assert_eq!(bad["examples"][3]["subject"], "orders/3");
    }
}
