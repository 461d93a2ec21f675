//! What `meshwork shards plan` prints.

use std::fmt::Write as _;

use meshwork_users::shards::Plan;
use serde_json::{Value, json};

use super::pieces::ranges;
use crate::terminal::plain;

/// A plan for people.
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for planned in &plan.moves {
        writeln!(
            text,
            "{}, {} → {}: {} of {}",
            planned.space,
            planned.from,
            planned.to,
            ranges(&planned.pieces),
            planned.pieces.len()
        )
        .ok();
    }
    if plan.moves.is_empty() {
        writeln!(text, "everything is spread evenly: there is nothing to move").ok();
    } else {
        writeln!(text, "`meshwork shards move --planned` carries this out, one move after the other").ok();
    }
    if !plan.splits.is_empty() {
        let splits: Vec<_> = plan.splits.iter().map(|split| plain(split)).collect();
        writeln!(text, "\nby a sample of the ids, ranges of one size begin at: {}", splits.join(", ")).ok();
        writeln!(text, "`meshwork shards split --at ID` makes two ranges of one").ok();
    }
    for hot in &plan.hot {
        let (low, high) = (plain(&hot.low), hot.high.as_deref().map_or_else(|| "the end".to_owned(), plain));
        let low = if low.is_empty() { "the beginning".to_owned() } else { low };
        let percent = hot.share * 100.0;
        writeln!(text, "hot: from {low} to {high}, {percent:.0} % of the newest ids: {}", hot.reason).ok();
    }
    text
}

/// A plan as JSON.
pub fn json(plan: &Plan) -> Value {
    let moves = plan.moves.iter().map(|planned| {
        json!({
            "space": planned.space.as_str(),
            "pieces": ranges(&planned.pieces),
            "count": planned.pieces.len(),
            "from": planned.from,
            "to": planned.to,
        })
    });
    let hot = plan
        .hot
        .iter()
        .map(|hot| json!({ "low": hot.low, "high": hot.high, "share": hot.share, "reason": hot.reason }));
    json!({ "moves": moves.collect::<Vec<_>>(), "splits": plan.splits, "hot": hot.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use meshwork_users::shards::{HotRange, PlannedMove, Space};

    use super::*;

    #[test]
    fn a_plan_names_moves_splits_and_hot_ranges() {
        let planned = PlannedMove {
            space: Space::Users,
            pieces: vec![0, 1, 2, 9],
            from: "north".to_owned(),
            to: "south".to_owned(),
        };
        let hot = HotRange { low: "m".to_owned(), high: None, share: 0.75, reason: "it grows at its end" };
        let plan = Plan { moves: vec![planned], splits: vec!["m".to_owned()], hot: vec![hot] };
        let told = text(&plan);
        assert!(told.contains("users, north → south: 0-2,9 of 4") && told.contains("move --planned"), "{told}");
        assert!(
            told.contains("begin at: m") && told.contains("from m to the end, 75 % of the newest ids: it grows"),
            "{told}"
        );
        assert_eq!(json(&plan)["moves"][0]["pieces"], "0-2,9");
        assert!(text(&Plan::default()).contains("nothing to move"));
    }
}
