//! Servers, and how they are reached.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_testkit::Nats;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How a server is reached.
pub trait Reached {
    fn servers(&self) -> String;

    fn options(&self) -> JetStreamOptions {
        JetStreamOptions { url: self.servers(), ..JetStreamOptions::default() }
    }

    /// A bus of its own connection, as another process has it.
    async fn bus(&self) -> Arc<JetStreamBus> {
        JetStreamBus::connect(self.options()).await.unwrap()
    }

    /// A client that knows nothing of us.
    async fn stranger(&self) -> async_nats::Client {
        async_nats::connect(self.servers()).await.unwrap()
    }
}

impl Reached for Nats {
    fn servers(&self) -> String {
        self.url()
    }
}

impl Reached for Configured {
    fn servers(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// A server with settings that `Nats` has no word for.
pub struct Configured {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Configured {
    pub async fn start(settings: &str) -> Self {
        let mut server = Self::prepare(settings);
        server.run().await;
        server
    }

    /// A server that does not run yet.
    pub fn prepare(settings: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("conf"), format!("listen: 127.0.0.1:{port}\n{settings}\n")).unwrap();
        Self { folder, port, process: None }
    }

    pub async fn run(&mut self) {
        let program = std::env::var_os("MESHWORK_TEST_NATS").map_or_else(|| "nats-server".into(), PathBuf::from);
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).args(["-c", "conf", "-l", "log"]);
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let up = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), up).await.unwrap();
    }

    /// Where the server's files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}
