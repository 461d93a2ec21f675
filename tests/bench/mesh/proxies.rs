//! The proxies, run privately in a folder that goes away: two retries and 250 ms a try, where they can.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::processes::{Process, free_addresses};

/// How long a proxy may take to listen.
const START: Duration = Duration::from_secs(10);
/// How many threads Envoy has. HAProxy takes as many as there are cores, and nginx has one.
const THREADS: usize = 2;

/// A proxy that there is a path through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Nginx,
    Haproxy,
    Envoy,
}

/// A proxy that runs.
pub struct Running {
    process: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn cpu_us(&self) -> f64 {
        self.process.cpu_us()
    }
}

impl Proxy {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Starts it before `servers`.
    ///
    /// # Errors
    /// Why it can't be started.
    pub fn start(self, servers: &[SocketAddr]) -> Result<Running, String> {
        self.start_with(THREADS, |address, folder| match self {
            Self::Nginx => nginx(address, servers, folder),
            Self::Haproxy => haproxy(address, servers),
            Self::Envoy => envoy(address, servers).to_string(),
        })
    }

    /// Starts it with the configuration of an address to listen at and a folder of its own. Envoy has so many threads; the
    /// others are told by that.
    ///
    /// # Errors
    /// Why it can't be started.
    pub fn start_with(
        self,
        threads: usize,
        configuration: impl FnOnce(SocketAddr, &Path) -> String,
    ) -> Result<Running, String> {
        let name = self.name();
        let program = find(name).ok_or_else(|| format!("{name} is not installed"))?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let address = free_addresses(1)[0];
        let file = folder.path().join("conf");
        std::fs::write(&file, configuration(address, folder.path())).map_err(|error| error.to_string())?;
        let mut command = match find("setpriv") {
            // So that it ends also when the benchmark is killed.
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        let threads = threads.to_string();
        let arguments = match self {
            Self::Nginx => vec!["-e", "stderr", "-c"],
            Self::Haproxy => vec!["-db", "-q", "-f"],
            Self::Envoy => {
                vec!["--concurrency", threads.as_str(), "--disable-hot-restart", "--log-level", "error", "-c"]
            }
        };
        if let Some(libraries) = unpacked().map(|peers| peers.join("usr/lib/x86_64-linux-gnu")).filter(|at| at.exists())
        {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.args(arguments).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::new(&mut command).map_err(|error| error.to_string())?;
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if process.has_ended() || start.elapsed() > START {
                return Err(format!("{name} does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Running { process, address, _folder: folder })
    }
}

/// Where what was unpacked without being installed is.
fn unpacked() -> Option<PathBuf> {
    std::env::var_os("MESHWORK_BENCH_PEERS").map(PathBuf::from)
}

/// Where a program is: on the PATH, among those of the administrator, or unpacked.
pub fn find(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.push("/usr/sbin".into());
    if let Some(peers) = unpacked() {
        folders.extend([peers.join("usr/sbin"), peers.join("envoy/_bin")]);
    }
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn nginx(address: SocketAddr, servers: &[SocketAddr], folder: &Path) -> String {
    let servers: String =
        servers.iter().map(|server| format!("server {server} max_fails=5 fail_timeout=1s; ")).collect();
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_time 1h;
            http2_max_concurrent_streams 1024; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
            upstream bench {{ {servers} keepalive 256; keepalive_requests 1000000000; keepalive_time 1h; }}
            server {{
                listen {address} http2;
                location / {{
                    grpc_pass grpc://bench; grpc_socket_keepalive on;
                    grpc_connect_timeout 250ms; grpc_read_timeout 250ms; grpc_send_timeout 250ms;
                    grpc_next_upstream error timeout non_idempotent; grpc_next_upstream_tries 3;
                }}
            }}
        }}\n"
    )
}

/// Its checks ask for an answer: a frozen server still accepts connections.
fn haproxy(address: SocketAddr, servers: &[SocketAddr]) -> String {
    let servers: String = servers
        .iter()
        .enumerate()
        .map(|(at, server)| format!("    server s{at} {server} proto h2 check inter 250ms fall 2 rise 1\n"))
        .collect();
    format!(
        "global\n    maxconn 4096\n    tune.h2.max-concurrent-streams 1024\n
defaults\n    mode http\n    timeout client 60s\n    timeout connect 250ms\n    timeout server 250ms\n    timeout check 200ms\n
frontend in\n    bind {address} proto h2\n    default_backend bench\n
backend bench\n    balance leastconn\n    option httpchk GET /\n    http-check expect rstatus .\n    option redispatch 1\n    retries 2\n    retry-on all-retryable-errors
    http-reuse always\n{servers}"
    )
}

fn envoy(address: SocketAddr, servers: &[SocketAddr]) -> serde_json::Value {
    let socket = |at: SocketAddr| serde_json::json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let endpoints: Vec<_> =
        servers.iter().map(|server| serde_json::json!({"endpoint": {"address": socket(*server)}})).collect();
    let threshold = serde_json::json!({
        "max_connections": 10_000, "max_pending_requests": 10_000, "max_requests": 10_000, "max_retries": 1000
    });
    serde_json::json!({"static_resources": {
        "listeners": [{"name": "in", "address": socket(address), "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "in", "codec_type": "HTTP2",
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
                    "match": {"prefix": "/"},
                    "route": {"cluster": "bench", "timeout": "1s", "retry_policy": {
                        "retry_on": "unavailable,reset,connect-failure,refused-stream", "num_retries": 2,
                        "per_try_timeout": "0.25s",
                        "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                        }}],
                        "host_selection_retry_max_attempts": 3
                    }}
                }]}]},
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                }}]
            }
        }]}]}],
        "clusters": [{
            "name": "bench", "type": "STATIC", "connect_timeout": "0.25s", "lb_policy": "LEAST_REQUEST",
            "circuit_breakers": {"thresholds": [threshold]},
            "outlier_detection": {"consecutive_5xx": 5, "interval": "1s", "base_ejection_time": "5s"},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}
            }},
            "load_assignment": {"cluster_name": "bench", "endpoints": [{"lb_endpoints": endpoints}]}
        }]
    }})
}
