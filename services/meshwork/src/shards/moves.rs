//! `meshwork shards move`: which moves are asked for, and carrying them out.

use std::fmt::Write as _;

use meshwork_chassis::ServeError;
use meshwork_chassis::config::StrategyConfig;
use meshwork_users::Config;
use meshwork_users::shards::{self, MoveReport, MoveRequest, Space};
use serde_json::{Value, json};

use super::pieces::{ranges, short};
use super::progress::Lines;
use super::spaces::space_name;
use crate::cli::{MoveArgs, Slots, SpaceName};
use crate::config::Settings;
use crate::failure::Failure;
use crate::run::stop_signal;

/// How many characters the pieces of a move take at most.
const WIDTH: usize = 60;
/// The name of the database that is one alone.
const ALONE: &str = "main";

/// The exit code when nothing was begun: the databases, the settings or what is asked for don't allow it.
pub const NOT_BEGUN: u8 = 2;

/// What is to be done.
pub enum Work {
    /// These moves, one after the other.
    Moves(Vec<MoveRequest>),
    /// Those that were begun and are not done.
    Resume,
    /// None: the one that was begun from the database of this name is given up.
    Abandon(String),
}

/// What the flags ask for.
///
/// # Errors
/// When they don't fit how accounts are spread, or the databases can't be asked for a plan.
pub async fn chosen(settings: &Settings, args: MoveArgs) -> Result<Work, Failure> {
    let MoveArgs { space, slots, range, to, planned, resume, abandon, .. } = args;
    let space = match space {
        SpaceName::Users => Space::Users,
        SpaceName::Emails => Space::Emails,
    };
    let to = to.unwrap_or_default();
    if resume {
        return Ok(Work::Resume);
    }
    if let Some(from) = abandon {
        return Ok(Work::Abandon(from));
    }
    if planned {
        let plan = shards::plan(&settings.users).await?;
        let request =
            |planned: shards::PlannedMove| MoveRequest { space: planned.space, pieces: planned.pieces, to: planned.to };
        return Ok(Work::Moves(plan.moves.into_iter().map(request).collect()));
    }
    if let Some(Slots(slots)) = slots {
        if space == Space::Users && has_ranges(settings) {
            return Err(Failure::new(
                "accounts are spread by ranges of their ids, which have no slots",
                "name a range by an id in it, with --range ID; `meshwork shards status` shows them",
            ));
        }
        let pieces = slots.into_iter().map(i32::from).collect();
        return Ok(Work::Moves(vec![MoveRequest { space, pieces, to }]));
    }
    let Some(id) = range else {
        return Err(Failure::new("nothing to move is named", "name it with --slots or --range, or take --planned"));
    };
    if space == Space::Emails {
        return Err(Failure::new(
            "e-mail addresses are spread by hash, and have slots instead of ranges",
            "name slots such as 0-15 with --slots; `meshwork shards status` shows who owns which",
        ));
    }
    refuse_without_ranges(settings, "moved as a range")?;
    let piece = shards::piece_of(&settings.users, space, &id).await?;
    Ok(Work::Moves(vec![MoveRequest { space, pieces: vec![piece], to }]))
}

fn has_ranges(settings: &Settings) -> bool {
    settings.users.shards.is_set() && settings.users.shards.strategy == StrategyConfig::Range
}

/// Refuses what only ranges allow.
///
/// # Errors
/// When accounts are spread by hash.
pub fn refuse_without_ranges(settings: &Settings, done: &str) -> Result<(), Failure> {
    if has_ranges(settings) {
        return Ok(());
    }
    Err(Failure::new(
        format!("accounts are spread by hash: they have slots, and no range that can be {done}"),
        "move slots with --slots; ranges need `users.shards.strategy = \"range\"` from the first start on",
    ))
}

/// Carries out what is asked for: what was done, and how it ended. A signal ends it where it is.
pub async fn carry_out(settings: &Settings, work: Work) -> (Vec<MoveReport>, Result<(), Failure>) {
    let mut lines = Lines::default();
    let mut done = Vec::new();
    let carried = {
        let mut tell = |progress: &shards::MoveProgress| lines.tell(progress);
        let all = async {
            match work {
                Work::Abandon(from) => shards::abandon(&settings.users, &from).await?,
                Work::Resume => done.extend(shards::resume(&settings.users, &mut tell).await?),
                Work::Moves(requests) => {
                    for request in requests {
                        done.extend(shards::run_move(&settings.users, request, &mut tell).await?);
                    }
                }
            }
            Ok::<(), ServeError>(())
        };
        tokio::select! {
            carried = all => carried.map_err(Failure::from),
            stopped = stop_signal() => stopped.and_then(|()| Err(interrupted())),
        }
    };
    let has_begun = lines.has_begun() || !done.is_empty();
    let end = carried.map_err(|failure| failure.exiting(if has_begun { 1 } else { NOT_BEGUN }));
    (done, end)
}

fn interrupted() -> Failure {
    Failure::new(
        "the move was interrupted, and is not done: its pieces have one owner, as before or after it, and are served",
        "`meshwork shards move --resume` goes on with it; what is fenced off is free again after some seconds",
    )
}

/// The names of the databases.
pub struct Names(Vec<(u16, String)>);

impl Names {
    /// Those of the settings.
    pub fn of(config: &Config) -> Self {
        Self(config.shards.databases.iter().map(|database| (database.id, database.name.clone())).collect())
    }

    fn get(&self, id: u16) -> String {
        let named = self.0.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
        named.unwrap_or_else(|| if self.0.is_empty() { ALONE.to_owned() } else { format!("database {id}") })
    }
}

/// What was moved, for people.
pub fn text(reports: &[MoveReport], names: &Names) -> String {
    if reports.is_empty() {
        return "there is nothing to move\n".to_owned();
    }
    let mut text = String::new();
    for report in reports {
        let MoveReport { space, from, to, copied, followed, deleted, .. } = report;
        let (from, to, pieces) = (names.get(*from), names.get(*to), short(&ranges(&report.pieces), WIDTH));
        let fenced = report.fenced.map_or_else(String::new, |time| format!(", writes waited {} ms", time.as_millis()));
        writeln!(
            text,
            "{} {pieces}, {from} → {to}: {copied} rows copied, {followed} changes followed, {deleted} rows deleted at the \
             old owner{fenced}, {:.1} s",
            space_name(*space),
            report.took.as_secs_f64()
        )
        .ok();
    }
    text
}

/// What was moved, as JSON.
pub fn json(reports: &[MoveReport], names: &Names) -> Value {
    let moves = reports.iter().map(|report| {
        json!({
            "id": report.id,
            "space": space_name(report.space),
            "pieces": ranges(&report.pieces),
            "count": report.pieces.len(),
            "from": names.get(report.from),
            "to": names.get(report.to),
            "copied": report.copied,
            "followed": report.followed,
            "deleted": report.deleted,
            "fences": report.fences,
            "fenced_ms": report.fenced.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "took_ms": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        })
    });
    json!({ "moves": moves.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_moved_is_told_by_names() {
        let names = Names(vec![(0, "north".to_owned()), (4, "south".to_owned())]);
        let report = MoveReport {
            id: "1".to_owned(),
            space: Space::Emails.number(),
            pieces: vec![0, 1, 2, 20],
            from: 0,
            to: 4,
            copied: 12,
            followed: 3,
            deleted: 12,
            fences: 1,
            fenced: Some(Duration::from_millis(37)),
            took: Duration::from_millis(1250),
        };
        let told = text(std::slice::from_ref(&report), &names);
        assert!(told.starts_with("emails 0-2,20, north → south: 12 rows copied"), "{told}");
        assert!(told.contains("writes waited 37 ms"), "{told}");
        assert_eq!(json(&[report], &names)["moves"][0]["fenced_ms"], 37);
        assert!(text(&[], &names).contains("nothing"));
        assert_eq!((names.get(9), Names(Vec::new()).get(0)), ("database 9".to_owned(), ALONE.to_owned()));
    }
}
