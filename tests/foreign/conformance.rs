//! The conformance suite of Connect, gRPC and gRPC-Web: its client calls its server through the gateway, which speaks gRPC to
//! the server whatever the client speaks.
//!
//! `conformance/` has what the gateway speaks, in plain text and by TLS, and the cases that can't pass, with why. These are made
//! too, and must fail, each for that reason alone.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meshwork_testkit::certify;
use meshwork_testkit::up::{UNLIMITED, command};
use prost::Message;
use tempfile::TempDir;

use super::tools::{file, program, run, variable};

/// The Go module of the suite.
const MODULE: &str = "connectrpc.com/conformance";
const SERVICE: &str = "connectrpc.conformance.v1.ConformanceService";
/// The file with its contract, beside the routes.
const DESCRIPTORS: &str = "conformance.binpb";
/// How many bytes a message may have, as the suite counts on. The server refuses more; the gateway takes it.
const MESSAGE_LIMIT: u32 = 200 << 10;
/// gRPC and HTTP/2, as the suite numbers them.
const GRPC: i32 = 2;
const HTTP_2: i32 = 2;
/// How long the gateway may take to be serving.
const START: Duration = Duration::from_secs(60);
/// What the suite starts for each kind of client: it tells where the gateway is, and stays until it is stopped. The suite's
/// question, which is the same for all but for TLS, is left unread.
const TELL: &str = "cat \"$0\" && exec sleep 400";
/// Why a case may fail that is known to: its error has `ErrorInfo`, and is what the suite expects but for that. The suite's
/// client doesn't know that message, and says so where Connect has it in JSON.
const REASONS: [&str; 2] = [
    "actual error contain 1 details; expecting 0",
    "connect error JSON: details[0]: could not check debug data because message type \"google.rpc.ErrorInfo\" could not be \
     resolved: proto: not found",
];

/// What the suite asks of a server: `ServerCompatRequest`.
#[derive(Clone, PartialEq, Message)]
struct ServerWanted {
    #[prost(int32, tag = "1")]
    protocol: i32,
    #[prost(int32, tag = "2")]
    http_version: i32,
    #[prost(uint32, tag = "6")]
    message_receive_limit: u32,
}

/// Where a server is: `ServerCompatResponse`.
#[derive(Clone, PartialEq, Message)]
struct ServerPlace {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(uint32, tag = "2")]
    port: u32,
    /// Whom its certificate was issued by, in PEM; empty without TLS.
    #[prost(bytes = "vec", tag = "3")]
    issuer: Vec<u8>,
}

/// A message as the suite's programs read and write it: behind its length.
fn delimited(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The suite's server, which answers gRPC alone here, and its port.
fn reference_server() -> (Process, u32) {
    let mut server = Command::new(variable("MESHWORK_TEST_REFERENCESERVER"));
    server.args(["-port", "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = Process(server.spawn().unwrap());
    let wanted = ServerWanted { protocol: GRPC, http_version: HTTP_2, message_receive_limit: MESSAGE_LIMIT };
    server.0.stdin.take().unwrap().write_all(&delimited(&wanted)).unwrap();
    let mut stdout = server.0.stdout.take().unwrap();
    let mut length = [0; 4];
    stdout.read_exact(&mut length).unwrap();
    let mut place = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stdout.read_exact(&mut place).unwrap();
    (server, ServerPlace::decode(&*place).unwrap().port)
}

/// Writes the contracts of the suite, of the version that is installed.
fn write_descriptors(path: &Path) {
    let said = run(program("go").args(["version", "-m"]).arg(variable("MESHWORK_TEST_CONNECTCONFORMANCE")));
    let mut modules = said.lines().filter_map(|line| line.trim().strip_prefix("mod\t")?.strip_prefix(MODULE));
    let version = modules.next().unwrap().split_whitespace().next().unwrap();
    let mut download = program("go");
    download.args(["mod", "download", "-json", &format!("{MODULE}@{version}")]);
    let module = run(download.env("GOFLAGS", "").env("GOWORK", "off").current_dir(path.parent().unwrap()));
    let module: serde_json::Value = serde_json::from_str(&module).unwrap();
    let mut buf = program(variable("MESHWORK_TEST_BUF"));
    buf.arg("build").arg(module["Dir"].as_str().unwrap()).args(["--as-file-descriptor-set", "--output"]);
    run(buf.arg(path));
}

/// The gateway alone, with the suite's server as an upstream.
struct Edge {
    address: SocketAddr,
    gateway: Process,
    log: PathBuf,
    _server: Process,
    folder: TempDir,
}

impl Edge {
    fn start(settings: &[(&str, &Path)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, port) = reference_server();
        let [routes, policy, log] = ["routes.toml", "policy.json", "log"].map(|name| folder.path().join(name));
        let routed = format!(
            "[upstreams.conformance]\ntarget = \"http://127.0.0.1:{port}\"\ndescriptors = \"{DESCRIPTORS}\"\n\
             access = {{ \"{SERVICE}\" = [\"anyone\"] }}\n"
        );
        write_descriptors(&folder.path().join(DESCRIPTORS));
        std::fs::write(&routes, routed).unwrap();
        // No call has a deadline that its caller didn't set: the suite has the server tell what it was given.
        std::fs::write(&policy, "{}").unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut gateway = command(folder.path());
        gateway.args(["serve", "gateway", "--data"]).arg(folder.path().join("data"));
        gateway.env("MESHWORK_OPS", "127.0.0.1:0").env("MESHWORK_GATEWAY__LISTEN", address.to_string());
        gateway.env("MESHWORK_GATEWAY__ROUTES", routes).env("MESHWORK_GATEWAY__CLIENT__POLICY", policy);
        gateway.envs(UNLIMITED.iter().copied()).envs(settings.iter().copied());
        let gateway = Process(gateway.stderr(File::create(&log).unwrap()).spawn().unwrap());
        let mut edge = Self { address, gateway, log, _server: server, folder };
        edge.wait();
        edge
    }

    /// Waits until the gateway is serving.
    fn wait(&mut self) {
        let deadline = Instant::now() + START;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            if log.contains("serving service=\"gateway\"") {
                return;
            }
            let is_over = Instant::now() > deadline || self.gateway.0.try_wait().unwrap().is_some();
            assert!(!is_over, "the gateway is not serving; it said:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs the suite by one of its configurations; `issuer` has issued the gateway's certificate.
    fn conforms(&self, configuration: &str, issuer: &str) {
        let (host, port) = (self.address.ip().to_string(), self.address.port().into());
        let place = ServerPlace { host, port, issuer: issuer.as_bytes().to_vec() };
        let told = self.folder.path().join("place");
        std::fs::write(&told, delimited(&place)).unwrap();
        let mut suite = program(variable("MESHWORK_TEST_CONNECTCONFORMANCE"));
        suite.args(["--mode", "server", "--parallel", "8", "--max-servers", "2", "--conf"]);
        suite.arg(file("conformance").join(configuration));
        for known in ["known-failing", "known-flaky"] {
            let cases = file("conformance").join(known).with_extension("txt");
            suite.arg(format!("--{known}")).arg(format!("@{}", cases.display()));
        }
        suite.args(["--", "sh", "-c", TELL]).arg(told);
        let said = run(&mut suite);
        // Under each case that failed as expected are the reasons, a line each.
        let (mut case, mut reasons) = ("", 0);
        for line in said.lines() {
            let Some(reason) = line.strip_prefix('\t') else {
                case = line;
                continue;
            };
            // Errors of protobuf in Go have spaces of one kind or the other, by chance.
            let reason = reason.trim_start_matches("; ").replace('\u{a0}', " ");
            assert!(reason.is_empty() || REASONS.contains(&&*reason), "{case}\n{reason}");
            reasons += 1;
        }
        assert!(reasons > 0, "the reasons are told in another way: {said}");
    }
}

#[test]
fn the_gateway_conforms_in_plain_text() {
    Edge::start(&[]).conforms("plain.yaml", "");
}

#[test]
fn the_gateway_conforms_by_tls() {
    let (folder, issued) = (tempfile::tempdir().unwrap(), certify());
    let [certificate, key] = [("certificate.pem", issued.certificate), ("key.pem", issued.key)].map(|(name, pem)| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    });
    let settings: [(&str, &Path); 2] =
        [("MESHWORK_GATEWAY__SERVER__TLS__CERTIFICATE", &certificate), ("MESHWORK_GATEWAY__SERVER__TLS__KEY", &key)];
    Edge::start(&settings).conforms("tls.yaml", &issued.issuer);
}
