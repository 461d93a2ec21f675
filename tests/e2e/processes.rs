//! The five services, each in a process of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use meshwork_testkit::up::{command, text};

/// The services.
pub const NAMES: [&str; 5] = ["users", "products", "orders", "notifications", "gateway"];

/// How long a service may take to be serving.
const START: Duration = Duration::from_secs(60);

/// The services in processes of their own, on one data folder. They are killed when it is dropped.
pub struct Processes {
    folder: PathBuf,
    settings: Vec<(String, String)>,
    /// In the order of [`NAMES`].
    addresses: Vec<String>,
    ops: Vec<String>,
    running: [Option<Child>; 5],
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).unwrap()
}

impl Processes {
    /// Knows where each will be; none runs yet. `settings`, as environment variables, stand over the others.
    pub fn new(folder: &Path, settings: &[(&str, &str)]) -> Self {
        // Free ports for the services and, behind those, for their ops ports.
        let listeners: Vec<_> = (0..10).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut addresses: Vec<_> = listeners.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
        let ops = addresses.split_off(NAMES.len());
        let target = |name: &str| format!("dns:///{}", addresses[index(name)]);
        let mut all = vec![
            ("MESHWORK_ORDERS__PRODUCTS".to_owned(), target("products")),
            ("MESHWORK_PRODUCTS__ORDERS".to_owned(), target("orders")),
            ("MESHWORK_NOTIFICATIONS__ORDERS".to_owned(), target("orders")),
        ];
        for (name, address) in NAMES.iter().zip(&addresses) {
            let key = format!("MESHWORK_{}__", name.to_uppercase());
            all.push((format!("{key}LISTEN"), address.clone()));
            all.push((format!("{key}AUTH__USERS"), target("users")));
            if *name != "gateway" {
                all.push((format!("MESHWORK_GATEWAY__UPSTREAMS__{}", name.to_uppercase()), target(name)));
            }
        }
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Self { folder: folder.to_owned(), settings: all, addresses, ops, running: Default::default() }
    }

    /// The folder of all data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where a service listens, `HOST:PORT`.
    pub fn address(&self, name: &str) -> &str {
        &self.addresses[index(name)]
    }

    /// Starts a service.
    pub fn start(&mut self, name: &str) {
        let at = index(name);
        let mut command = command(&self.folder);
        command.envs(self.settings.iter().cloned()).env("MESHWORK_OPS", &self.ops[at]);
        command.args(["serve", name, "--data"]).arg(self.data()).stderr(Stdio::null());
        self.running[at] = Some(command.spawn().unwrap());
    }

    /// Waits until a service is serving.
    pub fn wait_for(&self, name: &str) {
        let deadline = Instant::now() + START;
        loop {
            let check = command(&self.folder).args(["healthcheck", self.address(name)]).output().unwrap();
            if check.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "{name} is not serving: {}", text(&check.stderr));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9` of a service.
    pub fn kill(&mut self, name: &str) {
        if let Some(mut child) = self.running[index(name)].take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// `meshwork demo` at the gateway.
    pub fn demo(&self) -> Output {
        let mut demo = command(&self.folder);
        let target = format!("http://{}", self.address("gateway"));
        demo.args(["demo", "--output", "json", "--target", &target, "--staff-credentials"]);
        demo.arg(self.data().join("credentials/staff.json")).output().unwrap()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for name in NAMES {
            self.kill(name);
        }
    }
}
