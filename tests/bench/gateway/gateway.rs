//! Our gateway: the real binary, with tokens verified, calls limited and requests logged.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use meshwork_testkit::up::{binary, command, command_of};
use nix::unistd::Pid;

use crate::processes::{Process, free_addresses};
use crate::proxies::find;
use crate::upstream::Upstream;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(20);
/// How many threads its runtime has.
const THREADS: &str = "1";
/// Settings of its own: all that is not here is as by default. Limits count each call, and nobody reaches them.
const SETTINGS: &[(&str, &str)] = &[
    ("MESHWORK_OPS", "127.0.0.1:0"),
    // As the chart has it.
    ("MESHWORK_LOG__FORMAT", "json"),
    ("MESHWORK_GATEWAY__RATE_LIMIT__BURST", "1000000"),
    ("MESHWORK_GATEWAY__RATE_LIMIT__PER_SECOND", "1000000"),
    ("MESHWORK_GATEWAY__ACCESS_LOG__SAMPLE", "1.0"),
];

/// The gateway, running.
pub struct Gateway {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts it before `upstream`; `logs` says whether it has an access log.
    ///
    /// # Panics
    /// When it does not listen; the message has its log.
    pub fn start(upstream: &Upstream, logs: bool) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_addresses(1)[0]);
        let log = folder.path().join("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = match find("setpriv") {
            // So that it ends also when the benchmark is killed.
            Some(setpriv) => {
                let mut command = command_of(&setpriv, folder.path());
                command.args(["--pdeathsig", "KILL", "--"]).arg(binary());
                command
            }
            None => command(folder.path()),
        };
        command.args(["serve", "gateway", "--data"]).arg(folder.path().join("data"));
        command.stdout(Stdio::null()).stderr(file);
        command.env("TOKIO_WORKER_THREADS", THREADS).envs(SETTINGS.iter().copied());
        command.env("MESHWORK_GATEWAY__ACCESS_LOG__ENABLED", logs.to_string());
        command
            .env("MESHWORK_GATEWAY__LISTEN", address.to_string())
            .env("MESHWORK_GATEWAY__AUTH__USERS", upstream.users());
        // Nothing is asked of the others.
        for service in ["PRODUCTS", "ORDERS", "NOTIFICATIONS"] {
            let target = format!("http://{}", upstream.address());
            command.env(format!("MESHWORK_GATEWAY__UPSTREAMS__{service}"), target);
        }
        command.env("MESHWORK_GATEWAY__UPSTREAMS__USERS", upstream.users());
        let mut process = Process::new(&mut command).unwrap();
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let (has_ended, is_late) = (process.has_ended(), start.elapsed() > START);
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!has_ended && !is_late, "the gateway does not listen; it logged:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, address, log, _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// User and system time that it has used, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.process.cpu_us()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Forgets what it has logged, so that the file stays small. It appends, and goes on from the beginning.
    pub fn clear_log(&self) {
        File::options().write(true).open(&self.log).unwrap().set_len(0).unwrap();
    }
}
