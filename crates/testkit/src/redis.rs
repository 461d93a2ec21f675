//! A real Redis: the one that `MESHWORK_TEST_REDIS_URL` names, or a private `redis-server` in a folder of the test's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cluster;
mod connection;

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::{free_port, freeze, signal};

pub use cluster::RedisCluster;
pub use connection::Connection;
use connection::PATIENCE;

/// A port that nobody listens on.
const NOBODY: u16 = 1;

/// A Redis that tests may use. A private one is killed when it is dropped.
pub struct Redis {
    url: String,
    private: Option<Private>,
}

/// A server of the test's own, and how it was started.
struct Private {
    child: Mutex<Child>,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Redis {
    /// The Redis of `MESHWORK_TEST_REDIS_URL`, which may hold the keys of others, or else a private one.
    ///
    /// # Panics
    /// As [`Redis::private`].
    pub fn start() -> Self {
        match std::env::var("MESHWORK_TEST_REDIS_URL") {
            Ok(url) if !url.is_empty() => Self { url, private: None },
            _ => Self::private(&[]),
        }
    }

    /// A `redis-server` of the test's own, on a free port of the loopback interface, with more `arguments`. It keeps nothing
    /// on disk, unless they say so (`--appendonly yes`), or the test does ([`Redis::save_now`]).
    ///
    /// # Panics
    /// When there is no `redis-server`, or it doesn't start.
    pub fn private(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        for _ in 0..5 {
            // Another process may take the port in between: then the server ends, and the next port is tried.
            let port = free_port();
            let folder = tempfile::tempdir().unwrap();
            let child = Mutex::new(spawn(port, folder.path(), &arguments));
            let private = Private { child, folder, arguments: arguments.clone() };
            let redis = Self { url: format!("redis://127.0.0.1:{port}"), private: Some(private) };
            if redis.gets_ready() {
                return redis;
            }
        }
        panic!("redis-server ended at its start, five times");
    }

    /// Whether it gets ready; not so when it ends instead.
    fn gets_ready(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child().try_wait().unwrap().is_some() {
                return false;
            }
            if self
                .connect()
                .and_then(|mut connection| connection.try_command(&["PING"]))
                .is_ok_and(|pong| pong == "PONG")
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server did not get ready within {PATIENCE:?}");
    }

    /// Its URL, `redis://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port.
    ///
    /// # Panics
    /// When the URL names none.
    pub fn port(&self) -> u16 {
        let port = self.host().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or_else(|| panic!("{} names no port", self.url))
    }

    /// The host and the port.
    fn host(&self) -> &str {
        self.url.trim_start_matches("redis://").split('/').next().unwrap_or_default()
    }

    fn connect(&self) -> std::io::Result<Connection> {
        Connection::to(self.host())
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn connection(&self) -> Connection {
        self.connect().unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.url))
    }

    /// Stops the process of a private Redis, as a host that hangs would. Its connections stay.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn freeze(&self) {
        let id = self.child().id();
        freeze(id);
    }

    /// Lets a frozen Redis go on.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn thaw(&self) {
        signal(&self.child(), Signal::SIGCONT);
    }

    /// Kills the process of a private Redis (`SIGKILL`), frozen or not, and waits for its end.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().ok();
        child.wait().ok();
    }

    /// Starts a private Redis that was killed, on its port, in its folder and with its arguments: with the data of its last
    /// [`Redis::save_now`], or without any, unless it keeps them on disk by itself.
    ///
    /// # Panics
    /// When it isn't private, or doesn't start within half a minute.
    pub fn start_again(&self) {
        self.kill();
        let Private { child, folder, arguments } = self.of_the_test();
        let port = self.port();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            *child.lock().unwrap() = spawn(port, folder.path(), arguments);
            if self.gets_ready() {
                return;
            }
            // Somebody has the port for a moment.
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server did not start again on port {port} within {PATIENCE:?}");
    }

    /// Saves all keys to disk (RDB), as they are now: what is written later is gone after [`Redis::kill`] and
    /// [`Redis::start_again`]. A key whose time has run out meanwhile is gone too.
    ///
    /// # Panics
    /// When it isn't private, or doesn't answer.
    pub fn save_now(&self) {
        // The disk of a server that others use is theirs.
        self.of_the_test();
        self.connection().command(&["SAVE"]);
    }

    /// Deletes all keys.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn flush(&self) {
        self.connection().command(&["FLUSHALL"]);
    }

    /// Makes it a replica of another, whose data it takes over; returns when it follows it. Connections stay, and what they
    /// write is refused.
    ///
    /// # Panics
    /// When it doesn't answer, or can't follow within half a minute.
    pub fn replica_of(&self, other: &Redis) {
        self.demote(other.port());
        wait_until("the replica", || {
            self.connection().command(&["INFO", "replication"]).contains("master_link_status:up")
        });
    }

    /// Makes it a replica of whoever listens, or doesn't, on a port of the loopback interface, and doesn't wait for it.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn demote(&self, port: u16) {
        self.connection().command(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
    }

    /// Has a replica follow nobody from now on: it keeps the data that it has, falls behind, and refuses writes until
    /// [`Redis::promote`].
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn fall_behind(&self) {
        self.demote(NOBODY);
    }

    /// Makes it a primary, with the data that it has.
    ///
    /// # Panics
    /// When it doesn't answer.
    pub fn promote(&self) {
        self.connection().command(&["REPLICAOF", "NO", "ONE"]);
    }

    fn of_the_test(&self) -> &Private {
        self.private.as_ref().expect("only a private Redis is frozen, killed or saved")
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.of_the_test().child.lock().unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.private.is_some() {
            self.kill();
        }
    }
}

/// A `redis-server` on a port, in a folder.
fn spawn(port: u16, folder: &Path, arguments: &[String]) -> Child {
    let spawned = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "this test needs a Redis, and there is no `redis-server` on the PATH: run `cargo xtask setup`, or set \
             MESHWORK_TEST_REDIS_URL to a Redis that tests may use"
        ),
        Err(error) => panic!("cannot start redis-server: {error}"),
    }
}

/// Looks again and again.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not get ready within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
