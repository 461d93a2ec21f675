//! The processes of a test. Each one ends with the value that stands for it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::server::{LISTEN, READY};

/// Tells a process that it was started for one test alone.
const ALONE: &str = "MESHWORK_FAULTS_ALONE";

/// An address that nobody listens on and that no connection takes by chance: an IP address of its own.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, Ordering::SeqCst);
    (Ipv4Addr::new(127, high | 128, low, last), 50051).into()
}

/// A server and where it is, whether it runs or not.
pub struct Server {
    pub address: SocketAddr,
    running: Option<Running>,
}

struct Running {
    child: Child,
    orders: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Server {
    /// A server that runs.
    pub fn start() -> Self {
        let mut server = Self::stopped();
        server.start_again();
        server
    }

    /// Three of them.
    pub fn three() -> Vec<Self> {
        (0..3).map(|_| Self::start()).collect()
    }

    /// A server that does not run yet.
    pub fn stopped() -> Self {
        Self { address: free_address(), running: None }
    }

    /// Starts it, and returns when it listens.
    pub fn start_again(&mut self) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "server::process", "--nocapture"]).env(LISTEN, self.address.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut running = Running { child, orders, lines };
        running.wait_for(READY);
        self.running = Some(running);
    }

    /// Tells it how to be (`delay MS`, `refuse PERCENT`), and returns when it has heard.
    pub fn order(&mut self, line: &str) {
        let running = self.running.as_mut().unwrap();
        writeln!(running.orders, "{line}").unwrap();
        running.wait_for(line);
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        // The shell has a `kill` of its own everywhere; `std` knows SIGKILL only.
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Stops it; returns when it does nothing any more.
    pub fn freeze(&self) {
        meshwork_testkit::freeze(self.id());
    }

    /// As `kill -9` does; returns when it is gone.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.running.as_mut().unwrap().child.try_wait(), Ok(None))
    }

    /// How many descriptors it has open: one more for each connection.
    pub fn descriptors(&self) -> usize {
        descriptors(&self.id().to_string())
    }

    /// Its name as an endpoint.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    fn id(&self) -> u32 {
        self.running.as_ref().unwrap().child.id()
    }
}

impl Running {
    fn wait_for(&mut self, line: &str) {
        let mut read = String::new();
        while read.trim_end() != line {
            read.clear();
            assert!(self.lines.read_line(&mut read).unwrap() > 0, "a server ended before it said {line:?}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ends one that is stopped as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many descriptors a process has open; `self` is this one.
pub fn descriptors(process: &str) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Runs the test `name` in a process of its own, where nothing else opens descriptors.
pub fn alone(name: &str, test: impl FnOnce()) {
    if std::env::var_os(ALONE).as_deref() == Some(OsStr::new(name)) {
        return test();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env(ALONE, name).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
}
