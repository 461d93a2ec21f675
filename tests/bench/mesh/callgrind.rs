//! Instructions and allocations per call, counted by callgrind: the same from run to run, whatever else the machine does.
//!
//! Where they go is in the profiles, which `--profiles FOLDER` keeps: `callgrind_annotate --inclusive=yes FOLDER/PATH.4000`.
//! What differs between the runs of 1,000 and of 4,000 calls belongs to 3,000 calls.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::paths::PATIENT;
use crate::processes::{Fleet, Obedient, client_command};
use crate::run::Way;

/// The two runs whose difference is counted, so that the start is not.
const CALLS: (u32, u32) = (1_000, 4_000);
/// What hands out memory.
const ALLOCATORS: &[&str] = &["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// What a call costs the client.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub instructions: f64,
    pub allocations: f64,
}

/// Whether there is callgrind.
pub fn is_there() -> bool {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    valgrind.is_ok_and(|status| status.success())
}

/// Counts what a call on the path costs; the profiles are left in `folder`.
pub fn count(way: &Way, fleet: &Fleet, folder: &Path) -> Option<Counts> {
    let run = |calls: u32| {
        let file = folder.join(format!("{}.{calls}", way.name));
        let client = client_command(&way.name, &way.addresses(fleet));
        let mut command = Command::new("valgrind");
        command.args(["-q", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", file.display()));
        command.arg(client.get_program()).args(client.get_args()).env(PATIENT, "1").stderr(Stdio::null());
        let mut client = Obedient::new(command);
        client.order(&format!("count {calls}"));
        let failed = client.result()?["failed"].as_u64()?;
        client.end();
        // A call that fails costs something else.
        if failed > u64::from(calls / 100) {
            return None;
        }
        read(&file)
    };
    let (few, many) = (run(CALLS.0)?, run(CALLS.1)?);
    let each =
        |few: u64, many: u64| f64::from(u32::try_from(many - few).unwrap_or(u32::MAX)) / f64::from(CALLS.1 - CALLS.0);
    Some(Counts { instructions: each(few.0, many.0), allocations: each(few.1, many.1) })
}

/// Instructions and allocations of a whole run.
fn read(file: &Path) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(file).ok()?;
    let (mut instructions, mut allocations) = (None, 0);
    // A function is named in full where it comes first, as `(7) name`, and as `(7)` after that.
    let mut ours = Vec::new();
    let mut is_ours = false;
    for line in text.lines() {
        if let Some((key, name)) = line.split_once('=').filter(|(key, _)| ["fn", "cfn"].contains(key)) {
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            if ALLOCATORS.contains(&name) {
                ours.push(number);
            }
            is_ours = key == "cfn" && ours.contains(&number);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if is_ours {
                allocations += calls.split(' ').next()?.parse::<u64>().ok()?;
            }
        } else if let Some(total) = line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")) {
            instructions = total.trim().parse().ok();
        }
    }
    Some((instructions?, allocations))
}
