//! Settings.

mod smtp;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use meshwork_chassis::config::{AuthConfig, Listen, Migrations, NatsConfig, PostgresConfig, RetentionConfig};
use meshwork_chassis::{ClientConfig, ServeError, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::Rules;
use crate::domain::Freshness;

/// In seconds.
const DAY: u64 = 24 * 60 * 60;
/// How many shards the users service may have.
const USERS_SHARDS: RangeInclusive<u16> = 1..=64;
pub use self::smtp::SmtpConfig;

/// The settings of the notifications service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the service listens.
    pub listen: Listen,
    /// Whether a start makes what its servers lack, or waits for who does. It is what `migrations` is for all services.
    #[serde(skip)]
    pub migrations: Migrations,
    /// The folder of this service: its database and, without a mail server, the letters in `mail/`.
    pub data: PathBuf,
    /// The folder of the event bus, when it is not on NATS.
    pub bus: PathBuf,
    /// Where the event bus is, if not in the folder. What is not set here is as `nats` has it.
    pub nats: NatsConfig,
    /// How many shards the users service has, its highest shard's number and one: its events come on so many times four lanes.
    pub users_shards: u16,
    /// How callers are known, and the account with which this service asks for its recipients.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// How this service calls others.
    pub client: ClientConfig,
    /// The e-mail address that letters come from.
    pub mail_from: String,
    /// For how long a try has its letter for itself. A letter that was under way in a crash is sent again after it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease: Duration,
    /// For how long a letter is tried that the mail system doesn't take. After it, it has failed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
    /// For how long notifications that were sent or given up are kept.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub retention: Duration,
    /// How old an event may be that is mailed about.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_event_age: Duration,
    /// Whether events from before the service's first start are mailed about.
    pub mail_old_events: bool,
    /// The mail server; without one, letters lie in the folder.
    pub smtp: SmtpConfig,
    /// Where notifications are, if not in the folder.
    pub postgres: PostgresConfig,
    /// For how long it is kept which events of an aggregate were noted, after the last of them. An aggregate that is silent for
    /// longer is taken for one whose events were all missed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub inbox_retention: Duration,
    /// The orders service, for events that were missed: a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`.
    pub orders: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8084)).into(),
            migrations: Migrations::default(),
            data: PathBuf::from("data/notifications"),
            bus: PathBuf::from("data/bus"),
            nats: NatsConfig::default(),
            users_shards: 1,
            auth: AuthConfig::default(),
            server: ServerConfig::default(),
            client: ClientConfig::default(),
            mail_from: "shop@meshwork.local".to_owned(),
            lease: Duration::from_secs(30),
            // RFC 5321 (4.5.4.1) has 4 to 5 days.
            give_up_after: Duration::from_secs(5 * DAY),
            retention: Duration::from_secs(90 * DAY),
            max_event_age: Duration::from_secs(7 * DAY),
            mail_old_events: false,
            smtp: SmtpConfig::default(),
            postgres: PostgresConfig::default(),
            inbox_retention: RetentionConfig::default().inbox,
            orders: "http://127.0.0.1:8083".to_owned(),
        }
    }
}

impl Config {
    /// Whether all that the service keeps is on servers, so that it may run several times.
    pub fn is_on_servers(&self) -> bool {
        !self.postgres.url.expose().is_empty() && !self.smtp.url.expose().is_empty()
    }

    /// Whether the values make sense.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ServeError> {
        let (second, hour, day) = (Duration::from_secs(1), Duration::from_secs(3600), Duration::from_secs(DAY));
        for (key, value, least, most, right) in [
            // Shorter, it could be over before a renewal that is slow: the letter would be sent twice.
            ("lease", self.lease, 20 * second, hour, "20s to 1h"),
            ("give_up_after", self.give_up_after, hour, 30 * day, "1h to 30 days"),
            ("retention", self.retention, hour, 3650 * day, "1h to 3650 days"),
            ("max_event_age", self.max_event_age, 60 * second, 3650 * day, "1m to 3650 days"),
            ("inbox_retention", self.inbox_retention, 30 * day, 3650 * day, "30 to 3650 days"),
        ] {
            if value < least || value > most {
                let shown = humantime_serde::re::humantime::format_duration(value);
                return Err(ServeError::new(format!("notifications.{key} is {shown}"), format!("it must be {right}")));
            }
        }
        if !USERS_SHARDS.contains(&self.users_shards) {
            return Err(ServeError::new(
                format!("notifications.users_shards is {}", self.users_shards),
                format!(
                    "it must be the highest number of a shard of the users service and one: {} to {}",
                    USERS_SHARDS.start(),
                    USERS_SHARDS.end()
                ),
            ));
        }
        self.nats.check("notifications.nats")?;
        self.smtp.check()?;
        self.postgres.check("notifications")
    }

    /// What the use cases go by.
    pub(crate) fn rules(&self) -> Rules {
        let freshness = Freshness { mail_old_events: self.mail_old_events, max_age: self.max_event_age };
        Rules { lease: self.lease, give_up_after: self.give_up_after, retention: self.retention, freshness }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shards_of_users_are_bounded() {
        for (users_shards, is_right) in [(0, false), (1, true), (64, true), (65, false)] {
            let checked = Config { users_shards, ..Config::default() }.check();
            assert_eq!(checked.is_ok(), is_right, "{users_shards}");
            if let Err(refused) = checked {
                assert_eq!(refused.sentence, format!("notifications.users_shards is {users_shards}"));
            }
        }
    }

    #[test]
    fn durations_are_bounded() {
        assert!(Config::default().check().is_ok());
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(DAY));
        for (key, bad) in [
            ("lease is 15s", Config { lease: Duration::from_secs(15), ..Config::default() }),
            ("give_up_after is 59m 59s", Config { give_up_after: Duration::from_secs(3599), ..Config::default() }),
            ("give_up_after is 30days 1s", Config { give_up_after: 30 * day + second, ..Config::default() }),
            ("retention is 0s", Config { retention: Duration::ZERO, ..Config::default() }),
            ("max_event_age is ", Config { max_event_age: Duration::MAX, ..Config::default() }),
        ] {
            let refused = bad.check().unwrap_err();
            assert!(refused.sentence.starts_with(&format!("notifications.{key}")), "{refused}");
        }
    }
}
