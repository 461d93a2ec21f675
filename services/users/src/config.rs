//! The settings of the service.

mod attempts;
mod issuers;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use meshwork_chassis::config::{
    AuthConfig, CacheConfig, Listen, Migrations, NatsConfig, PostgresConfig, RedisConfig, RetentionConfig, ShardsConfig,
};
use meshwork_chassis::{ServeError, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::attempts::AttemptRates;
pub use self::attempts::{PasswordsConfig, SignInConfig, SignUpConfig};
pub use self::issuers::{IssuerAlgorithm, IssuerConfig, IssuerRole};
pub(crate) use self::issuers::{discovery_url, endpoint};

/// The settings of the users service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the gRPC port listens.
    pub listen: Listen,
    /// Whether a start makes what its servers lack, or waits for who does. It is what `migrations` is for all services.
    #[serde(skip)]
    pub migrations: Migrations,
    /// The folder of this service: its database, unless that is on a server, and the keys that sign access tokens. Keep it private
    /// and back it up. Instances that share a database share these keys too.
    pub data: PathBuf,
    /// The folder of the event bus, when it is not on NATS.
    pub bus: PathBuf,
    /// Where the event bus is, if not in the folder. What is not set here is as `nats` has it.
    pub nats: NatsConfig,
    /// The folder where the credentials of the first accounts are written, a JSON file each, unless they are there.
    pub credentials: PathBuf,
    /// How callers are known. The service signs the tokens itself: of these it uses the issuer and the audience.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// Where the accounts are, if not in the folder.
    pub postgres: PostgresConfig,
    /// The databases that hold the accounts together, if there are several.
    pub shards: ShardsConfig,
    /// The Redis behind what its instances cache, and in which they count sign-ins together. What is not set here is as `redis`
    /// has it.
    pub redis: RedisConfig,
    /// What it remembers of the accounts for GetUser. Sign-ins, sessions and changes never come from there, and nothing of a
    /// password is in it.
    pub cache: CacheConfig,
    /// For how long it keeps what has done its work.
    pub retention: RetentionConfig,
    /// Other issuers whose tokens are exchanged for ours (`ExchangeToken`), such as a company's OpenID Connect provider; 16 at most.
    pub issuers: Vec<IssuerConfig>,
    /// How often somebody may try to sign in.
    pub sign_in: SignInConfig,
    /// How often somebody may try to sign up.
    pub sign_up: SignUpConfig,
    /// How passwords are hashed.
    pub passwords: PasswordsConfig,
    /// How long an access token lives, from 1 s to 1 day. Nothing can take one back before its end: what is revoked, an API key or a
    /// session, is so for good within this time and the 5 s that clocks may differ by, 5 minutes unless it is set.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub access_token_ttl: Duration,
    /// How long a session lives without being refreshed, from 1 s to 400 days.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub refresh_token_ttl: Duration,
    /// For how long a refresh token that was used gives the same next one again, while that is unused, to who has lost the answer:
    /// up to 5 minutes, and 0 s for not at all. One that comes again otherwise ends its session.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub refresh_repeat: Duration,
    /// How long after its deletion the address, the name and the password's hash of an account are erased, and the letters that
    /// its owner was sent, as far as they are ours; up to 3650 days. 0s: at once, within a minute or two. Its id, its role and its
    /// times stay, and the address stays taken by a keyed hash, whose key comes from the signing keys in the folder or, if it
    /// is there, from a file `address-key` of at least 32 random bytes beside them: an address is free again when the key of
    /// its time is taken away.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub erase_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)).into(),
            migrations: Migrations::default(),
            data: "data/users".into(),
            bus: "data/bus".into(),
            nats: NatsConfig::default(),
            credentials: "data/credentials".into(),
            auth: AuthConfig::default(),
            server: ServerConfig::default(),
            postgres: PostgresConfig::default(),
            shards: ShardsConfig::default(),
            redis: RedisConfig::default(),
            cache: CacheConfig::default(),
            retention: RetentionConfig::default(),
            issuers: Vec::new(),
            sign_in: SignInConfig::default(),
            sign_up: SignUpConfig::default(),
            passwords: PasswordsConfig::default(),
            access_token_ttl: Duration::from_secs(290),
            refresh_token_ttl: DAY * 30,
            refresh_repeat: Duration::from_secs(30),
            erase_after: DAY * 30,
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The most that a refresh token may give its answer again: a copy of it is not noticed meanwhile.
const MAX_REPEAT: Duration = Duration::from_secs(5 * 60);

impl Config {
    /// Whether all accounts and sessions are on servers, so that the service may run several times, with the same signing keys.
    pub fn is_on_servers(&self) -> bool {
        self.shards.is_set() || !self.postgres.url.expose().is_empty()
    }

    /// How often somebody may try: the whole of it where all instances count together in Redis, else this instance's share.
    pub(crate) fn attempt_rates(&self) -> Result<AttemptRates, ServeError> {
        let instances = if self.redis.is_set() { NonZeroU32::MIN } else { self.sign_in.instances };
        AttemptRates::of(&self.sign_in, &self.sign_up, instances)
    }

    /// Whether the values make sense.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ServeError> {
        let lifetimes = [
            ("access_token_ttl", self.access_token_ttl, DAY),
            ("refresh_token_ttl", self.refresh_token_ttl, DAY * 400),
        ];
        for (key, value, most) in lifetimes {
            if value < Duration::from_secs(1) || value > most {
                return Err(ServeError::new(
                    format!("users.{key} is {}", humantime_serde::re::humantime::format_duration(value)),
                    format!("it must be 1s to {} days", most.as_secs() / DAY.as_secs()),
                ));
            }
        }
        if self.refresh_repeat > MAX_REPEAT {
            return Err(ServeError::new(
                format!(
                    "users.refresh_repeat is {}",
                    humantime_serde::re::humantime::format_duration(self.refresh_repeat)
                ),
                format!("it must be 0s to {} minutes", MAX_REPEAT.as_secs() / 60),
            ));
        }
        if self.erase_after > DAY * 3650 {
            return Err(ServeError::new(
                format!("users.erase_after is {}", humantime_serde::re::humantime::format_duration(self.erase_after)),
                "it must be 0s to 3650 days",
            ));
        }
        issuers::check(&self.issuers, &self.auth.issuer)?;
        self.attempt_rates()?;
        self.passwords.check()?;
        self.nats.check("users.nats")?;
        self.postgres.check("users")?;
        self.shards.check("users")?;
        self.redis.check("users.redis")?;
        self.cache.check("users.cache")?;
        self.retention.check("users", &self.nats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_bounded() {
        assert!(Config::default().check().is_ok());
        let wrong = Config { access_token_ttl: Duration::ZERO, ..Config::default() };
        assert_eq!(wrong.check().unwrap_err().to_string(), "users.access_token_ttl is 0s");
        assert!(Config { refresh_token_ttl: DAY * 401, ..Config::default() }.check().is_err());
        assert!(Config { refresh_repeat: Duration::ZERO, ..Config::default() }.check().is_ok());
        let wrong = Config { refresh_repeat: Duration::from_secs(301), ..Config::default() };
        assert_eq!(wrong.check().unwrap_err().to_string(), "users.refresh_repeat is 5m 1s");
        assert!(Config { erase_after: Duration::ZERO, ..Config::default() }.check().is_ok());
        assert!(Config { erase_after: DAY * 3651, ..Config::default() }.check().is_err());
    }

    #[test]
    fn accounts_are_on_servers_by_one_url_or_by_shards() {
        assert!(!Config::default().is_on_servers());
        let one: Config = serde_json::from_str(r#"{"postgres": {"url": "postgres://db/shop"}}"#).unwrap();
        let shard = r#"{"shards": {"databases": [{"id": 3, "name": "c", "url": "postgres://c/shop"}]}}"#;
        let shards: Config = serde_json::from_str(shard).unwrap();
        assert!(one.is_on_servers() && shards.is_on_servers());
        assert!(one.check().is_ok() && shards.check().is_ok());
        let wrong: Config = serde_json::from_str(r#"{"shards": {"splits": ["m"]}}"#).unwrap();
        assert!(wrong.check().unwrap_err().to_string().starts_with("users.shards.splits "));
    }

    #[test]
    fn a_cache_is_enabled_unless_it_is_taken_out() {
        assert!(Config::default().cache.enabled && !Config::default().redis.is_set());
        for (wrong, sentence) in [
            (r#"{"redis": {"url": "http://anna:hidden@a"}}"#, "users.redis.url is no address of a Redis"),
            (r#"{"cache": {"ttl": "2h"}}"#, "users.cache.ttl is 2h"),
        ] {
            let wrong: Config = serde_json::from_str(wrong).unwrap();
            assert_eq!(wrong.check().unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let config: Config = serde_json::from_str(r#"{"access_token_ttl": "5m", "listen": "0.0.0.0:1"}"#).unwrap();
        assert_eq!((config.access_token_ttl, config.listen.address().port()), (Duration::from_secs(300), 1));
        assert_eq!(config.refresh_token_ttl, DAY * 30);
        assert!(serde_json::from_str::<Config>(r#"{"acces_token_ttl": "5m"}"#).is_err());
    }
}
