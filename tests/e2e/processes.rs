//! The five services, each in a process of its own, some in several.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use meshwork_testkit::up::{SETTLE, audited, binary, command, command_of, text};
use meshwork_testkit::{Gateway, freeze};
use tonic::transport::{Channel, Endpoint};

/// The services.
pub const NAMES: [&str; 5] = ["users", "products", "orders", "notifications", "gateway"];

/// Settings that the release before doesn't know.
const NEW_SETTINGS: [&str; 2] = ["MESHWORK_PRODUCTS__ORDERS", "MESHWORK_NOTIFICATIONS__ORDERS"];

/// How long a service may take to be serving.
const START: Duration = Duration::from_secs(60);

/// One process of a service.
struct Instance {
    /// The service's name and, for the second and later ones, its number: `products`, `products-2`.
    label: String,
    service: &'static str,
    address: SocketAddr,
    ops: SocketAddr,
    /// Another binary than the one under test.
    binary: Option<PathBuf>,
    running: Option<Child>,
}

/// The services in processes of their own, on one data folder. They are killed when it is dropped.
pub struct Processes {
    folder: PathBuf,
    settings: Vec<(String, String)>,
    instances: Vec<Instance>,
}

impl Processes {
    /// Knows where each will be; none runs yet. `settings`, as environment variables, stand over the others.
    pub fn new(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::several(folder, &[], settings)
    }

    /// As [`Processes::new`], with as many processes of some services as `counts` says.
    pub fn several(folder: &Path, counts: &[(&str, usize)], settings: &[(&str, &str)]) -> Self {
        let count = |service: &str| counts.iter().find(|(name, _)| *name == service).map_or(1, |(_, count)| *count);
        // Free ports for the services and their ops ports, all bound at once so that they differ.
        let mut ports: Vec<_> = (0..2 * NAMES.iter().map(|name| count(name)).sum::<usize>())
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut port = || ports.pop().unwrap().local_addr().unwrap();
        let mut instances = Vec::new();
        for service in NAMES {
            for number in 1..=count(service) {
                let label = if number == 1 { service.to_owned() } else { format!("{service}-{number}") };
                instances.push(Instance { label, service, address: port(), ops: port(), binary: None, running: None });
            }
        }
        let target = |service: &str| {
            let of = instances.iter().filter(|instance| instance.service == service);
            let addresses: Vec<_> = of.map(|instance| instance.address.to_string()).collect();
            let scheme = if addresses.len() == 1 { "dns" } else { "static" };
            format!("{scheme}:///{}", addresses.join(","))
        };
        let mut all = vec![
            ("MESHWORK_ORDERS__PRODUCTS".to_owned(), target("products")),
            ("MESHWORK_PRODUCTS__ORDERS".to_owned(), target("orders")),
            ("MESHWORK_NOTIFICATIONS__ORDERS".to_owned(), target("orders")),
        ];
        for service in NAMES {
            all.push((format!("MESHWORK_{}__AUTH__USERS", service.to_uppercase()), target("users")));
            if service != "gateway" {
                all.push((format!("MESHWORK_GATEWAY__UPSTREAMS__{}", service.to_uppercase()), target(service)));
            }
        }
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Self { folder: folder.to_owned(), settings: all, instances }
    }

    fn of(&self, label: &str) -> &Instance {
        self.instances.iter().find(|instance| instance.label == label).unwrap()
    }

    /// The processes, as they are called.
    pub fn labels(&self) -> Vec<String> {
        self.instances.iter().map(|instance| instance.label.clone()).collect()
    }

    /// The folder of all data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where a process listens, `HOST:PORT`.
    pub fn address(&self, label: &str) -> String {
        self.of(label).address.to_string()
    }

    /// A channel of its own to a process.
    pub fn channel(&self, label: &str) -> Channel {
        let target = format!("http://{}", self.address(label));
        Endpoint::from_shared(target).unwrap().timeout(Duration::from_secs(30)).connect_lazy()
    }

    /// The shop behind its gateway.
    pub fn gateway(&self) -> Gateway {
        Gateway::new(self.of("gateway").address, &self.data())
    }

    /// Has a process run another binary, of another release, from its next start on.
    pub fn runs(&mut self, label: &str, binary: &Path) {
        let instance = self.instances.iter_mut().find(|instance| instance.label == label).unwrap();
        instance.binary = Some(binary.to_owned());
    }

    /// Starts a process.
    pub fn start(&mut self, label: &str) {
        self.start_with(label, &[]);
    }

    /// Starts a process with settings, as environment variables, that it has for this time alone.
    pub fn start_with(&mut self, label: &str, more: &[(&str, &str)]) {
        let data = self.data();
        let instance = self.instances.iter_mut().find(|instance| instance.label == label).unwrap();
        let binary = instance.binary.clone().unwrap_or_else(binary);
        let mut command = command_of(&binary, &self.folder);
        // A release refuses settings that it doesn't know.
        let known = |key: &str| instance.binary.is_none() || !NEW_SETTINGS.contains(&key);
        let settings = self.settings.iter().filter(|(key, _)| known(key)).cloned();
        let log = self.folder.join(format!("{label}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.envs(settings).env("MESHWORK_OPS", instance.ops.to_string());
        command.env(format!("MESHWORK_{}__LISTEN", instance.service.to_uppercase()), instance.address.to_string());
        command.envs(more.iter().copied());
        command.args(["serve", instance.service, "--data"]).arg(data).stderr(log);
        instance.running = Some(command.spawn().unwrap());
    }

    /// Starts all, and waits until they are serving.
    pub fn start_all(&mut self) {
        self.start_all_but(&[]);
    }

    /// Starts all but some, and waits until they are serving.
    pub fn start_all_but(&mut self, others: &[&str]) {
        let labels: Vec<_> = self.labels().into_iter().filter(|label| !others.contains(&label.as_str())).collect();
        for label in &labels {
            self.start(label);
        }
        for label in &labels {
            self.wait_for(label);
        }
    }

    /// Waits until a process is serving.
    pub fn wait_for(&self, label: &str) {
        self.wait_for_service(label, "");
    }

    /// Waits until a process is serving one of its gRPC services.
    pub fn wait_for_service(&self, label: &str, service: &str) {
        let deadline = Instant::now() + START;
        loop {
            let check = ["healthcheck", &self.address(label), "--service", service];
            let check = command(&self.folder).args(check).output().unwrap();
            if check.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "{label} is not serving: {}\n{}", text(&check.stderr), self.log(label));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a process has logged, over all its starts.
    pub fn log(&self, label: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{label}.log"))).unwrap_or_default()
    }

    /// What a process says of its health, as JSON.
    pub fn health(&self, label: &str) -> String {
        self.asked(label, "/health").map_or(String::new(), |(_, body)| body)
    }

    /// What a check of a process says.
    pub fn check(&self, label: &str, name: &str) -> serde_json::Value {
        let health: serde_json::Value = serde_json::from_str(&self.health(label)).unwrap();
        health["services"][self.of(label).service]["checks"][name].clone()
    }

    /// The status with which a process says whether it can serve: 200 when it can; none when it can't be asked.
    pub fn readiness(&self, label: &str) -> Option<u16> {
        self.asked(label, "/readyz").map(|(status, _)| status)
    }

    /// What the ops port of a process answers: the status, and the body.
    fn asked(&self, label: &str, path: &str) -> Option<(u16, String)> {
        let mut port = TcpStream::connect(self.of(label).ops).ok()?;
        port.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        port.write_all(format!("GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        port.read_to_end(&mut answer).unwrap();
        let answer = text(&answer);
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
    }

    /// `kill -9` of a process.
    pub fn kill(&mut self, label: &str) {
        let instance = self.instances.iter_mut().find(|instance| instance.label == label).unwrap();
        if let Some(mut child) = instance.running.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// SIGTERM to a process, and waits until it has ended.
    pub fn stop(&mut self, label: &str) {
        let instance = self.instances.iter_mut().find(|instance| instance.label == label).unwrap();
        if let Some(mut child) = instance.running.take() {
            run(Command::new("kill").args(["-TERM", &child.id().to_string()]));
            child.wait().unwrap();
        }
    }

    /// SIGSTOP to a process; returns when it stands still.
    pub fn freeze(&self, label: &str) {
        freeze(self.of(label).running.as_ref().unwrap().id());
    }

    /// Lets a process go on that stands still.
    pub fn thaw(&self, label: &str) {
        let id = self.of(label).running.as_ref().unwrap().id();
        run(Command::new("kill").args(["-CONT", &id.to_string()]));
    }

    /// A command of the binary against the gateway, with the staff's account.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = command(&self.folder);
        let target = format!("http://{}", self.address("gateway"));
        command.args(args).args(["--output", "json", "--target", &target, "--staff-credentials"]);
        command.arg(self.data().join("credentials/staff.json")).stdin(Stdio::null()).output().unwrap()
    }

    /// Sees by `meshwork audit` that the shop is sound, once nothing is under way in it.
    pub fn audit(&self) {
        audited(&self.run(&["audit", "--settle", SETTLE]));
    }

    /// `meshwork demo` at the gateway.
    pub fn demo(&self) -> Output {
        self.run(&["demo"])
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

impl Drop for Processes {
    fn drop(&mut self) {
        for label in self.labels() {
            self.kill(&label);
        }
    }
}
