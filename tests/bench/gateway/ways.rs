//! What may stand between callers and the service.

use std::net::SocketAddr;

use crate::gateway::Gateway;
use crate::paths::{GRPC, JSON};
use crate::peers;
use crate::processes::{self, Obedient};
use crate::proxies::{self, Proxy};
use crate::upstream::Upstream;

/// Pass-through: what all others are compared with.
pub const GATEWAY: &str = "gateway";
pub const HAPROXY: &str = "haproxy";
pub const NGINX: &str = "nginx";
pub const ENVOY: &str = "envoy";

/// All ways, in the order of the report.
pub const ALL: &[Kind] = &[
    Kind::new(GATEWAY, Between::Gateway { logs: true }, GRPC),
    Kind::new("gateway-json", Between::Gateway { logs: true }, JSON),
    Kind::new("gateway-no-log", Between::Gateway { logs: false }, GRPC),
    Kind::new(HAPROXY, Between::Peer(Proxy::Haproxy), GRPC),
    Kind::new(NGINX, Between::Peer(Proxy::Nginx), GRPC),
    Kind::new(ENVOY, Between::Peer(Proxy::Envoy), GRPC),
    Kind::new("direct", Between::Nothing, GRPC),
];

/// A way, and how callers call.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    between: Between,
    /// One of [`paths`](crate::paths).
    pub path: &'static str,
}

/// What stands between.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Gateway { logs: bool },
    Peer(Proxy),
}

impl Kind {
    const fn new(name: &'static str, between: Between, path: &'static str) -> Self {
        Self { name, between, path }
    }

    /// Whether the gateway stands between, with an access log or without.
    pub fn logs(&self) -> Option<bool> {
        match self.between {
            Between::Gateway { logs } => Some(logs),
            _ => None,
        }
    }
}

enum Running {
    Nothing,
    Gateway(Gateway),
    Peer(proxies::Running),
}

/// A way that is open, and its callers.
pub struct Way {
    pub kind: &'static Kind,
    running: Running,
    address: SocketAddr,
    pub client: Obedient,
}

impl Way {
    /// Starts what stands between, and the callers.
    ///
    /// # Errors
    /// Why another proxy can't be started.
    pub fn open(kind: &'static Kind, upstream: &Upstream) -> Result<Self, String> {
        let running = match kind.between {
            Between::Nothing => Running::Nothing,
            Between::Gateway { logs } => Running::Gateway(Gateway::start(upstream, logs)),
            Between::Peer(proxy) => Running::Peer(peers::start(proxy, upstream.address())?),
        };
        let address = match &running {
            Running::Nothing => upstream.address(),
            Running::Gateway(gateway) => gateway.address(),
            Running::Peer(peer) => peer.address(),
        };
        let mut command = processes::client_command(kind.path, &[address]);
        command.arg(upstream.tokens());
        Ok(Self { kind, running, address, client: Obedient::new(command) })
    }

    /// Where its callers connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The gateway, where that stands between.
    pub fn gateway(&self) -> Option<&Gateway> {
        match &self.running {
            Running::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    /// User and system time that what stands between has used, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        match &self.running {
            Running::Nothing => 0.0,
            Running::Gateway(gateway) => gateway.cpu_us(),
            Running::Peer(peer) => peer.cpu_us(),
        }
    }
}
