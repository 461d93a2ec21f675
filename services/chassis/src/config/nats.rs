//! The settings of NATS.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::Authority;
use meshwork_events::jetstream::JetStreamOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::ServeError;

/// The schemes that a server's URL may have.
const SCHEMES: [&str; 2] = ["nats://", "tls://"];
/// How many bytes a bound of a stream may be.
const MAX_BYTES: RangeInclusive<u64> = (16 << 20)..=(16 << 40);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long streams may keep events. A consumer that was away for longer asks the owners of the events.
const RETENTION: RangeInclusive<Duration> = DAY..=DAY.saturating_mul(3653);

/// Refuses a key: its value, and what is right.
type Refuse<'a> = dyn Fn(&str, &dyn Display, &str) -> Result<(), ServeError> + 'a;

/// A NATS server or cluster with JetStream, in place of the event bus in a folder. All services of a shop share it, and
/// no other shop uses its account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// The servers, `nats://HOST:PORT` or `tls://HOST:PORT`, those of a cluster with commas between them. Empty: the event bus
    /// lies in its folder.
    pub url: String,
    /// A file with credentials, as `nsc` writes them; empty for none.
    pub credentials: PathBuf,
    /// The user, for servers that ask for a name and a password; empty for none.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// A file of certificates in PEM by which the servers' are checked; empty for those that the system trusts.
    pub ca: PathBuf,
    /// A file with this client's certificate in PEM, for servers that ask for one; empty for none.
    pub cert: PathBuf,
    /// The file with the key of that certificate.
    pub key: PathBuf,
    /// How many servers keep each stream: 1, 3 or 5.
    pub replicas: usize,
    /// For how long streams keep events, from 1 day to ten years. The services' outboxes must keep theirs as long.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub retention: Duration,
    /// How many bytes each stream may have; 0 for as many as the servers have room for. A full one takes nothing more
    /// until older events have aged: events wait in the services then.
    pub max_bytes: u64,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            credentials: PathBuf::new(),
            user: String::new(),
            password: Secret::new(""),
            ca: PathBuf::new(),
            cert: PathBuf::new(),
            key: PathBuf::new(),
            replicas: 1,
            retention: DAY * 7,
            max_bytes: 0,
        }
    }
}

impl NatsConfig {
    /// Whether the event bus is on NATS.
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// Whether the values make sense; `section` is where they stand, such as `nats` or `orders.nats`.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self, section: &str) -> Result<(), ServeError> {
        let refuse = |key: &str, value: &dyn Display, right: &str| {
            Err(ServeError::new(format!("{section}.{key} is {value}"), format!("it must be {right}")))
        };
        // What stands before an @ may be a password: it is not shown.
        if self.url.contains('@') {
            let right = format!("without them: they are {section}.user and {section}.password");
            return refuse("url", &"a URL with a user or a password", &right);
        }
        if self.is_set() && !self.servers().all(is_server) {
            return refuse(
                "url",
                &format!("{:?}", self.url),
                "nats://HOST:PORT or tls://HOST:PORT, several with commas",
            );
        }
        let is_login = !self.user.is_empty();
        if is_login && !self.credentials.as_os_str().is_empty() {
            return refuse("user", &format!("{:?}", self.user), "empty, or credentials must be");
        }
        if is_login == self.password.expose().is_empty() {
            let right = "set if user is, and only then";
            return refuse("password", if is_login { &"empty" } else { &"set" }, right);
        }
        if is_empty(&self.cert) != is_empty(&self.key) {
            let (key, value) = if is_empty(&self.cert) { ("cert", &self.cert) } else { ("key", &self.key) };
            return refuse(
                key,
                &format!("{:?}", value.display().to_string()),
                "a file, or both cert and key must be empty",
            );
        }
        if self.is_set() && !self.is_encrypted() {
            if !is_empty(&self.cert) {
                let right = format!("empty, or {section}.ca must be set, or all servers of {section}.url be tls://");
                return refuse("cert", &format!("{:?}", self.cert.display().to_string()), &right);
            }
            if (is_login || !is_empty(&self.credentials)) && !self.servers().all(is_safe_for_logins) {
                let right = format!(
                    "tls://HOST:PORT for every server, unless {section}.ca is set: a login goes unencrypted to this host \
                     alone (localhost, 127.0.0.1, [::1])"
                );
                return refuse("url", &format!("{:?}", self.url), &right);
            }
        }
        self.check_files(&refuse)?;
        if ![1, 3, 5].contains(&self.replicas) {
            return refuse("replicas", &self.replicas, "1, 3 or 5");
        }
        if !RETENTION.contains(&self.retention) {
            let shown = humantime_serde::re::humantime::format_duration(self.retention);
            return refuse("retention", &shown, "1 day to ten years");
        }
        if self.max_bytes != 0 && !MAX_BYTES.contains(&self.max_bytes) {
            let right = format!("{} to {}, or 0 for no bound but the servers'", MAX_BYTES.start(), MAX_BYTES.end());
            return refuse("max_bytes", &self.max_bytes, &right);
        }
        Ok(())
    }

    /// Whether the files that are named can be read, if the event bus is on NATS.
    fn check_files(&self, refuse: &Refuse<'_>) -> Result<(), ServeError> {
        for (key, path) in
            [("credentials", &self.credentials), ("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)]
        {
            if !self.is_set() || is_empty(path) {
                continue;
            }
            if let Err(error) = can_be_read(path) {
                let right = format!("a file that can be read, or empty: {error}");
                return refuse(key, &format!("{:?}", path.display().to_string()), &right);
            }
        }
        Ok(())
    }

    /// Whether TLS is asked for with every server.
    fn is_encrypted(&self) -> bool {
        !is_empty(&self.ca) || self.servers().all(is_tls)
    }

    /// The first key by which these settings name other servers than `other`, or ask for streams that are otherwise:
    /// services with such settings can't work together.
    pub fn differs_in(&self, other: &Self) -> Option<&'static str> {
        let servers = |nats: &Self| nats.servers().map(str::to_owned).collect::<BTreeSet<_>>();
        if servers(self) != servers(other) {
            return Some("url");
        }
        if !self.is_set() {
            return None;
        }
        let differing = [
            ("replicas", self.replicas != other.replicas),
            ("retention", self.retention != other.retention),
            ("max_bytes", self.max_bytes != other.max_bytes),
        ];
        differing.into_iter().find_map(|(key, differs)| differs.then_some(key))
    }

    fn servers(&self) -> impl Iterator<Item = &str> {
        self.url.split(',').map(str::trim)
    }

    /// The servers without what is secret, for people.
    pub fn shown(&self) -> String {
        let places = self.servers().map(|server| {
            let place = without_scheme(server).unwrap_or(server);
            place.rsplit('@').next().unwrap_or_default()
        });
        places.collect::<Vec<_>>().join(",")
    }

    /// The options of the bus, whose connection the servers list as `name`; `None` when the event bus is in a folder.
    pub fn options(&self, name: &str) -> Option<JetStreamOptions> {
        let file = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.is_set().then(|| JetStreamOptions {
            name: name.to_owned(),
            credentials: file(&self.credentials),
            user: text(&self.user),
            password: text(self.password.expose()),
            ca: file(&self.ca),
            cert: file(&self.cert),
            key: file(&self.key),
            replicas: self.replicas,
            retention: self.retention,
            max_bytes: match self.max_bytes {
                // What the server calls no bound.
                0 => -1,
                bytes => i64::try_from(bytes).unwrap_or(i64::MAX),
            },
            url: self.servers().collect::<Vec<_>>().join(","),
            lanes: HashMap::new(),
        })
    }
}

/// What stands behind the scheme of a server's URL; `None` when it has none that a server may have.
fn without_scheme(url: &str) -> Option<&str> {
    SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme))
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Whether the file is there and may be read. Only a regular one is opened: another might keep us waiting.
fn can_be_read(path: &Path) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it isn't a file"));
    }
    File::open(path).map(drop)
}

fn is_tls(url: &str) -> bool {
    url.starts_with("tls://")
}

/// Whether a login may go to the server: TLS is asked for, or it is on this host.
fn is_safe_for_logins(url: &str) -> bool {
    is_tls(url) || place(url).is_some_and(|authority| is_loopback(authority.host()))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host and the port of a server's URL.
fn place(url: &str) -> Option<Authority> {
    without_scheme(url)?.trim_end_matches('/').parse().ok()
}

/// Whether this is the URL of one server: a scheme, a host and perhaps a port.
fn is_server(url: &str) -> bool {
    let Some(authority) = place(url) else { return false };
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    !authority.host().is_empty() && (port.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_of_nats_are_refused_by_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.pem");
        std::fs::write(&file, "").unwrap();
        let config = || NatsConfig { url: "nats://127.0.0.1:4222".to_owned(), ..NatsConfig::default() };
        let of = |url: &str| NatsConfig { url: url.to_owned(), ..NatsConfig::default() };
        let login = |user: &str, password: &str| NatsConfig {
            user: user.to_owned(),
            password: Secret::new(password),
            ..config()
        };
        for (key, bad) in [
            ("url", of("http://host:4222")),
            ("url", of("nats://")),
            ("url", of("nats://:4222")),
            ("url", of("nats://host:99999")),
            ("url", of("nats://host/path")),
            ("url", of("nats://a:4222,,nats://b:4222")),
            ("url", of("nats://anna:hidden@host:4222")),
            ("user", NatsConfig { credentials: "shop.creds".into(), ..login("anna", "hidden") }),
            ("password", login("anna", "")),
            ("password", login("", "hidden")),
            ("url", NatsConfig { url: "nats://nats.example:4222".to_owned(), ..login("anna", "hidden") }),
            ("url", NatsConfig { url: "tls://a:4222,nats://10.0.0.1:4222".to_owned(), ..login("anna", "hidden") }),
            ("url", NatsConfig { credentials: "shop.creds".into(), ..of("nats://nats.example:4222") }),
            ("cert", NatsConfig { cert: "cert.pem".into(), key: "key.pem".into(), ..config() }),
            ("credentials", NatsConfig { credentials: "/nowhere/shop.creds".into(), ..config() }),
            ("ca", NatsConfig { ca: "/nowhere/ca.pem".into(), ..login("anna", "hidden") }),
            ("ca", NatsConfig { ca: "/".into(), ..config() }),
            ("cert", NatsConfig { cert: "/nowhere/cert.pem".into(), key: file.clone(), ..of("tls://a") }),
            ("key", NatsConfig { cert: file.clone(), key: "/nowhere/key.pem".into(), ..of("tls://a") }),
            ("key", NatsConfig { cert: "cert.pem".into(), ..config() }),
            ("cert", NatsConfig { key: "key.pem".into(), ..config() }),
            ("replicas", NatsConfig { replicas: 2, ..config() }),
            ("retention", NatsConfig { retention: DAY - Duration::from_secs(1), ..config() }),
            ("retention", NatsConfig { retention: Duration::MAX, ..config() }),
            ("max_bytes", NatsConfig { max_bytes: 1 << 20, ..config() }),
            ("max_bytes", NatsConfig { max_bytes: u64::MAX, ..config() }),
        ] {
            let refused = bad.check("orders.nats").unwrap_err();
            assert!(refused.sentence.starts_with(&format!("orders.nats.{key} is ")), "{refused}");
            assert!(!format!("{} {}", refused.sentence, refused.hint).contains("hidden"), "{refused}");
        }
        for good in [
            NatsConfig::default(),
            config(),
            login("anna", "hidden"),
            of("nats://a:4222, tls://b,nats://[::1]:4222/"),
            NatsConfig { retention: DAY, max_bytes: 16 << 20, ..config() },
            NatsConfig { url: "nats://localhost,nats://[::1]:4222,tls://a".to_owned(), ..login("anna", "hidden") },
            NatsConfig { ca: file.clone(), url: "nats://a".to_owned(), ..login("anna", "hidden") },
            NatsConfig { credentials: file.clone(), ..of("tls://a") },
            NatsConfig { cert: file.clone(), key: file.clone(), ca: file.clone(), replicas: 3, ..config() },
            NatsConfig { cert: file.clone(), key: file.clone(), ..of("tls://a") },
            // What is shared may be for services that name servers of their own.
            NatsConfig { ca: "/nowhere/ca.pem".into(), url: String::new(), ..login("anna", "hidden") },
        ] {
            good.check("nats").unwrap_or_else(|refused| panic!("{refused}"));
        }
    }

    #[test]
    fn services_work_together_on_the_same_servers_and_streams_by_whatever_account() {
        let of = |url: &str| NatsConfig { url: url.to_owned(), ..NatsConfig::default() };
        let one = of("nats://a,nats://b");
        assert_eq!(NatsConfig::default().differs_in(&NatsConfig { replicas: 3, ..NatsConfig::default() }), None);
        assert_eq!(one.differs_in(&NatsConfig { user: "anna".to_owned(), ..of("nats://b, nats://a") }), None);
        for (key, other) in [
            ("url", NatsConfig::default()),
            ("url", of("nats://a,nats://c")),
            ("replicas", NatsConfig { replicas: 3, ..one.clone() }),
            ("retention", NatsConfig { retention: DAY, ..one.clone() }),
            ("max_bytes", NatsConfig { max_bytes: 1 << 30, ..one.clone() }),
        ] {
            assert_eq!((one.differs_in(&other), other.differs_in(&one)), (Some(key), Some(key)));
        }
    }

    #[test]
    fn a_stream_has_no_bound_of_its_own_unless_one_is_set() {
        let of = |max_bytes| {
            let nats =
                NatsConfig { url: "nats://a".to_owned(), retention: DAY * 9, max_bytes, ..NatsConfig::default() };
            let options = nats.options("meshwork orders").unwrap();
            (options.max_bytes, options.retention)
        };
        assert_eq!((of(0), of(1 << 30)), ((-1, DAY * 9), (1 << 30, DAY * 9)));
    }

    #[test]
    fn the_servers_are_shown_and_the_password_is_not() {
        let config = NatsConfig {
            url: "nats://a:4222, tls://b:4223".to_owned(),
            user: "anna".to_owned(),
            password: Secret::new("hidden"),
            ..NatsConfig::default()
        };
        assert_eq!(config.shown(), "a:4222,b:4223");
        let options = config.options("meshwork orders");
        assert_eq!(options.as_ref().map(|options| options.name.as_str()), Some("meshwork orders"));
        assert!(NatsConfig::default().options("meshwork orders").is_none());
        assert!(!format!("{config:?} {options:?}").contains("hidden"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hidden"));
    }
}
