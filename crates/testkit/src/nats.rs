//! A real NATS server with JetStream, alone or as a cluster, on the loopback interface in a folder of the test's.
//!
//! The program is the one that `MESHWORK_TEST_NATS` names, else the `nats-server` on the PATH.

mod client;
mod monitor;
mod node;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::certificate::certify;
use crate::process::{PATIENCE, free_port};

pub use client::Client;
pub use node::Node;

/// The files, in a server's folder, of a certificate: who has issued it, itself, its key.
const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// How a server is to run: [`Nats::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    nodes: usize,
    sync_always: bool,
    login: Option<(String, String)>,
    tls: bool,
    max_payload: Option<u32>,
    max_file: Option<u64>,
    advertise: bool,
}

impl Builder {
    /// How many nodes there are: 1, or as many as form one JetStream cluster.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Waits for the disk before each acknowledgement, as one in production does.
    #[must_use]
    pub fn sync_always(mut self) -> Self {
        self.sync_always = true;
        self
    }

    /// Lets only those in who give this user and password. They are not in [`Nats::url`].
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Speaks TLS with its clients, with a certificate for 127.0.0.1 of [`Nats::ca_certificate`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The most bytes of a message, headers included; 1 MiB unless told.
    #[must_use]
    pub fn max_payload(mut self, bytes: u32) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// The most bytes that all streams together may reserve or fill on a node's disk.
    #[must_use]
    pub fn max_file(mut self, bytes: u64) -> Self {
        self.max_file = Some(bytes);
        self
    }

    /// Tells clients nothing of the other nodes, so that those who reach one through a proxy don't find a way around
    /// it.
    #[must_use]
    pub fn no_advertise(mut self) -> Self {
        self.advertise = false;
        self
    }

    /// Starts it, and returns when it is healthy: in a cluster, when there is a leader whom all nodes follow.
    ///
    /// # Panics
    /// When there is no `nats-server`, or it doesn't get healthy within a minute.
    pub fn start(self) -> Nats {
        assert!(self.nodes > 0, "a NATS without nodes can't be started");
        for _ in 0..5 {
            // Another process may take a port in between: then the server ends, and the next ports are tried.
            let nats = Nats::prepare(self.clone());
            nats.nodes.iter().for_each(Node::spawn);
            if nats.gets_healthy() {
                return nats;
            }
        }
        panic!("nats-server ended at its start, five times");
    }

    /// The configuration of one node.
    fn configuration(&self, name: &str, folder: &Path, ports: Ports, routes: &[String]) -> String {
        let Ports { client, monitor, route } = ports;
        let sync = if self.sync_always { "always" } else { "2m" };
        let store = folder.join(node::STORE);
        let limit = self.max_file.map(|bytes| format!(", max_file_store: {bytes}")).unwrap_or_default();
        let mut lines = vec![
            format!("server_name: {name:?}"),
            format!("listen: \"127.0.0.1:{client}\""),
            format!("http: \"127.0.0.1:{monitor}\""),
            format!("jetstream: {{ store_dir: {store:?}, sync_interval: {sync:?}{limit} }}"),
        ];
        if let Some(bytes) = self.max_payload {
            lines.push(format!("max_payload: {bytes}"));
        }
        if let Some((user, password)) = &self.login {
            lines.push(format!("authorization: {{ user: {user:?}, password: {password:?} }}"));
        }
        if self.tls {
            let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
            lines.push(format!("tls: {{ cert_file: {certificate:?}, key_file: {key:?} }}"));
        }
        if self.nodes > 1 {
            let quiet = !self.advertise;
            let listen = format!("127.0.0.1:{route}");
            lines.push(format!(
                "cluster: {{ name: test, listen: {listen:?}, no_advertise: {quiet}, routes: {routes:?} }}"
            ));
        }
        lines.join("\n") + "\n"
    }
}

/// Where a node listens: to clients, for its monitoring, to other nodes.
#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    monitor: u16,
    route: u16,
}

/// A NATS server or cluster of the test's own. What runs of it is killed when it is dropped.
pub struct Nats {
    nodes: Vec<Node>,
    options: Builder,
    folder: TempDir,
}

/// What the nodes had on their disks: [`Nats::copy_store`].
pub struct StoreCopy(TempDir);

impl Nats {
    /// One server.
    ///
    /// # Panics
    /// As [`Builder::start`].
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Three servers that form one JetStream cluster.
    ///
    /// # Panics
    /// As [`Builder::start`].
    pub fn cluster() -> Self {
        Self::builder().nodes(3).start()
    }

    /// One server, with defaults that can be changed.
    pub fn builder() -> Builder {
        Builder {
            nodes: 1,
            sync_always: false,
            login: None,
            tls: false,
            max_payload: None,
            max_file: None,
            advertise: true,
        }
    }

    /// Writes down what the nodes need.
    fn prepare(options: Builder) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("meshwork-nats-").tempdir().unwrap();
        let issued = options.tls.then(certify);
        if let Some(issued) = &issued {
            fs::write(folder.path().join(CA), &issued.issuer).unwrap();
        }
        let ports = free_ports(options.nodes);
        let routes: Vec<_> = ports.iter().map(|ports| format!("nats://127.0.0.1:{}", ports.route)).collect();
        let scheme = if options.tls { "tls" } else { "nats" };
        let nodes = ports.iter().enumerate().map(|(index, ports)| {
            // No other server has it, so that who answers on a port can be told.
            let name = format!("test-{}-{number}-{index}", std::process::id());
            let own = folder.path().join(index.to_string());
            fs::create_dir(&own).unwrap();
            if let Some(issued) = &issued {
                fs::write(own.join(CERTIFICATE), &issued.certificate).unwrap();
                fs::write(own.join(KEY), &issued.key).unwrap();
            }
            let configuration = options.configuration(&name, &own, *ports, &routes);
            fs::write(own.join(node::CONFIGURATION), configuration).unwrap();
            Node::new(name, own, scheme, ports.client, ports.monitor)
        });
        Self { nodes: nodes.collect(), options, folder }
    }

    /// Waits until it is healthy; false when one of its processes has ended.
    fn gets_healthy(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !self.nodes.iter().all(Node::is_running) {
                return false;
            }
            if self.is_healthy() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nats-server did not get healthy within {PATIENCE:?}:\n{}", self.logs());
    }

    /// Whether all nodes say so, and those of a cluster follow one leader.
    fn is_healthy(&self) -> bool {
        let mut nodes = self.nodes.iter();
        if self.nodes.len() == 1 {
            return nodes.all(Node::is_healthy);
        }
        let leader = self.nodes.iter().find_map(Node::meta_leader);
        leader.is_some() && nodes.all(|node| node.is_healthy() && node.meta_leader() == leader)
    }

    /// The nodes' URLs, comma-separated: `nats://HOST:PORT`, or `tls://HOST:PORT`.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Node::url).collect::<Vec<_>>().join(",")
    }

    /// Where the first node listens to clients.
    pub fn address(&self) -> SocketAddr {
        self.nodes[0].address()
    }

    /// The nodes, in an order that stays.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node, counted from 0.
    ///
    /// # Panics
    /// When there aren't as many.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The file with the certificate of who has issued the servers'.
    ///
    /// # Panics
    /// When it wasn't made with [`Builder::tls`].
    pub fn ca_certificate(&self) -> PathBuf {
        assert!(self.options.tls, "this NATS speaks no TLS");
        self.folder.path().join(CA)
    }

    /// The index of the node that leads a stream, as that node itself says. Waits for an election.
    ///
    /// # Panics
    /// When no running node says so within a minute.
    pub fn leader_of(&self, stream: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(index) = self.nodes.iter().position(|node| node.is_running() && node.leads(stream)) {
                return index;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the stream {stream} had no leader for {PATIENCE:?}:\n{}", self.logs());
    }

    /// A connection to the first node that takes one.
    ///
    /// # Panics
    /// When none does.
    pub fn client(&self) -> Client {
        let ca = self.options.tls.then(|| self.ca_certificate());
        let connect = |node: &Node| Client::connect(node.address(), self.options.login.as_ref(), ca.as_deref()).ok();
        self.nodes
            .iter()
            .filter(|node| node.is_running())
            .find_map(connect)
            .unwrap_or_else(|| panic!("no node of {} takes a connection:\n{}", self.url(), self.logs()))
    }

    /// What JetStream's API answers: `api("STREAM.INFO.ORDERS", "")`. An error is an answer too.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub fn api(&self, call: &str, request: &str) -> Value {
        let answer = self.client().request(&format!("$JS.API.{call}"), request.as_bytes());
        let answer = answer.unwrap_or_else(|error| panic!("{call}: {error}"));
        serde_json::from_slice(&answer).unwrap()
    }

    /// Kills all nodes (SIGKILL), as a host that is lost would; what they have stored stays.
    pub fn kill(&self) {
        // None is to see the others go first.
        self.nodes.iter().for_each(Node::send_kill);
        self.nodes.iter().for_each(Node::kill);
    }

    /// Ends all nodes as an operator would (SIGTERM), and returns when they have ended.
    ///
    /// # Panics
    /// When one takes more than a minute.
    pub fn stop(&self) {
        self.nodes.iter().for_each(Node::stop);
    }

    /// Starts the nodes that don't run, on the same ports and stores, and returns when all are healthy.
    ///
    /// # Panics
    /// When one doesn't start.
    pub fn restart(&self) {
        self.nodes.iter().filter(|node| !node.is_running()).for_each(Node::restart);
        assert!(self.gets_healthy(), "nats-server ended again:\n{}", self.logs());
    }

    /// Stops all nodes, as hosts that hang would. Their connections stay.
    ///
    /// # Panics
    /// When one doesn't run.
    pub fn freeze(&self) {
        self.nodes.iter().for_each(Node::freeze);
    }

    /// Lets frozen nodes go on.
    ///
    /// # Panics
    /// When one doesn't run.
    pub fn thaw(&self) {
        self.nodes.iter().for_each(Node::thaw);
    }

    /// Removes all that the nodes have stored.
    ///
    /// # Panics
    /// While one runs.
    pub fn delete_store(&self) {
        self.nodes.iter().for_each(Node::delete_store);
    }

    /// Copies what the nodes have stored, as a backup would.
    ///
    /// # Panics
    /// While one runs.
    pub fn copy_store(&self) -> StoreCopy {
        let copy = tempfile::Builder::new().prefix("meshwork-nats-copy-").tempdir().unwrap();
        for (index, node) in self.nodes.iter().enumerate() {
            copy_folder(&node.idle_store(), &copy.path().join(index.to_string()));
        }
        StoreCopy(copy)
    }

    /// Puts a copy in the place of what the nodes have stored since.
    ///
    /// # Panics
    /// While one runs.
    pub fn restore(&self, copy: &StoreCopy) {
        self.delete_store();
        for (index, node) in self.nodes.iter().enumerate() {
            copy_folder(&copy.0.path().join(index.to_string()), &node.idle_store());
        }
    }

    /// The ends of what the nodes have logged.
    fn logs(&self) -> String {
        self.nodes.iter().map(|node| format!("{}: {}", node.name(), node.log())).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports for so many nodes, no two the same.
fn free_ports(nodes: usize) -> Vec<Ports> {
    let mut ports = Vec::new();
    while ports.len() < nodes * 3 {
        let port = free_port();
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports.chunks(3).map(|chunk| Ports { client: chunk[0], monitor: chunk[1], route: chunk[2] }).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "cannot copy {} to {}", from.display(), to.display());
}
