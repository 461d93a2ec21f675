//! Settings that every service has.

mod cache;
mod listener;
mod migrations;
mod nats;
mod optional_listen;
mod postgres;
mod redis;
mod retention;
mod shards;

pub use cache::CacheConfig;
pub use listener::{InvalidListener, ListenerText, Place, ProxyProtocolMode};
pub use migrations::Migrations;
pub use nats::NatsConfig;
pub use optional_listen::OptionalListen;
pub use postgres::{PostgresConfig, Reads};
pub use redis::RedisConfig;
pub use retention::RetentionConfig;
pub use shards::{ShardConfig, ShardsConfig, StrategyConfig};

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

/// Where a server listens: an address, or a socket that is bound already.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(from = "SocketAddr", into = "SocketAddr")]
#[schemars(with = "String")]
pub struct Listen {
    address: SocketAddr,
    bound: Option<Arc<Mutex<Option<TcpListener>>>>,
}

impl Listen {
    /// Binds `address` now, so that its port is known (it may be 0) and nobody else can take it.
    ///
    /// # Errors
    /// When the address can't be bound, most often because it is in use.
    pub fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = bind(address)?;
        Ok(Self { address: listener.local_addr()?, bound: Some(Arc::new(Mutex::new(Some(listener)))) })
    }

    /// The address; with its real port once bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listening socket: the one that was bound, else a new one.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub fn listener(&self) -> std::io::Result<tokio::net::TcpListener> {
        let bound = self.bound.as_ref().and_then(|bound| bound.lock().ok()?.take());
        let listener = match bound {
            Some(listener) => listener,
            None => bind(self.address)?,
        };
        tokio::net::TcpListener::from_std(listener)
    }
}

/// How many connections may wait to be accepted, unless `net.core.somaxconn` is less. The standard library's 128 are full while
/// a small machine is busy for some ten milliseconds, and who comes then tries again after a second.
const BACKLOG: i32 = 1024;

/// A socket that listens and doesn't block.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the standard library does: a service that starts again finds connections of its predecessor in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { address, bound: None }
    }
}

impl From<Listen> for SocketAddr {
    fn from(listen: Listen) -> Self {
        listen.address
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// A value that no log, error message or printed configuration shows.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String")]
pub struct Secret(String);

/// What stands where a secret would.
pub const REDACTED: &str = "[redacted]";

impl Secret {
    /// Hides a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value. Whoever calls this keeps it out of sight.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    /// One that is unset stays so: defaults are written and read again.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { REDACTED })
    }
}

/// How a service knows its callers and is known by others.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// The users service, which signs and verifies: a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`.
    pub users: String,
    /// The `iss` of the tokens.
    pub issuer: String,
    /// The `aud` that tokens must name.
    pub audience: String,
    /// A JSON file with the `email` and `password` of this service's account; empty for one that calls no other.
    pub credentials: PathBuf,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            users: "http://127.0.0.1:8081".to_owned(),
            issuer: "meshwork".to_owned(),
            audience: "meshwork".to_owned(),
            credentials: PathBuf::new(),
        }
    }
}

/// The e-mail address and password of an account, as its file holds them.
///
/// The JSON is also a `SignInRequest`, so that `grpcurl -d @` can send the file as it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The e-mail address.
    pub email: String,
    /// The password.
    pub password: Secret,
}

impl Credentials {
    /// Reads the file.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it.
    pub fn read(path: &std::path::Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("can't read the credentials file {}: {error}", path.display()))?;
        // serde's message could quote the file, and with it the password.
        serde_json::from_str(&text)
            .map_err(|_| format!("the credentials file {} must be JSON with `email` and `password`", path.display()))
    }
}
