//! `meshwork events tail`.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use meshwork_testkit::Up;
use meshwork_testkit::up::{command, text};
use serde_json::Value;

/// How long an event, or the end of the process, may take.
const BOUND: Duration = Duration::from_secs(60);

/// A running `events tail`. It is killed when it is dropped.
pub struct Tail {
    child: Child,
    events: mpsc::Receiver<String>,
    said: mpsc::Receiver<String>,
}

/// Hands over the lines of a pipe.
pub fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let all = BufReader::new(pipe).lines().map_while(Result::ok);
        // The test may have ended.
        all.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
    });
    lines
}

impl Tail {
    /// Starts it, and waits until it reads.
    pub fn start(state: &Path, args: &[&str]) -> Self {
        let mut command = command(state);
        command.args(["events", "tail", "--output", "json"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (events, said) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        let tail = Self { child, events, said };
        tail.says("reading events from");
        tail
    }

    /// Waits for a line of standard error that begins so.
    pub fn says(&self, beginning: &str) {
        let deadline = Instant::now() + BOUND;
        let mut said = Vec::new();
        loop {
            let line = self.said.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| panic!("{beginning:?}: {error}, after {said:?}"));
            if line.starts_with(beginning) {
                return;
            }
            said.push(line);
        }
    }

    /// The next event of an aggregate and a type; others are passed over.
    pub fn event(&self, subject: &str, event_type: &str) -> Value {
        let deadline = Instant::now() + BOUND;
        loop {
            let line = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| panic!("{event_type} of {subject}: {error}"));
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["subject"] == subject && event["type"] == event_type {
                return event;
            }
        }
    }

    /// Waits until it has shown all events of orders that were placed, confirmed and allocated; the orders' events may
    /// come among each other.
    pub fn shows_all_of(&self, orders: &[String]) {
        let types = ["order_created", "order_confirmed", "order_allocated"];
        let all = |order: &String| types.map(|event_type| (order.clone(), event_type.to_owned()));
        let mut missing: HashSet<_> = orders.iter().flat_map(all).collect();
        let deadline = Instant::now() + BOUND;
        while !missing.is_empty() {
            let line = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| panic!("{missing:?}: {error}"));
            let event: Value = serde_json::from_str(&line).unwrap();
            if let (Some(subject), Some(event_type)) = (event["subject"].as_str(), event["type"].as_str()) {
                missing.remove(&(subject.to_owned(), event_type.to_owned()));
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits for the end of a process.
pub fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// Runs the demo; returns the name of its order.
pub fn demo(up: &Up) -> String {
    let target = format!("http://{}", up.address("gateway"));
    let demo = up.run(["demo", "--target", &target, "--output", "json"]);
    assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), up.log());
    let outcome: Value = serde_json::from_slice(&demo.stdout).unwrap();
    assert_eq!(outcome["state"], "CONFIRMED", "{outcome}");
    outcome["order"].as_str().unwrap().to_owned()
}

/// Holds an order's events against what the demo does.
pub fn assert_shows(tail: &Tail, order: &str) {
    let created = tail.event(order, "order_created");
    assert_eq!((&created["stream"], &created["version"]), (&Value::from("orders"), &Value::from(1)), "{created}");
    assert_eq!(created["event"]["order"], order, "{created}");
    assert!(created["actor"].as_str().unwrap().starts_with("users/"), "{created}");
    let confirmed = tail.event(order, "order_confirmed");
    assert_eq!(confirmed["id"], format!("{order}:{}", confirmed["version"]), "{confirmed}");
}

#[test]
fn a_tail_shows_what_comes_or_what_was_there_and_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let data = up.data();
    let data = data.to_str().unwrap();
    let earlier = demo(&up);
    let mut tail = Tail::start(&up.state(), &["--data", data, "--stream", "orders", "--type", "order_created"]);
    let order = demo(&up);
    // What was there before is passed over.
    let first: Value = serde_json::from_str(&tail.events.recv_timeout(BOUND).unwrap()).unwrap();
    assert_eq!((&first["subject"], &first["type"]), (&Value::from(order), &Value::from("order_created")));
    run(Command::new("kill").args(["-INT", &tail.child.id().to_string()]));
    assert!(ended(&mut tail.child).success());

    let whole = Tail::start(&up.state(), &["--data", data, "--from", "start", "--subject", &earlier]);
    assert_shows(&whole, &earlier);
}

#[test]
fn a_tail_whose_reader_has_gone_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    demo(&up);
    let mut tail = command(&up.state());
    tail.args(["events", "tail", "--from", "start", "--data"]).arg(up.data());
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(tail.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(first.contains(", version "), "{first}");
    drop(out);
    // It finds out when there is something to print.
    demo(&up);
    let status = ended(&mut tail);
    let mut said = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.lines().all(|line| line.starts_with("reading events from ")), "{said}");
}

#[test]
fn a_tail_without_a_bus_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let tail = command(folder.path()).args(["events", "tail", "--data"]).arg(folder.path()).output().unwrap();
    let said = text(&tail.stderr);
    assert!(!tail.status.success() && said.contains("there is no event bus in"), "{said}");
    assert!(said.contains("--nats"), "{said}");
    assert!(!folder.path().join("bus").exists());
}
