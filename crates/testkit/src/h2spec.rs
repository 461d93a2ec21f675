//! `h2spec`, which breaks the rules of RFC 7540 and RFC 7541 one by one: the program that `MESHWORK_TEST_H2SPEC` names.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long it waits for each answer, in seconds, and how long all of it may take.
const PATIENCE: &str = "2";
const BOUND: Duration = Duration::from_secs(120);
/// Fewer cases are no run.
const CASES: usize = 100;

/// What a run has found.
#[derive(Debug)]
pub struct Report {
    /// How many cases there were.
    cases: usize,
    /// Those that have failed, each by its section and its title.
    failed: BTreeSet<(String, String)>,
}

impl Report {
    /// Those in `sometimes`, by section and title, may have failed, and no other.
    ///
    /// # Panics
    /// When others have failed, or hardly any were run.
    #[track_caller]
    pub fn assert_failures(&self, sometimes: &[(&str, &str)]) {
        self.assert_failures_within(&[], sometimes);
    }

    /// As [`Report::assert_failures`]; and so may any in these sections.
    ///
    /// # Panics
    /// When others have failed, or hardly any were run.
    #[track_caller]
    pub fn assert_failures_within(&self, sections: &[&str], sometimes: &[(&str, &str)]) {
        assert!(self.cases > CASES, "{} cases", self.cases);
        let is_expected = |(section, title): &(String, String)| {
            sections.contains(&section.as_str()) || sometimes.contains(&(section.as_str(), title.as_str()))
        };
        let unexpected: Vec<_> = self.failed.iter().filter(|case| !is_expected(case)).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    }
}

/// Runs it on the server at `address`, with `path` as the method of its calls. Blocks the thread.
///
/// # Panics
/// When it isn't there, or takes longer than two minutes.
#[must_use]
pub fn run(address: SocketAddr, path: &str) -> Report {
    let program = std::env::var_os("MESHWORK_TEST_H2SPEC");
    let program = program.expect("MESHWORK_TEST_H2SPEC is not set; run `cargo xtask test`, which installs h2spec");
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let mut child = Command::new(program)
        .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "-P", path, "-o", PATIENCE, "-j"])
        .arg(&report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > BOUND {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("h2spec takes longer than {BOUND:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = std::fs::read_to_string(&report).unwrap();
    let attribute = |case: &str, name: &str| {
        let (_, value) = case.split_once(&format!(" {name}=\"")).unwrap();
        value.split_once('"').unwrap().0.to_owned()
    };
    let cases: Vec<_> = report.split("<testcase").skip(1).collect();
    let failed = cases
        .iter()
        .filter(|case| case.contains("<error>") || case.contains("<failure>"))
        .map(|case| (attribute(case, "package"), attribute(case, "classname")))
        .collect();
    Report { cases: cases.len(), failed }
}
