//! One process of a NATS server.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::monitor;
use crate::process::{PATIENCE, freeze, kill_all, signal};

/// The folder, in a node's, of its streams.
pub(super) const STORE: &str = "store";
/// The file, in a node's folder, of its settings.
pub(super) const CONFIGURATION: &str = "nats.conf";
/// The file, in a node's folder, of what it logs.
const LOG: &str = "log";
/// How many bytes of a log are shown.
const LOG_SHOWN: usize = 4_000;

/// One node. Tests may play with it from several threads.
pub struct Node {
    name: String,
    folder: PathBuf,
    scheme: &'static str,
    address: SocketAddr,
    monitor: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl Node {
    pub(super) fn new(name: String, folder: PathBuf, scheme: &'static str, port: u16, monitor: u16) -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { name, folder, scheme, address: at(port), monitor: at(monitor), child: Mutex::new(None) }
    }

    /// What it is called in answers of the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL: `nats://HOST:PORT`, or `tls://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Where it listens to clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether its process is there, frozen or not.
    pub fn is_running(&self) -> bool {
        self.child().as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Kills it (SIGKILL), as a host that is lost would; what it has stored stays.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            kill_all(&mut child);
        }
    }

    /// Kills it without waiting for its end.
    pub(super) fn send_kill(&self) {
        if let Some(child) = self.child().as_ref() {
            signal(child, Signal::SIGKILL);
        }
    }

    /// Ends it as an operator would (SIGTERM), and returns when it has ended. A frozen one goes on for that.
    ///
    /// # Panics
    /// When that takes more than a minute.
    pub fn stop(&self) {
        let Some(mut child) = self.child().take() else { return };
        signal(&child, Signal::SIGTERM);
        signal(&child, Signal::SIGCONT);
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() >= deadline {
                kill_all(&mut child);
                panic!("nats-server did not end within {PATIENCE:?}: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again on the same port and store, and returns when it listens. It may not be healthy yet: in a cluster
    /// that takes more nodes than it.
    ///
    /// # Panics
    /// When it runs already, or doesn't start.
    pub fn restart(&self) {
        assert!(!self.is_running(), "the node {} runs", self.name);
        let deadline = Instant::now() + PATIENCE;
        self.spawn();
        while !self.listens() {
            assert!(Instant::now() < deadline, "nats-server did not start again: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
            if !self.is_running() {
                // Its port may still be in use, for a moment.
                std::thread::sleep(Duration::from_millis(100));
                self.spawn();
            }
        }
    }

    /// Stops it, as a host that hangs would. Its connections stay.
    ///
    /// # Panics
    /// When it doesn't run.
    pub fn freeze(&self) {
        freeze(self.child().as_ref().expect("only a node that runs is frozen").id());
    }

    /// Lets a frozen node go on.
    ///
    /// # Panics
    /// When it doesn't run.
    pub fn thaw(&self) {
        signal(self.child().as_ref().expect("only a node that runs goes on"), Signal::SIGCONT);
    }

    /// Removes all that it has stored, what it knows of its cluster included.
    ///
    /// # Panics
    /// While it runs.
    pub fn delete_store(&self) {
        match fs::remove_dir_all(self.idle_store()) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("cannot remove the store: {error}"),
            _ => {}
        }
    }

    /// The folder of what it has stored, which nobody writes now.
    pub(super) fn idle_store(&self) -> PathBuf {
        assert!(!self.is_running(), "the store of a node that runs isn't touched");
        self.folder.join(STORE)
    }

    pub(super) fn spawn(&self) {
        let log = File::options().create(true).append(true).open(self.folder.join(LOG)).unwrap();
        let program = program();
        let spawned = Command::new(&program)
            .arg("--config")
            .arg(self.folder.join(CONFIGURATION))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        match spawned {
            Ok(child) => *self.child() = Some(child),
            Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                "this test needs a NATS server, and there is no `{}`: run `cargo xtask test`, which installs it and \
                 says where it is (MESHWORK_TEST_NATS), or put `nats-server` on the PATH",
                program.display()
            ),
            Err(error) => panic!("cannot start {}: {error}", program.display()),
        }
    }

    /// Whether it, and no other server, answers.
    fn listens(&self) -> bool {
        monitor::ask(self.monitor, "/varz").is_ok_and(|told| told["server_name"] == self.name.as_str())
    }

    /// Whether it says so.
    pub(super) fn is_healthy(&self) -> bool {
        self.listens() && monitor::ask(self.monitor, "/healthz").is_ok()
    }

    /// Who leads the cluster's assets, as far as this node knows; `None` while it isn't sure of it.
    pub(super) fn meta_leader(&self) -> Option<String> {
        let told = monitor::ask(self.monitor, "/jsz").ok()?;
        let leader = told["meta_cluster"]["leader"].as_str().filter(|leader| !leader.is_empty())?;
        Some(leader.to_owned())
    }

    /// Whether it says that it leads a stream.
    pub(super) fn leads(&self, stream: &str) -> bool {
        let Ok(told) = monitor::ask(self.monitor, "/jsz?streams=true") else { return false };
        let accounts = told["account_details"].as_array().into_iter().flatten();
        let mut streams = accounts.filter_map(|account| account["stream_detail"].as_array()).flatten();
        // Outside a cluster there is no word of leaders.
        streams.any(|it| it["name"] == stream && [None, Some(&*self.name)].contains(&it["cluster"]["leader"].as_str()))
    }

    /// The end of what it has logged.
    pub(super) fn log(&self) -> String {
        let log = fs::read(self.folder.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that has failed is to end its servers all the same.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn program() -> PathBuf {
    let named = std::env::var_os("MESHWORK_TEST_NATS").filter(|path| !path.is_empty());
    named.map_or_else(|| Path::new("nats-server").to_owned(), PathBuf::from)
}
