//! Crash points and planted bugs, for tests. A release has none of this.
//!
//! A crash point is a named place between two side effects. With `MESHWORK_CRASH_POINT=NAME:N`, several with commas, the
//! process ends by SIGKILL when it comes to such a place for the Nth time: nothing is unwound, nothing is flushed.
//! `MESHWORK_CRASH_POINT=list` prints all names. `MESHWORK_PLANTED` names bugs.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::Failure;

/// The variable that names crash points.
const VARIABLE: &str = "MESHWORK_CRASH_POINT";

/// All crash points, by the way of an order.
pub const POINTS: [&str; 33] = [
    "orders::append",
    "event_store::inserted",
    "event_store::committed",
    "event_log::insert",
    "event_log::acknowledged",
    "orders::created",
    "relay::read",
    "bus::inserted",
    "bus::committed",
    "jetstream::publish",
    "jetstream::acknowledged",
    "relay::published",
    "relay::noted",
    "consumer::handed_over",
    "products::gated",
    "products::moved",
    "outbox::appended",
    "products::applied",
    "consumer::done",
    "consumer::noted",
    "consumer::acknowledged",
    "projector::before_commit",
    "projector::applied",
    "letters::claimed",
    "letters::handed_over",
    "letters::noted",
    "sweep::due",
    "sweep::expired",
    "watchdog::asked",
    "sqlite::before_commit",
    "sqlite::committed",
    "postgres::before_commit",
    "postgres::committed",
];

/// Crash points that the life of an order doesn't lead to. It has some ten events, and a snapshot is of a hundred: a test of
/// crates/eventstore meets it. Accounts in several databases, and moving them, are met by tests of the users service, of
/// crates/sql, and of `meshwork shards`.
pub const ELSEWHERE: [&str; 22] = [
    "cache::before_put",
    "snapshot::saved",
    "users::claimed",
    "users::created",
    "users::confirmed",
    "users::released",
    "moving::journaled",
    "moving::cleaned",
    "moving::prepared",
    "moving::chunk",
    "moving::copied",
    "moving::brought",
    "moving::followed",
    "moving::fenced",
    "moving::rested",
    "moving::compared",
    "moving::drained",
    "moving::given",
    "moving::installed",
    "moving::deleting",
    "moving::deleted",
    "moving::unlogged",
];

/// Arms what the environment asks for. False when it has asked for the names of the crash points alone, which are printed.
///
/// # Errors
/// When it names what isn't there.
pub fn arm() -> Result<bool, Failure> {
    if let Some(name) = meshwork_chassis::ablation::unknown() {
        let variable = meshwork_chassis::ablation::VARIABLE;
        return Err(Failure::new(format!("{variable} names {name:?}, and there is no such bug"), "correct its name"));
    }
    let Ok(points) = std::env::var(VARIABLE) else { return Ok(true) };
    if points == "list" {
        POINTS.iter().for_each(|point| println!("{point}"));
        return Ok(false);
    }
    points.split(',').try_for_each(arm_point)?;
    Ok(true)
}

/// Arms one, `NAME` or `NAME:N`.
fn arm_point(point: &str) -> Result<(), Failure> {
    let (name, at) = parse(point);
    let refuse = |problem: String| Failure::new(problem, "`MESHWORK_CRASH_POINT=list meshwork` prints all of them");
    let Some(name) = POINTS.into_iter().chain(ELSEWHERE).find(|known| *known == name) else {
        return Err(refuse(format!("{VARIABLE} names {name:?}, and there is no such crash point")));
    };
    let hits = AtomicU64::new(0);
    let crash = move || {
        if hits.fetch_add(1, Ordering::SeqCst) + 1 == at {
            eprintln!("crash point {name}");
            // No crash handler of the system gets to see it, and no core is written.
            kill(Pid::this(), Signal::SIGKILL).ok();
            std::process::abort();
        }
    };
    fail::cfg_callback(name, crash).map_err(|problem| refuse(format!("{name} can't be armed: {problem}")))
}

/// The name, and at which hit. Names have colons in them too.
fn parse(point: &str) -> (&str, u64) {
    point.rsplit_once(':').and_then(|(name, at)| Some((name, at.parse().ok()?))).unwrap_or((point, 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn the_first_hit_is_meant_unless_another_is_named() {
        assert_eq!(parse("relay::read"), ("relay::read", 1));
        assert_eq!(parse("relay::read:17"), ("relay::read", 17));
        assert!(arm_point("relay::reed:1").unwrap_err().to_string().contains("no such crash point"));
    }

    fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                rust_files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn the_crash_points_in_the_sources_are_those_of_the_list() {
        // Asked at run time: checkouts may share one build folder.
        let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        let (mut files, mut placed) = (Vec::new(), BTreeSet::new());
        for folder in ["../../crates", "../../services"] {
            rust_files(&package.join(folder), &mut files);
        }
        for file in files {
            let text = std::fs::read_to_string(file).unwrap();
            let points = text.split(concat!("fail_point!", "(\"")).skip(1);
            placed.extend(points.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
        assert_eq!(placed, POINTS.into_iter().chain(ELSEWHERE).map(str::to_owned).collect::<BTreeSet<_>>());
    }
}
