//! For how long a service keeps what has done its work.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ServeError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long a service keeps what has done its work. Answers to request ids are kept for a day.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Events that are published: at least as long as the event bus keeps them, 7 days, so that consumers which miss some find
    /// them here.
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
    /// Whether the values make sense; `service` is whose they are.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self, service: &str) -> Result<(), ServeError> {
        for (key, value, least) in [("outbox", self.outbox, DAY * 7), ("inbox", self.inbox, DAY * 30)] {
            if value < least || value > DAY * 3653 {
                let shown = humantime_serde::re::humantime::format_duration(value);
                return Err(ServeError::new(
                    format!("{service}.retention.{key} is {shown}"),
                    format!("it must be {} days to ten years", least.as_secs() / DAY.as_secs()),
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
        assert!(RetentionConfig::default().check("products").is_ok());
        let short = RetentionConfig { outbox: DAY * 6, ..RetentionConfig::default() };
        assert_eq!(short.check("products").unwrap_err().sentence, "products.retention.outbox is 6days");
        assert!(RetentionConfig { inbox: DAY, ..RetentionConfig::default() }.check("products").is_err());
    }
}
