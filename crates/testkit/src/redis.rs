//! A real Redis: the one that `MESHWORK_TEST_REDIS_URL` names, or a private `redis-server` in a folder of the test's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::{freeze, signal};

/// How long the start, or the answer to a command, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis that tests may use. A private one is killed when it is dropped.
pub struct Redis {
    url: String,
    private: Option<(Child, TempDir)>,
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

    /// A `redis-server` of the test's own, on a free port of the loopback interface, with more `arguments`.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it doesn't start.
    pub fn private(arguments: &[&str]) -> Self {
        for _ in 0..5 {
            // Another process may take the port in between: then the server ends, and the next port is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            let spawned = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .arg("--dir")
                .arg(folder.path())
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let child = match spawned {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                    "this test needs a Redis, and there is no `redis-server` on the PATH: run `cargo xtask setup`, or set \
                     MESHWORK_TEST_REDIS_URL to a Redis that tests may use"
                ),
                Err(error) => panic!("cannot start redis-server: {error}"),
            };
            let url = format!("redis://127.0.0.1:{port}");
            let mut redis = Self { url, private: Some((child, folder)) };
            if redis.gets_ready() {
                return redis;
            }
        }
        panic!("redis-server ended at its start, five times");
    }

    /// Whether it gets ready; not so when it ends instead.
    fn gets_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let (child, _) = self.private.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
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

    fn connect(&self) -> std::io::Result<Connection> {
        let host = self.url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { reader: BufReader::new(stream) })
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
        freeze(self.child().id());
    }

    /// Lets a frozen Redis go on.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn thaw(&self) {
        signal(self.child(), Signal::SIGCONT);
    }

    fn child(&self) -> &Child {
        &self.private.as_ref().expect("only a private Redis is frozen").0
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.private {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A connection that waits for each answer.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// The answer to a command: the items of an array stand on lines of their own.
    ///
    /// # Panics
    /// When the answer is an error, or there is none.
    pub fn command<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> String {
        self.try_command(arguments).unwrap_or_else(|error| panic!("Redis: {error}"))
    }

    fn try_command<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> std::io::Result<String> {
        let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        self.reader.get_mut().write_all(&request)?;
        self.reply()
    }

    fn reply(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or(ErrorKind::UnexpectedEof)?;
        let length = rest.parse::<usize>().ok();
        match (kind, length) {
            ("+" | ":", _) => Ok(rest.to_owned()),
            ("$", Some(length)) => {
                let mut text = vec![0; length + 2];
                self.reader.read_exact(&mut text)?;
                Ok(String::from_utf8_lossy(&text[..length]).into_owned())
            }
            ("*", Some(length)) => Ok((0..length).map(|_| self.reply()).collect::<Result<Vec<_>, _>>()?.join("\n")),
            ("$" | "*", None) => Ok(String::new()),
            _ => Err(std::io::Error::other(rest.to_owned())),
        }
    }
}
