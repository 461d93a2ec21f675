//! A private NATS server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A server of our own, with its store in a folder of its own.
pub struct Nats {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Nats {
    /// Starts a server with JetStream.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// Starts a server with JetStream and more settings.
    pub async fn with(settings: &str) -> Self {
        let nats = Self::prepare(&format!("jetstream {{ store_dir: store, sync_interval: 100ms }}\n{settings}"));
        nats.started().await
    }

    /// Starts a server without JetStream.
    pub async fn plain() -> Self {
        Self::prepare("").started().await
    }

    /// A server that does not run yet.
    pub fn prepare(settings: &str) -> Self {
        let (port, folder) = (port(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("conf"), format!("listen: 127.0.0.1:{port}\n{settings}\n")).unwrap();
        Self { folder, port, process: None }
    }

    async fn started(mut self) -> Self {
        self.run().await;
        self
    }

    /// Runs the server, again if it ran before.
    pub async fn run(&mut self) {
        let mut command = Command::new(binary());
        command.current_dir(self.folder.path()).args(["-c", "conf", "-l", "log"]);
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let up = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), up).await.unwrap();
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Has the server do nothing, while its connections stay open, or go on.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        let signal = if frozen { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, pid.as_str()]).status().unwrap().success());
    }

    /// Forgets what the server has stored.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.folder.path().join("store")).unwrap();
    }

    /// Where the server's files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn options(&self) -> JetStreamOptions {
        JetStreamOptions { url: self.url(), ..JetStreamOptions::default() }
    }

    /// A bus of its own connection, as another process has it.
    pub async fn bus(&self) -> Arc<JetStreamBus> {
        JetStreamBus::connect(self.options()).await.unwrap()
    }

    /// A client that knows nothing of us.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that keep copies for each other.
pub struct Cluster {
    pub servers: Vec<Nats>,
}

impl Cluster {
    pub async fn start() -> Self {
        let routes: Vec<u16> = (0..3).map(|_| port()).collect();
        let all: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut servers = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let settings = format!(
                "server_name: n{number}\njetstream {{ store_dir: store }}\n\
                 cluster {{ name: c, listen: \"127.0.0.1:{route}\", routes: [{}] }}",
                all.join(", ")
            );
            servers.push(Nats::prepare(&settings).started().await);
        }
        Self { servers }
    }

    /// Streams of three copies; each bus is connected to one of the servers at first.
    pub fn options(&self) -> JetStreamOptions {
        let urls: Vec<String> = self.servers.iter().map(Nats::url).collect();
        JetStreamOptions { url: urls.join(","), replicas: 3, ..JetStreamOptions::default() }
    }

    /// The server of this name.
    pub fn named(&mut self, name: &str) -> &mut Nats {
        let number: usize = name.trim_start_matches('n').parse().unwrap();
        &mut self.servers[number]
    }
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MESHWORK_TEST_NATS") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file());
    found.unwrap_or_else(|| std::env::temp_dir().join("natsbin/nats-server"))
}
