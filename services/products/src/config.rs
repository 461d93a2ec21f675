//! Settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use meshwork_chassis::config::{
    AuthConfig, CacheConfig, Listen, Migrations, NatsConfig, PostgresConfig, RedisConfig, RetentionConfig,
};
use meshwork_chassis::{ClientConfig, ServeError, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings of the products service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens, `ADDRESS:PORT`.
    pub listen: Listen,
    /// Whether a start makes what its servers lack, or waits for who does. It is what `migrations` is for all services.
    #[serde(skip)]
    pub migrations: Migrations,
    /// The folder of its own data.
    pub data: PathBuf,
    /// The folder of the event bus, when it is not on NATS.
    pub bus: PathBuf,
    /// Where the event bus is, if not in the folder. What is not set here is as `nats` has it.
    pub nats: NatsConfig,
    /// How it knows its callers.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// Where the catalogue and the inventory are, if not in the folder.
    pub postgres: PostgresConfig,
    /// The Redis behind what its instances cache. What is not set here is as `redis` has it.
    pub redis: RedisConfig,
    /// What it remembers of the products for GetProduct, and for the first page of ListProducts. Stocks, and the prices of orders,
    /// never come from there.
    pub cache: CacheConfig,
    /// For how long it keeps what has done its work.
    pub retention: RetentionConfig,
    /// How this service calls others.
    pub client: ClientConfig,
    /// The orders service, for events that were missed: a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`.
    pub orders: String,
    /// How long pieces are held for an order that isn't confirmed, such as `10m`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub reservation_ttl: Duration,
    /// How often it looks for reservations whose time is over, such as `1s`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub sweep_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8082)).into(),
            migrations: Migrations::default(),
            data: PathBuf::from("data/products"),
            bus: PathBuf::from("data/bus"),
            nats: NatsConfig::default(),
            auth: AuthConfig::default(),
            server: ServerConfig::default(),
            postgres: PostgresConfig::default(),
            redis: RedisConfig::default(),
            cache: CacheConfig::default(),
            retention: RetentionConfig::default(),
            client: ClientConfig::default(),
            orders: "http://127.0.0.1:8083".to_owned(),
            reservation_ttl: Duration::from_secs(10 * 60),
            sweep_interval: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// Whether all that the service keeps is on servers, so that it may run several times.
    pub fn is_on_servers(&self) -> bool {
        !self.postgres.url.expose().is_empty()
    }

    /// Whether the values make sense.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ServeError> {
        self.nats.check("products.nats")?;
        self.postgres.check("products")?;
        self.redis.check("products.redis")?;
        self.cache.check("products.cache")?;
        self.retention.check("products", &self.nats)?;
        self.hold().map(drop)
    }

    /// The time to hold pieces.
    ///
    /// # Errors
    /// When a duration is not one to work with.
    pub(crate) fn hold(&self) -> Result<time::Duration, ServeError> {
        if self.sweep_interval.is_zero() {
            return Err(ServeError::new("products.sweep_interval is 0", "set it above zero, such as 1s"));
        }
        let hint = "set it above zero and at most ten years, such as 10m";
        match time::Duration::try_from(self.reservation_ttl) {
            Ok(hold) if hold.is_positive() && hold <= time::Duration::days(3653) => Ok(hold),
            _ => {
                let shown = humantime_serde::re::humantime::format_duration(self.reservation_ttl);
                Err(ServeError::new(format!("products.reservation_ttl is {shown}"), hint))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_can_not_be_are_refused() {
        let config = |reservation_ttl, sweep_interval| Config { reservation_ttl, sweep_interval, ..Config::default() };
        let second = Duration::from_secs(1);
        assert_eq!(config(second, second).hold().unwrap(), time::Duration::SECOND);
        for (ttl, interval, setting) in [
            (Duration::ZERO, second, "products.reservation_ttl"),
            (Duration::MAX, second, "products.reservation_ttl"),
            (second, Duration::ZERO, "products.sweep_interval"),
        ] {
            let refused = config(ttl, interval).hold().unwrap_err();
            assert!(refused.sentence.starts_with(setting), "{refused}");
        }
    }

    #[test]
    fn a_cache_is_enabled_unless_it_is_taken_out() {
        assert!(Config::default().cache.enabled && !Config::default().redis.is_set());
        for (wrong, sentence) in [
            (r#"{"redis": {"prefix": "Shop"}}"#, "products.redis.prefix is \"Shop\""),
            (r#"{"cache": {"negative_ttl": "1m"}}"#, "products.cache.negative_ttl is 1m"),
        ] {
            let wrong: Config = serde_json::from_str(wrong).unwrap();
            assert_eq!(wrong.check().unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn settings_are_read_back_as_they_were_written() {
        let json = serde_json::to_value(Config::default()).unwrap();
        assert_eq!(json["reservation_ttl"], "10m");
        let read: Config = serde_json::from_value(json).unwrap();
        assert_eq!(read.reservation_ttl, Config::default().reservation_ttl);
        assert!(serde_json::from_str::<Config>(r#"{"reservation_tll": "1m"}"#).is_err());
    }
}
