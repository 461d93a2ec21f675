//! The shop under load, and its judge: `meshwork load` and `meshwork audit` as processes.

#![allow(dead_code, reason = "the ordeal uses it too")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use meshwork_testkit::Up;
use meshwork_testkit::up::{command, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a load may take beyond its placing: what is under way is waited for, and tried again meanwhile.
const REST: Duration = Duration::from_secs(300);
/// How long the orders that somebody waits for may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `meshwork load`. It is killed when it is dropped.
pub struct Load {
    child: Child,
    history: PathBuf,
    /// How long the history was when it began.
    begin: u64,
    log: PathBuf,
    /// For how long it still places orders, at most.
    seconds: u64,
}

/// Whether a line of a history is the answer to a call that was carried out.
fn is_well(line: &str) -> bool {
    line.contains(r#""status":"OK""#)
}

impl Load {
    /// Places orders at the gateway `target` for so many seconds, as `more` says. `folder` has the accounts that it keeps,
    /// the history and its log.
    pub fn start(folder: &Path, target: &str, credentials: &Path, (rate, seconds): (u32, u64), more: &[&str]) -> Self {
        let (history, log) = (folder.join("history.jsonl"), folder.join("load.log"));
        let begin = std::fs::metadata(&history).map_or(0, |history| history.len());
        let said = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = command(folder);
        command.args(["load", "--output", "json", "--target", target, "--rate", &rate.to_string()]);
        command.args(["--seconds", &seconds.to_string(), "--history"]).arg(&history);
        command.arg("--staff-credentials").arg(credentials).args(more);
        let child = command.stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        Self { child, history, begin, log, seconds }
    }

    /// What it asked for and was told, over all runs in its folder.
    pub fn history(&self) -> &Path {
        &self.history
    }

    /// How many calls of this run were answered well so far.
    pub fn answered(&self) -> usize {
        self.count(is_well)
    }

    /// How many orders of this run were created so far, as its clients know.
    fn created(&self) -> usize {
        self.count(|line| is_well(line) && line.contains(r#""state":"PENDING""#))
    }

    /// Waits until so many calls were answered well.
    pub fn has_answers(&mut self, count: usize) {
        self.comes_to(count, Self::answered);
    }

    /// Waits until so many orders were created.
    pub fn has_created(&mut self, count: usize) {
        self.comes_to(count, Self::created);
    }

    fn count(&self, is_such: impl Fn(&str) -> bool) -> usize {
        let Ok(mut history) = File::open(&self.history) else { return 0 };
        history.seek(SeekFrom::Start(self.begin)).unwrap();
        let lines = BufReader::new(history).lines().map_while(Result::ok);
        lines.filter(|line| is_such(line)).count()
    }

    fn comes_to(&mut self, wanted: usize, counted: fn(&Self) -> usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let count = counted(self);
            if count >= wanted {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the load has ended: {}", self.said());
            assert!(Instant::now() < deadline, "{count} of {wanted} after {PATIENCE:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has it end early: it places no more orders, and waits for those that are under way.
    pub fn interrupt(&mut self) {
        self.seconds = 0;
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
    }

    /// Waits for its end and returns its report.
    pub fn report(mut self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(self.seconds) + REST;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the load did not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What `meshwork audit` has found.
pub struct Audit {
    /// Its exit code.
    pub code: Option<i32>,
    /// The invariants that are violated, such as `I8`.
    pub violated: Vec<String>,
    /// How long it took until nothing was violated any more.
    pub settled: Duration,
    /// All that it has printed.
    pub printed: String,
}

impl Audit {
    /// Reads what a finished audit has printed, as JSON.
    pub fn of(output: &Output) -> Self {
        let printed = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let invariants = json["invariants"].as_array().map(Vec::as_slice).unwrap_or_default();
        let violated = invariants.iter().filter(|invariant| invariant["verdict"] == "violated");
        let violated = violated.filter_map(|invariant| invariant["id"].as_str()).map(str::to_owned).collect();
        let settled = Duration::from_millis(json["settled_ms"].as_u64().unwrap_or_default());
        Self { code: output.status.code(), violated, settled, printed }
    }

    /// Audits an `up`, with a history if there is one.
    pub fn of_up(up: &Up, history: Option<&Path>, settle: &str) -> Self {
        let target = format!("http://{}", up.address("gateway"));
        let mut args =
            ["audit", "--output", "json", "--settle", settle, "--target", &target].map(str::to_owned).to_vec();
        args.extend(history.into_iter().flat_map(|path| ["--history".to_owned(), path.display().to_string()]));
        args.extend(["--staff-credentials".to_owned(), up.data().join("credentials/staff.json").display().to_string()]);
        Self::of(&up.run(args))
    }

    /// Fails unless every invariant holds.
    #[track_caller]
    pub fn holds(&self) {
        assert!(self.code == Some(0) && self.violated.is_empty(), "exit code {:?}: {}", self.code, self.printed);
    }

    /// Fails unless one of these is violated.
    #[track_caller]
    pub fn finds(&self, fitting: &[&str]) {
        assert_eq!(self.code, Some(1), "{}", self.printed);
        let is_found = self.violated.iter().any(|id| fitting.contains(&id.as_str()));
        assert!(is_found, "{:?} are violated, and of {fitting:?} none: {}", self.violated, self.printed);
    }
}
