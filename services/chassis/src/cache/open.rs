//! The tiers that the settings name.

use meshwork_cache::{RedisOptions, RedisRemote, Tiers, TiersOptions};

use crate::ServeError;
use crate::config::{CacheConfig, RedisConfig};

/// The tiers of `service`: in its process, and in Redis behind it if that is set; `None` when its cache is disabled. The server need
/// not be there yet: what it would have is loaded meanwhile.
///
/// `identity` is that of the service's database ([`meshwork_sql::identity`]): what is cached of others that share the Redis has
/// other names, whatever prefixes they have.
///
/// # Errors
/// When the URL is none that a Redis can be found by.
pub fn open(
    redis: &RedisConfig,
    cache: &CacheConfig,
    service: &str,
    identity: &str,
) -> Result<Option<Tiers>, ServeError> {
    if !cache.enabled {
        return Ok(None);
    }
    let options = TiersOptions::default();
    if !redis.is_set() {
        return Ok(Some(Tiers::in_process(options)));
    }
    let prefix = format!("{}:{identity}", redis.prefix);
    let at = RedisOptions { prefix, ..RedisOptions::new(redis.url.expose()) };
    let remote = RedisRemote::connect(at).map_err(|error| {
        ServeError::new(
            format!("{service}.redis.url: {error}"),
            format!("correct `{service}.redis.url`, or `redis.url` if that is taken over from there"),
        )
    })?;
    Ok(Some(Tiers::with_remote(options, remote)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const IDENTITY: &str = "0123456789ab";

    #[tokio::test]
    async fn a_cache_is_in_the_process_unless_there_is_a_redis() {
        let (none, enabled) = (RedisConfig::default(), CacheConfig::default());
        let disabled = CacheConfig { enabled: false, ..enabled.clone() };
        assert!(open(&none, &disabled, "users", IDENTITY).unwrap().is_none());
        let in_process = open(&none, &enabled, "users", IDENTITY).unwrap().unwrap();
        assert_eq!((in_process.state(), in_process.check()), (None, Ok(())));

        // Nobody is there, and nobody is waited for.
        let away = RedisConfig { url: Secret::new("redis://127.0.0.1:9"), ..none.clone() };
        assert!(open(&away, &disabled, "users", IDENTITY).unwrap().is_none());
        let tiers = open(&away, &enabled, "users", IDENTITY).unwrap().unwrap();
        assert!(tiers.state().is_some() && tiers.check().is_err());
        let wrong = RedisConfig { url: Secret::new("redis://anna:hidden@host:port"), ..none };
        let refused = open(&wrong, &enabled, "users", IDENTITY).err().unwrap();
        assert!(refused.sentence.starts_with("users.redis.url: "), "{refused}");
        assert!(!refused.sentence.contains("hidden"), "{refused}");
    }
}
