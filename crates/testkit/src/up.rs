//! The real binary: `meshwork up` in a process of its own, on a data folder of the test's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

use crate::gateway::Gateway;

/// How long the start may take.
const START: Duration = Duration::from_secs(60);
/// How long the stop may take after SIGTERM: a little more than the binary's own bound.
const STOP: Duration = Duration::from_secs(40);

/// For how long an audit looks again while something is under way.
pub const SETTLE: &str = "60s";

/// Settings under which tests, whose callers are all at one address, aren't slowed down by limits of what an address may do, and may
/// call to their end by the tokens that they have begun with.
pub const UNLIMITED: &[(&str, &str)] = &[
    ("MESHWORK_GATEWAY__RATE_LIMIT__BURST", "1000000"),
    ("MESHWORK_GATEWAY__RATE_LIMIT__PER_SECOND", "1000000"),
    ("MESHWORK_USERS__SIGN_IN__ADDRESS_BURST", "1000000"),
    ("MESHWORK_USERS__SIGN_IN__ADDRESS_PER_SECOND", "1000000"),
    ("MESHWORK_USERS__SIGN_UP__ADDRESS_BURST", "1000000"),
    ("MESHWORK_USERS__SIGN_UP__ADDRESS_PER_SECOND", "1000000"),
    ("MESHWORK_USERS__PASSWORDS__WAITING_PER_ADDRESS", "512"),
    LONG_TOKENS,
];

/// A setting under which access tokens live for longer than any test.
pub const LONG_TOKENS: (&str, &str) = ("MESHWORK_USERS__ACCESS_TOKEN_TTL", "6h");

/// The binary under test.
///
/// # Panics
/// When `MESHWORK_TEST_BIN` is not set: `cargo xtask test` builds the binary and sets it.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("MESHWORK_TEST_BIN").map(PathBuf::from);
    path.expect("MESHWORK_TEST_BIN is not set; run `cargo xtask test`, which builds the binary and hands over its path")
}

/// The binary, ready for arguments, with a state folder of the test's own.
pub fn command(state: &Path) -> Command {
    command_of(&binary(), state)
}

/// As [`command`], of another binary.
pub fn command_of(binary: &Path, state: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MESHWORK_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_STATE_HOME", state).stdin(Stdio::null());
    command
}

pub use crate::gateway::{Token, with};

/// A running `meshwork up`. It is killed when it is dropped.
pub struct Up {
    child: Child,
    /// The lines that it prints. Locked, so that tests can share an `Up` between tasks.
    printed: Mutex<mpsc::Receiver<String>>,
    data: PathBuf,
    addresses: HashMap<String, SocketAddr>,
    output: String,
}

impl Up {
    /// Starts it on `data` with `settings` as environment variables and waits until it is ready.
    ///
    /// The state folder is `data/state`.
    ///
    /// # Panics
    /// When it doesn't get ready; the message shows what it printed.
    pub fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::try_start(data, settings).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// As [`Up::start`], but gives what went wrong.
    ///
    /// # Errors
    /// What it printed instead of getting ready.
    pub fn try_start(data: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        Self::try_start_with(data, &[], settings)
    }

    /// As [`Up::try_start`], with more arguments. Its port is any that is free, unless one is among them.
    ///
    /// # Errors
    /// As [`Up::try_start`].
    pub fn try_start_with(data: &Path, args: &[&str], settings: &[(&str, &str)]) -> Result<Self, String> {
        let mut starting = Self::spawn_with(data, args, settings);
        if starting.ready_by(Instant::now() + START) {
            return Ok(starting);
        }
        starting.kill();
        Err(format!("`up` did not get ready; it printed:\n{}\nand logged:\n{}", starting.output, starting.log()))
    }

    /// As [`Up::start`], but doesn't wait: the process may be killed before it is ready. Addresses are known, and calls
    /// may be made, once [`Up::ready_by`] has said so.
    ///
    /// # Panics
    /// When the process can't be made.
    pub fn spawn(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn_with(data, &[], settings)
    }

    /// As [`Up::spawn`], with more arguments.
    ///
    /// # Panics
    /// As [`Up::spawn`].
    pub fn spawn_with(data: &Path, args: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = command(&data.join("state"));
        command.args(["up", "--ops-port", "0", "--data"]).arg(data.join("data")).args(args);
        if !args.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        command.envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, printed) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The test may have ended.
                lines.send(line).ok();
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let log = data.join("log");
        std::thread::spawn(move || {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
            std::io::copy(&mut stderr, &mut file).ok();
        });
        Self {
            child,
            printed: Mutex::new(printed),
            data: data.to_owned(),
            addresses: HashMap::new(),
            output: String::new(),
        }
    }

    /// Waits until it is ready, at most until `deadline`. Tells whether it is; not so when it has ended instead.
    pub fn ready_by(&mut self, deadline: Instant) -> bool {
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.printed.get_mut().unwrap().recv_timeout(patience) else { return false };
            let mut words = line.split_whitespace();
            if let (Some(name), Some(Ok(address))) = (words.next(), words.next().map(str::parse)) {
                self.addresses.insert(name.to_owned(), address);
            }
            self.output.push_str(&line);
            self.output.push('\n');
            if line.starts_with("ready in ") {
                return true;
            }
        }
    }

    /// What it printed until it was ready.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// What it has logged, over all starts on its folder.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("log")).unwrap_or_default()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address in the line of the printed table that begins with `name`.
    ///
    /// # Panics
    /// When there is no such line.
    pub fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).unwrap_or_else(|| panic!("no {name} in:\n{}", self.output))
    }

    /// The folder of its databases.
    pub fn data(&self) -> PathBuf {
        self.data.join("data")
    }

    /// The folder in which it notes where its staff account is.
    pub fn state(&self) -> PathBuf {
        self.data.join("state")
    }

    /// The mails it has sent.
    pub fn mails(&self) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.data().join("notifications/mail"));
        let files = folder.into_iter().flatten().map(|entry| entry.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|extension| extension == "eml")).collect()
    }

    /// A channel of its own to the gateway.
    pub fn channel(&self) -> Channel {
        self.channel_to("gateway")
    }

    /// A channel of its own to one of the services.
    pub fn channel_to(&self, service: &str) -> Channel {
        let target = format!("http://{}", self.address(service));
        Endpoint::from_shared(target).unwrap().timeout(Duration::from_secs(30)).connect_lazy()
    }

    /// The shop behind its gateway.
    pub fn gateway(&self) -> Gateway {
        Gateway::new(self.address("gateway"), &self.data())
    }

    /// As [`Gateway::staff`].
    ///
    /// # Panics
    /// When it can't sign in.
    pub async fn staff(&self) -> Token {
        self.gateway().staff().await
    }

    /// As [`Gateway::sign_in`].
    ///
    /// # Panics
    /// When it can't sign in.
    pub async fn sign_in(&self, email: &str, password: &str) -> Token {
        self.gateway().sign_in(email, password).await
    }

    /// As [`Gateway::sign_up`].
    ///
    /// # Panics
    /// When it can't sign up.
    pub async fn sign_up(&self, id: &str) -> String {
        self.gateway().sign_up(id).await
    }

    /// As [`Gateway::customer`].
    ///
    /// # Panics
    /// When it can't sign up or sign in.
    pub async fn customer(&self, id: &str) -> (String, Token) {
        self.gateway().customer(id).await
    }

    /// Runs a command of the same binary, with the same state folder, beside it.
    ///
    /// # Panics
    /// When it can't be run.
    pub fn run<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        command(&self.state()).args(args.into_iter().map(Into::into)).output().unwrap()
    }

    /// Sees by `meshwork audit` that the shop is sound, once nothing is under way in it; returns the verdicts. A history is
    /// what clients were told.
    ///
    /// # Panics
    /// When it isn't, or can't be judged; the message has all verdicts.
    pub fn audit(&self, history: Option<&Path>) -> serde_json::Value {
        let target = format!("http://{}", self.address("gateway"));
        let fixed = ["audit", "--output", "json", "--settle", SETTLE, "--target", &target];
        let mut args: Vec<OsString> = fixed.into_iter().map(OsString::from).collect();
        if let Some(history) = history {
            args.extend([OsString::from("--history"), history.into()]);
        }
        audited(&self.run(args))
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Panics
    /// When the signal can't be sent.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{signal} {} failed", self.id());
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    /// When it doesn't end within its bound.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "`up` did not end within {} s", STOP.as_secs());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and waits until the process ends.
    ///
    /// # Panics
    /// When it doesn't end within its bound.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The verdicts that `meshwork audit --output json` has printed of a sound shop.
///
/// # Panics
/// When it is none, or could not be judged.
pub fn audited(output: &Output) -> serde_json::Value {
    let printed = text(&output.stdout);
    assert!(output.status.success(), "the shop is not sound: {}\n{printed}", text(&output.stderr));
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("the verdicts can't be read: {error}: {printed}"))
}

/// Reads all that a finished command has printed.
///
/// # Panics
/// When it isn't UTF-8.
pub fn text(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    bytes.read_to_string(&mut text).unwrap();
    text
}
