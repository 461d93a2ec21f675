//! For how long a service keeps what has done its work.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NatsConfig;
use crate::ServeError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long the event bus in a folder keeps events.
const IN_FOLDER: Duration = DAY.saturating_mul(7);

/// For how long a service keeps what has done its work. Answers to request ids are kept for a day.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Events that are published: at least as long as the event bus keeps them (7 days, or `nats.retention` if that is
    /// longer), so that consumers which miss some find them here.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub outbox: Duration,
    /// Which events of an aggregate were applied, after the last of them. An aggregate that is silent for longer is taken for
    /// one whose events were all missed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub inbox: Duration,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { outbox: DAY * 14, inbox: DAY * 400 }
    }
}

impl RetentionConfig {
    /// Whether the values make sense beside the `nats` of the same service; `service` is whose they are.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self, service: &str, nats: &NatsConfig) -> Result<(), ServeError> {
        // Whoever moves back to the folder needs what that keeps.
        let on_the_bus = if nats.is_set() { nats.retention.max(IN_FOLDER) } else { IN_FOLDER };
        for (key, value, least) in [("outbox", self.outbox, on_the_bus), ("inbox", self.inbox, DAY * 30)] {
            if value < least || value > DAY * 3653 {
                let shown = humantime_serde::re::humantime::format_duration;
                let why = if key == "outbox" && least > IN_FOLDER {
                    format!(", since {service}.nats.retention is that long")
                } else {
                    String::new()
                };
                return Err(ServeError::new(
                    format!("{service}.retention.{key} is {}", shown(value)),
                    format!("it must be {} to ten years{why}", shown(least)),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_consumers_may_miss_is_kept_as_long_as_the_bus_keeps_it() {
        let nats = NatsConfig::default();
        assert!(RetentionConfig::default().check("products", &nats).is_ok());
        let short = RetentionConfig { outbox: DAY * 6, ..RetentionConfig::default() };
        assert_eq!(short.check("products", &nats).unwrap_err().sentence, "products.retention.outbox is 6days");
        assert!(RetentionConfig { inbox: DAY, ..RetentionConfig::default() }.check("products", &nats).is_err());

        let nats = |days| NatsConfig { url: "nats://a".to_owned(), retention: DAY * days, ..NatsConfig::default() };
        assert!(RetentionConfig::default().check("products", &nats(14)).is_ok());
        let refused = RetentionConfig::default().check("products", &nats(15)).unwrap_err();
        assert_eq!(refused.sentence, "products.retention.outbox is 14days");
        assert_eq!(refused.hint, "it must be 15days to ten years, since products.nats.retention is that long");
        assert!(short.check("products", &nats(1)).is_err(), "the bus in a folder keeps them for 7 days");
    }
}
