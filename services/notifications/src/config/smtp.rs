//! The settings of the mail server.

use std::path::PathBuf;
use std::time::Duration;

use meshwork_chassis::ServeError;
use meshwork_chassis::config::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapters::{MailServer, SmtpOptions};

/// The most connections that make sense: more letters than this are never under way.
const MAX_CONNECTIONS: u32 = 100;

/// A mail server that takes letters over SMTP.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpConfig {
    /// The server, `smtp://USER:PASSWORD@HOST:PORT?tls=required` or `smtps://…`, which is encrypted from its first byte. `tls`
    /// may be `required`, `opportunistic` (where it is offered and works, whatever the certificate) or `none`; the first is
    /// the default with a login, the second without one. Empty: letters lie in the folder of the service.
    pub url: Secret,
    /// A PEM file with certificates that may have signed the server's, besides the public ones. Empty: those alone.
    pub ca_file: PathBuf,
    /// How long a connection, and the answer to each command, may take. The answer to the letter itself may take 5 minutes.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// How many connections there are at most.
    pub max_connections: u32,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self { url: Secret::new(""), ca_file: PathBuf::new(), timeout: Duration::from_secs(10), max_connections: 4 }
    }
}

/// A value is out of its range.
fn refuse(key: &str, value: impl std::fmt::Display, right: &str) -> ServeError {
    ServeError::new(format!("notifications.smtp.{key} is {value}"), format!("it must be {right}"))
}

impl SmtpConfig {
    /// Whether the values make sense.
    pub(super) fn check(&self) -> Result<(), ServeError> {
        self.options()?;
        if self.timeout < Duration::from_millis(10) || self.timeout > Duration::from_secs(300) {
            let shown = humantime_serde::re::humantime::format_duration(self.timeout);
            return Err(refuse("timeout", shown, "10ms to 5m"));
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.max_connections) {
            return Err(refuse("max_connections", self.max_connections, &format!("1 to {MAX_CONNECTIONS}")));
        }
        Ok(())
    }

    /// The server without what is secret, for people; `None` without one.
    pub(crate) fn shown(&self) -> Option<String> {
        let rest = self.url.expose().split_once("://").map_or("", |(_, rest)| rest);
        let rest = rest.split(['?', '/']).next().unwrap_or_default();
        let server = rest.rsplit_once('@').map_or(rest, |(_, server)| server);
        (!server.is_empty()).then(|| server.to_owned())
    }

    /// How letters are handed over; `None` when they lie in the folder.
    pub(crate) fn options(&self) -> Result<Option<SmtpOptions>, ServeError> {
        if self.url.expose().is_empty() {
            return Ok(None);
        }
        let server = MailServer::parse(self.url.expose())
            .map_err(|right| refuse("url", "no address of a mail server that can be used", right))?;
        Ok(Some(SmtpOptions {
            server,
            ca_file: Some(self.ca_file.clone()).filter(|file| !file.as_os_str().is_empty()),
            timeout: self.timeout,
            max_connections: self.max_connections as usize,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn bad_settings_of_the_mail_server_are_refused_by_their_keys() {
        let config = SmtpConfig::default;
        Config::default().check().unwrap();
        for (key, right, bad) in [
            ("url", "smtp://", SmtpConfig { url: Secret::new("http://anna:secret@host"), ..config() }),
            ("url", "tls=required", SmtpConfig { url: Secret::new("smtp://anna:secret@host?tls=none"), ..config() }),
            ("timeout", "10ms to 5m", SmtpConfig { timeout: Duration::ZERO, ..config() }),
            ("max_connections", "1 to 100", SmtpConfig { max_connections: 0, ..config() }),
        ] {
            let refused = Config { smtp: bad, ..Config::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with(&format!("notifications.smtp.{key} is ")), "{refused}");
            assert!(refused.hint.contains(right), "{}", refused.hint);
            assert!(!refused.to_string().contains("secret") && !refused.hint.contains("secret"), "{refused}");
        }
    }
}
