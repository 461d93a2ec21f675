//! How the bus reaches its servers, and what its streams are like.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};

/// How long a stream may keep events at most: what can be counted in nanoseconds.
const MAX_RETENTION: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// How many lanes a stream may have: each is followed by a relay, and by each consumer.
const MAX_LANES: u16 = 1024;
/// How long a stream keeps events at least: long enough for one that is being handled.
const MIN_RETENTION: Duration = Duration::from_secs(1);

/// An option can't be used.
#[derive(Debug, thiserror::Error)]
#[error("`{option}` {problem}")]
pub struct InvalidOption {
    /// The name of the field of [`JetStreamOptions`].
    pub option: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// How the bus reaches its servers, and what its streams are like.
#[derive(Clone)]
pub struct JetStreamOptions {
    /// The servers, separated by commas, such as `nats://one:4222,nats://two:4222`; `tls://` asks for TLS.
    pub url: String,
    /// The name under which the servers list the connection.
    pub name: String,
    /// A file of credentials, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// The user's name; goes with `password`.
    pub user: Option<String>,
    /// The user's password; goes with `user`.
    pub password: Option<String>,
    /// Who signs the servers' certificates (PEM), where it isn't somebody whom the system trusts. Asks for TLS.
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM), for servers that ask for one; goes with `key`.
    pub cert: Option<PathBuf>,
    /// The key of our certificate (PEM); goes with `cert`.
    pub key: Option<PathBuf>,
    /// How many servers keep each stream: 1, 3 or 5.
    pub replicas: usize,
    /// For how long events stay. An older stream is changed to it.
    pub retention: Duration,
    /// How many bytes each stream may have; then nothing is taken until events have aged. -1 for what the server has.
    pub max_bytes: i64,
    /// How many lanes streams have, 1 to 1024, by their names; one that isn't named has as many as an outbox has partitions.
    pub lanes: HashMap<String, u16>,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            name: "meshwork".to_owned(),
            credentials: None,
            user: None,
            password: None,
            ca: None,
            cert: None,
            key: None,
            replicas: 1,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            max_bytes: -1,
            lanes: HashMap::new(),
        }
    }
}

impl std::fmt::Debug for JetStreamOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamOptions")
            .field("url", &redacted(&self.url))
            .field("name", &self.name)
            .field("credentials", &self.credentials)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("replicas", &self.replicas)
            .field("retention", &self.retention)
            .field("max_bytes", &self.max_bytes)
            .field("lanes", &self.lanes)
            .finish()
    }
}

/// The servers without what identifies us to them, for messages.
pub(super) fn redacted(url: &str) -> String {
    let without = |server: &str| match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => server.to_owned(),
    };
    url.split(',').map(|server| without(server.trim())).collect::<Vec<_>>().join(",")
}

impl JetStreamOptions {
    /// The servers' addresses.
    pub(super) fn servers(&self) -> Result<Vec<ServerAddr>, InvalidOption> {
        let servers: Vec<&str> = self.url.split(',').map(str::trim).filter(|server| !server.is_empty()).collect();
        if servers.is_empty() {
            return Err(invalid("url", "names no server; right is, for example, `nats://127.0.0.1:4222`"));
        }
        servers.into_iter().map(server).collect()
    }

    /// Whether the streams can be like this.
    pub(super) fn check_streams(&self) -> Result<(), InvalidOption> {
        if !matches!(self.replicas, 1 | 3 | 5) {
            return Err(invalid("replicas", format!("is {}; right is 1, 3 or 5", self.replicas)));
        }
        if !(MIN_RETENTION..=MAX_RETENTION).contains(&self.retention) {
            return Err(invalid("retention", format!("is {:?}; right is 1 second to 100 years", self.retention)));
        }
        if self.max_bytes != -1 && self.max_bytes < 1024 * 1024 {
            return Err(invalid(
                "max_bytes",
                format!("is {}; right is at least 1048576 (1 MiB), or -1 for no limit", self.max_bytes),
            ));
        }
        if let Some((stream, count)) = self.lanes.iter().find(|(_, count)| !(1..=MAX_LANES).contains(*count)) {
            return Err(invalid("lanes", format!("has {count} for `{stream}`; right is 1 to {MAX_LANES}")));
        }
        Ok(())
    }

    /// What identifies us and the servers to each other; the files are read now.
    pub(super) async fn identity(&self) -> Result<ConnectOptions, InvalidOption> {
        let mut connect = ConnectOptions::new();
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => connect = connect.user_and_password(user.clone(), password.clone()),
            (Some(_), None) => return Err(invalid("password", "is missing; it goes with `user`")),
            (None, Some(_)) => return Err(invalid("user", "is missing; it goes with `password`")),
            (None, None) => {}
        }
        if let Some(path) = &self.credentials {
            if self.user.is_some() {
                return Err(invalid("credentials", "and `user` can't be given together; right is one of them"));
            }
            let text = read("credentials", path).await?;
            let refused = |error| invalid("credentials", format!("{}: {error}", path.display()));
            connect = connect.credentials(&text).map_err(refused)?;
        }
        if let Some(path) = &self.ca {
            pem("ca", path, "CERTIFICATE-----").await?;
            connect = connect.add_root_certificates(path.clone()).require_tls(true);
        }
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                pem("cert", cert, "CERTIFICATE-----").await?;
                pem("key", key, "PRIVATE KEY-----").await?;
                connect = connect.add_client_certificate(cert.clone(), key.clone());
            }
            (Some(_), None) => return Err(invalid("key", "is missing; it goes with `cert`")),
            (None, Some(_)) => return Err(invalid("cert", "is missing; it goes with `key`")),
            (None, None) => {}
        }
        if self.url.split(',').all(|server| server.trim().starts_with("tls://")) {
            // For those too that a cluster names later.
            connect = connect.require_tls(true);
        }
        Ok(connect.name(&self.name))
    }
}

fn invalid(option: &'static str, problem: impl Into<String>) -> InvalidOption {
    InvalidOption { option, problem: problem.into() }
}

fn server(text: &str) -> Result<ServerAddr, InvalidOption> {
    let wrong = |problem: &str| {
        invalid("url", format!("has `{}`, which {problem}; right is, for example, `nats://host:4222`", redacted(text)))
    };
    let address: ServerAddr = text.parse().map_err(|_| wrong("is no address of a server"))?;
    if address.is_websocket() {
        return Err(wrong("asks for a web socket, which is not supported"));
    }
    if address.host().is_empty() {
        return Err(wrong("names no host"));
    }
    Ok(address)
}

async fn read(option: &'static str, path: &Path) -> Result<String, InvalidOption> {
    let unreadable = |error| invalid(option, format!("can't be read: {}: {error}", path.display()));
    tokio::fs::read_to_string(path).await.map_err(unreadable)
}

/// Whether a file is what it should be; it is parsed at each connection.
async fn pem(option: &'static str, path: &Path, holds: &str) -> Result<(), InvalidOption> {
    if read(option, path).await?.contains(holds) {
        return Ok(());
    }
    Err(invalid(
        option,
        format!("is wrong: {} holds no PEM block that ends its first line with `{holds}`", path.display()),
    ))
}
