//! What `meshwork shards status` prints.

use std::fmt::Write as _;

use meshwork_sql::shards::moving::{PendingMove, PiecesOwned, ShardStatus};
use serde_json::{Value, json};

use super::pieces::{ranges, short};
use super::spaces::space_name;
use crate::terminal::plain;

/// How many characters the pieces of a database take at most in a table.
const WIDTH: usize = 60;

/// The databases that have not answered, if any has not.
pub fn unreached(shards: &[ShardStatus]) -> Option<String> {
    let unreached = shards.iter().filter(|shard| shard.problem.is_some());
    let names: Vec<_> = unreached.map(|shard| format!("{} ({})", shard.name, shard.place)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The databases for people: a table of what they own, and the moves.
pub fn text(shards: &[ShardStatus]) -> String {
    let mut text = String::new();
    let mut row = |id: &str, name: &str, epoch: &str, space: &str, count: &str, pieces: &str| {
        let line = format!("{id:>3}  {name:<14}  {epoch:>8}  {space:<8}  {count:>6}  {pieces}");
        writeln!(text, "{}", line.trim_end()).ok();
    };
    row("id", "name", "epoch", "space", "pieces", "which");
    for shard in shards {
        let (id, name) = (shard.id.to_string(), plain(&shard.name));
        let epoch = shard.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        if let Some(problem) = &shard.problem {
            row(&id, &name, &epoch, "-", "-", &format!("no answer: {}", plain(problem)));
            continue;
        }
        if shard.pieces.is_empty() {
            row(&id, &name, &epoch, "-", "0", "");
        }
        for (at, owned) in shard.pieces.iter().enumerate() {
            let (id, name, epoch) = if at == 0 { (id.as_str(), name.as_str(), epoch.as_str()) } else { ("", "", "") };
            let which = short(&plain(&owned.shown), WIDTH);
            row(id, name, epoch, &space_name(owned.space), &owned.count.to_string(), &which);
        }
    }
    text.push('\n');
    for shard in shards {
        let rows = shard.rows.iter().filter_map(|table| Some(format!("{} {}", table.rows?, table.table)));
        let rows: Vec<_> = rows.collect();
        let rows = if rows.is_empty() { String::new() } else { format!(", rows as last counted: {}", rows.join(", ")) };
        writeln!(text, "{} is PostgreSQL, {}{rows}", plain(&shard.name), plain(&shard.place)).ok();
    }
    let mut is_moving = false;
    for (shard, pending) in shards.iter().flat_map(|shard| shard.moves.iter().map(move |pending| (shard, pending))) {
        let PendingMove { phase, copied, followed, age, idle, .. } = pending;
        let pieces = short(&ranges(&pending.pieces), WIDTH);
        let overrun =
            if pending.is_overrun { "; too much was written meanwhile, so that it will copy again" } else { "" };
        writeln!(
            text,
            "\nmoving {} {pieces}, {} → {}: {phase}, {copied} rows copied, {followed} changes followed, begun {age} s ago, \
             last heard of {idle} s ago{overrun}",
            space_name(pending.space),
            plain(&shard.name),
            plain(&pending.to_name)
        )
        .ok();
        is_moving = true;
    }
    if is_moving {
        writeln!(text, "`meshwork shards move --resume` goes on with what was interrupted").ok();
    }
    text
}

/// The databases as JSON.
pub fn json(shards: &[ShardStatus]) -> Value {
    let shards = shards.iter().map(|shard| {
        let spaces = shard.pieces.iter().map(|owned| {
            json!({
                "space": space_name(owned.space),
                "count": owned.count,
                "pieces": for_flags(owned),
                "fenced": owned.fenced,
            })
        });
        let rows = shard.rows.iter().map(|table| json!({ "table": table.table, "rows": table.rows }));
        let moves = shard.moves.iter().map(|pending| {
            json!({
                "id": pending.id,
                "space": space_name(pending.space),
                "pieces": ranges(&pending.pieces),
                "to": pending.to_name,
                "phase": pending.phase,
                "copied": pending.copied,
                "followed": pending.followed,
                "deleted": pending.deleted,
                "fences": pending.fences,
                "is_overrun": pending.is_overrun,
                "age_s": pending.age,
                "idle_s": pending.idle,
            })
        });
        json!({
            "id": shard.id,
            "name": shard.name,
            "place": shard.place,
            "problem": shard.problem,
            "epoch": shard.epoch,
            "spaces": spaces.collect::<Vec<_>>(),
            "rows": rows.collect::<Vec<_>>(),
            "moves": moves.collect::<Vec<_>>(),
        })
    });
    json!({ "shards": shards.collect::<Vec<_>>() })
}

/// Slots as `--slots` takes them; ranges as they are shown.
fn for_flags(owned: &PiecesOwned) -> String {
    if owned.shown.contains('"') { owned.shown.clone() } else { owned.shown.replace(", ", ",") }
}

#[cfg(test)]
mod tests {
    use meshwork_sql::shards::moving::RowsEstimate;

    use super::*;

    fn shard(name: &str) -> ShardStatus {
        let owned = PiecesOwned { space: 0, count: 4, shown: "0-2, 9".to_owned(), fenced: 0 };
        ShardStatus {
            id: 3,
            name: name.to_owned(),
            place: format!("{name}:5432/users"),
            problem: None,
            epoch: Some(2048),
            pieces: vec![owned],
            rows: vec![RowsEstimate { table: "users".to_owned(), rows: Some(12) }],
            moves: Vec::new(),
        }
    }

    #[test]
    fn the_databases_are_told_with_what_they_own_and_where_they_are() {
        let told = text(&[shard("north")]);
        for words in ["3  north", "2048  users", "4  0-2, 9", "PostgreSQL, north:5432/users", "12 users"] {
            assert!(told.contains(words), "{words} is not in\n{told}");
        }
        assert!(!told.contains("--resume"), "{told}");
        let json = json(&[shard("north")]);
        assert_eq!(json["shards"][0]["spaces"][0]["pieces"], "0-2,9", "{json}");
        assert_eq!(unreached(&[shard("north")]), None);
    }

    #[test]
    fn what_does_not_answer_and_what_is_moving_is_told() {
        let away = ShardStatus { problem: Some("connection refused".to_owned()), epoch: None, ..shard("south") };
        let pending = PendingMove {
            id: "1".to_owned(),
            space: 1,
            pieces: vec![4, 5],
            from: 3,
            to: 4,
            to_name: "south".to_owned(),
            phase: "follow".to_owned(),
            copied: 7,
            followed: 1,
            deleted: 0,
            fences: 0,
            is_overrun: true,
            age: 70,
            idle: 65,
        };
        let shards = [ShardStatus { moves: vec![pending], ..shard("north") }, away];
        let told = text(&shards);
        assert!(told.contains("no answer: connection refused"), "{told}");
        assert!(told.contains("moving emails 4-5, north → south: follow, 7 rows copied"), "{told}");
        assert!(told.contains("copy again") && told.contains("--resume"), "{told}");
        assert_eq!(unreached(&shards).as_deref(), Some("south (south:5432/users)"));
    }
}
