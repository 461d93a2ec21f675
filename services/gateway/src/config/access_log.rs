//! Settings of the access log.

use meshwork_chassis::ServeError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The access log: an event for each request, at its end, with the target `meshwork_gateway::access` and the level `info`, which
/// `log.filter` can leave out. It says who asked what (`request_id`, `caller`, `client`, `protocol`, `http_method`, `route`,
/// `user_agent`), and what came of it (`code`, `status`, `micros`, `received`, `sent`, `upstream`), and nothing of queries,
/// credentials, metadata and bodies.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogConfig {
    /// Whether requests are logged. `up`, which shows its log to people, takes false unless it is set. The log goes to standard
    /// error, and a request's end waits for it: what reads it has to keep up.
    pub enabled: bool,
    /// The share of requests that is logged, from 0 to 1. What the services fail (UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS) is
    /// logged whatever the share is, up to 100 requests a second.
    pub sample: f64,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { enabled: true, sample: 1.0 }
    }
}

impl AccessLogConfig {
    /// Whether the gateway can work by these settings.
    ///
    /// # Errors
    /// When a value is out of its range; the error names the key.
    pub fn check(&self) -> Result<(), ServeError> {
        if (0.0..=1.0).contains(&self.sample) {
            return Ok(());
        }
        Err(ServeError::new(
            format!("gateway.access_log.sample is {}, which is no share", self.sample),
            "set `gateway.access_log.sample` to a number from 0 to 1, such as 0.01 for one request of a hundred",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_from_0_to_1() {
        let check = |sample| AccessLogConfig { sample, ..AccessLogConfig::default() }.check();
        for good in [0.0, 0.01, 1.0] {
            check(good).unwrap();
        }
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(check(bad).unwrap_err().sentence.starts_with("gateway.access_log.sample is "));
        }
    }
}
