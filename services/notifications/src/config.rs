//! Settings.

mod smtp;

use std::net::SocketAddr;
use std::path::PathBuf;

use meshwork_chassis::config::{AuthConfig, Listen};
use meshwork_chassis::{ClientConfig, ServeError, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::smtp::SmtpConfig;

/// The settings of the notifications service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the service listens.
    pub listen: Listen,
    /// The folder of this service: its database and, without a mail server, the letters in `mail/`.
    pub data: PathBuf,
    /// The folder of the event bus.
    pub bus: PathBuf,
    /// How callers are known, and the account with which this service asks for its recipients.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// How this service calls others.
    pub client: ClientConfig,
    /// The e-mail address that letters come from.
    pub mail_from: String,
    /// The mail server; without one, letters lie in the folder.
    pub smtp: SmtpConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8084)).into(),
            data: PathBuf::from("data/notifications"),
            bus: PathBuf::from("data/bus"),
            auth: AuthConfig::default(),
            server: ServerConfig::default(),
            client: ClientConfig::default(),
            mail_from: "shop@meshwork.local".to_owned(),
            smtp: SmtpConfig::default(),
        }
    }
}

impl Config {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ServeError> {
        self.smtp.check()
    }
}
