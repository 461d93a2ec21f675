//! The processes of a run. Each one ends with the value that stands for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;

/// How many servers there are.
pub const SERVERS: usize = 3;
/// How long a server that drains may take to end.
const END: Duration = Duration::from_millis(1500);

/// A process that is killed when the value goes.
pub struct Process(Child);

impl Process {
    pub fn new(command: &mut Command) -> std::io::Result<Self> {
        command.spawn().map(Self)
    }

    /// User and system time that it has used, in microseconds; none when it has ended.
    pub fn cpu_us(&self) -> f64 {
        let time = clock_getcpuclockid(self.pid()).and_then(clock_gettime);
        time.map_or(0.0, |time| Duration::from(time).as_secs_f64() * 1e6)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process of this program that obeys lines.
pub struct Obedient {
    process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Obedient {
    /// Starts `command`, which ends when its standard input does.
    pub fn new(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { process: Process(child), orders, answers }
    }

    pub fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
    }

    /// Waits for the next line.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.answers.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// User and system time that it has used, in microseconds; none when it has ended.
    pub fn cpu_us(&self) -> f64 {
        self.process.cpu_us()
    }

    /// Lets it end by itself, for at most some seconds.
    pub fn end(self) {
        let Self { mut process, orders, .. } = self;
        drop(orders);
        let start = Instant::now();
        while !process.has_ended() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the result of a measurement; `None` when the process has ended without one.
    pub fn result(&mut self) -> Option<Value> {
        serde_json::from_str(&self.line()?).ok()
    }
}

/// A client on `path`.
pub fn client(path: &str, servers: &[SocketAddr]) -> Obedient {
    Obedient::new(client_command(path, servers))
}

pub fn client_command(path: &str, servers: &[SocketAddr]) -> Command {
    command("client", path, servers)
}

/// A client of many callers on `path`.
pub fn crowd(path: &str, servers: &[SocketAddr]) -> Obedient {
    Obedient::new(command("crowd", path, servers))
}

/// A process of this program that takes a path to servers.
pub fn command(kind: &str, path: &str, servers: &[SocketAddr]) -> Command {
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([kind, path, &servers.join(",")]);
    command
}

/// The three servers.
pub struct Fleet {
    addresses: Vec<SocketAddr>,
    servers: Vec<Obedient>,
    streams: Option<u32>,
}

impl Fleet {
    /// Each allows so many streams of a connection at once, or as many as it likes.
    pub fn start(streams: Option<u32>) -> Self {
        let addresses = free_addresses(SERVERS);
        let servers = addresses.iter().map(|address| serve(*address, streams)).collect();
        Self { addresses, servers, streams }
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn cpu_us(&self) -> f64 {
        self.servers.iter().map(Obedient::cpu_us).sum()
    }

    pub fn order(&mut self, server: usize, line: &str) {
        self.servers[server].order(line);
    }

    pub fn signal(&self, server: usize, signal: Signal) {
        self.servers[server].process.signal(signal);
    }

    /// Kills a server as `kill -9` does.
    pub fn kill(&mut self, server: usize) {
        let process = &mut self.servers[server].process.0;
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts a server that was killed.
    pub fn start_again(&mut self, server: usize) {
        self.servers[server] = serve(self.addresses[server], self.streams);
    }

    /// Ends a server gracefully and starts it again.
    pub fn restart(&mut self, server: usize) {
        self.signal(server, Signal::SIGTERM);
        let start = Instant::now();
        while !self.servers[server].process.has_ended() && start.elapsed() < END {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.start_again(server);
    }
}

fn serve(address: SocketAddr, streams: Option<u32>) -> Obedient {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["server", &address.port().to_string()]).args(streams.map(|streams| streams.to_string()));
    let mut server = Obedient::new(command);
    assert_eq!(server.line().as_deref(), Some("ready"), "a server did not start");
    server
}

/// Addresses of the loopback that nobody listens on at present.
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}
