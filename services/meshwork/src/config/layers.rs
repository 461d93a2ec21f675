//! Putting the layers of settings together.

use std::path::{Path, PathBuf};

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Uncased, UncasedStr, Value};
use figment::{Figment, Metadata, Profile, Provider};

use meshwork_cache::RedisOptions;
use meshwork_chassis::ServeError;
use meshwork_chassis::config::RedisConfig;
use serde::Deserialize;

use super::flag::Flag;
use super::origin::is_set;
use super::refusal::refuse;
use super::servers;
use super::settings::{ON_THE_BUS, Settings, WITH_CACHES};
use crate::cli::SettingsArgs;
use crate::failure::Failure;

/// Where everything lies when nobody says otherwise.
const DATA: &str = "meshwork-data";
/// What our variables begin with; `__` stands between the parts of a key.
const PREFIX: &str = "MESHWORK_";
/// The keys that need no `__`. Other such variables aren't ours: Kubernetes makes MESHWORK_USERS_PORT and the like.
const TOP: [&str; 12] = [
    "data",
    "ops",
    "health",
    "migrations",
    "log",
    "nats",
    "redis",
    "users",
    "products",
    "orders",
    "notifications",
    "gateway",
];
/// The section of the event bus.
const NATS: &str = "nats";
/// The section of the Redis behind caches and rate limits.
const REDIS: &str = "redis";
/// The sections that services take over, each with these services, and with its keys, which need one `_` only:
/// MESHWORK_NATS_URL. Kubernetes makes no variable of these names.
const SHARED: [(&str, &[&str], &[&str]); 2] = [
    (
        NATS,
        &ON_THE_BUS,
        &["url", "credentials", "user", "password", "ca", "cert", "key", "replicas", "retention", "max_bytes"],
    ),
    (REDIS, &WITH_CACHES, &["url", "prefix"]),
];
/// What the gateway takes over of Redis, and from where.
const RATE_LIMIT: [(&str, &str); 2] =
    [("gateway.rate_limit.redis", "redis.url"), ("gateway.rate_limit.prefix", "redis.prefix")];
/// How many shards of users have their events read by notifications, and by orders.
const USERS_SHARDS: [&str; 2] = ["notifications.users_shards", "orders.users_shards"];

/// Flags of one command that override settings, each with its key.
pub type Flags = Vec<(&'static str, String)>;

/// The settings in force, and where each comes from.
///
/// # Errors
/// When a file can't be read, a key is unknown or a value can't be used; the message names the key, where it stands,
/// the value and what would be right.
pub fn load(args: &SettingsArgs, flags: &Flags) -> Result<(Settings, Figment), Failure> {
    let over = overrides(args, flags)?;
    let data = data_folder(&over)?;
    let defaults = Figment::from(Serialized::defaults(Settings::in_folder(&data)));
    let all = take_over(defaults, &over).merge(over);
    // What is wrong with it is told once, by its own key, not by those of the services that take it over.
    all.extract::<SharedRedis>().map_err(|error| refuse(&error, &all))?;
    let mut settings = all.extract::<Settings>().map_err(|error| refuse(&error, &all))?;
    take_over_shards(&mut settings, &all)?;
    settings.hand_down();
    check(&settings)?;
    Ok((settings, all))
}

/// Lays what services take over from the shared sections of `over` upon `layers`.
fn take_over(mut layers: Figment, over: &Figment) -> Figment {
    for (section, services, _) in SHARED {
        let Ok(shared @ Value::Dict(..)) = over.find_value(section) else { continue };
        for service in services {
            layers = layers.merge(Shared { key: format!("{service}.{section}"), value: shared.clone() });
        }
    }
    for (key, from) in RATE_LIMIT {
        if let Ok(value) = over.find_value(from) {
            layers = layers.merge(Shared { key: key.to_owned(), value });
        }
    }
    layers
}

/// The folder in which others lie unless they are set.
fn data_folder(over: &Figment) -> Result<PathBuf, Failure> {
    match over.find_value("data") {
        Ok(_) => over.extract_inner::<PathBuf>("data").map_err(|error| refuse(&error, over)),
        Err(_) => Ok(PathBuf::from(DATA)),
    }
}

/// Notifications and orders read the events of as many shards as users have, unless told otherwise.
fn take_over_shards(settings: &mut Settings, all: &Figment) -> Result<(), Failure> {
    let shards = settings.users.shards.count();
    let readers = [&mut settings.notifications.users_shards, &mut settings.orders.users_shards];
    for (key, read) in USERS_SHARDS.into_iter().zip(readers) {
        if !is_set(all, key) {
            *read = shards;
        } else if *read < shards {
            return Err(Failure::new(
                format!("the setting {key} is {read}, but users.shards needs {shards}: events would not be read"),
                format!("set it to {shards} or more, or take it out"),
            ));
        }
    }
    Ok(())
}

/// Whether the values of all services make sense.
fn check(settings: &Settings) -> Result<(), Failure> {
    let named = |service: &'static str| {
        move |error: ServeError| {
            let sentence = error.sentence.strip_prefix(&format!("{service}.")).unwrap_or(&error.sentence);
            Failure::new(format!("the setting {service}.{sentence}"), error.hint)
        }
    };
    let shared = |error: ServeError| Failure::new(format!("the setting {}", error.sentence), error.hint);
    settings.nats.check(NATS).map_err(shared)?;
    settings.redis.check(REDIS).map_err(shared)?;
    // In this order: what is taken over is refused by the key that it comes from.
    check_redis("redis.url", &settings.redis)?;
    settings.users.check().map_err(named("users"))?;
    check_redis("users.redis.url", &settings.users.redis)?;
    settings.products.check().map_err(named("products"))?;
    check_redis("products.redis.url", &settings.products.redis)?;
    settings.orders.check().map_err(named("orders"))?;
    settings.notifications.check().map_err(named("notifications"))?;
    settings.gateway.check().map_err(named("gateway"))
}

/// Whether a Redis can be found by its URL; nobody is asked.
fn check_redis(key: &str, redis: &RedisConfig) -> Result<(), Failure> {
    if !redis.is_set() {
        return Ok(());
    }
    RedisOptions::new(redis.url.expose()).check().map_err(|error| {
        let forms = "redis://HOST:PORT/NUMBER, rediss:// for TLS, redis-cluster://HOST:PORT, or \
                     redis-sentinel://HOST:PORT?sentinelServiceName=NAME";
        Failure::new(format!("the setting {key}: {error}"), format!("write one such as {forms}"))
    })
}

fn overrides(args: &SettingsArgs, flags: &Flags) -> Result<Figment, Failure> {
    let mut layers = Figment::new();
    if let Some(file) = &args.config {
        if !file.is_file() {
            let sentence = format!("there is no settings file {}", file.display());
            return Err(Failure::new(sentence, "correct --config or MESHWORK_CONFIG"));
        }
        check_syntax(file)?;
        layers = layers.merge(Toml::file_exact(file));
    }
    layers = layers.merge(environment());
    if let Some(data) = &args.data {
        layers = layers.merge(Flag::new("data", "--data", path_text(data)?));
    }
    let data = data_folder(&layers)?;
    layers = servers::merge(layers, args, &data)?;
    for (key, value) in flags {
        let flag = if *key == "ops" { "--ops-port" } else { "--port" };
        layers = layers.merge(Flag::new(key, flag, value.clone()));
    }
    Ok(layers)
}

/// Reads a settings file, for a sentence that names line and column of a fault.
fn check_syntax(file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(format!("can't read the settings file {}: {error}", file.display()), "correct the file")
    })?;
    let Err(error) = Toml::from_str::<Dict>(&text) else { return Ok(()) };
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let problem = error.message().lines().collect::<Vec<_>>().join(", ");
    let sentence = format!("{}:{line}:{column} is not TOML: {problem}", file.display());
    Err(Failure::new(sentence, "correct the file; `meshwork config` prints one that is right"))
}

fn path_text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new("the path given by --data is not UTF-8", "choose another folder"))
}

/// Our variables. A variable with `__` is ours whatever it says, so that a mistyped one is noticed.
fn environment() -> Env {
    Env::prefixed(PREFIX)
        .map(shared_key)
        .filter(|key| key.as_str().contains("__") || TOP.iter().any(|top| key == *top))
        .split("__")
}

/// The name of a variable, with `__` behind the name of a shared section.
fn shared_key(name: &UncasedStr) -> Uncased<'_> {
    for (section, _, keys) in SHARED {
        if let Some(key) = keys.iter().find(|key| *name == *format!("{section}_{key}")) {
            return Uncased::from(format!("{section}__{key}"));
        }
    }
    Uncased::from(name)
}

/// The shared section of Redis by itself.
#[derive(Deserialize)]
struct SharedRedis {
    #[serde(rename = "redis")]
    _redis: RedisConfig,
}

/// What a service takes over from a shared section, each value with its own origin.
struct Shared {
    key: String,
    value: Value,
}

impl Provider for Shared {
    fn metadata(&self) -> Metadata {
        Metadata::named("shared")
    }

    fn data(&self) -> Result<figment::value::Map<Profile, Dict>, figment::Error> {
        let nested = self
            .key
            .rsplit('.')
            .fold(self.value.clone(), |inner, part| Value::from(Dict::from([(part.to_owned(), inner)])));
        Ok(figment::value::Map::from([(Profile::Default, nested.into_dict().unwrap_or_default())]))
    }
}

#[cfg(test)]
mod tests {
    use meshwork_chassis::config::Migrations;

    use super::*;
    use crate::config::origin::origin;

    #[test]
    #[allow(clippy::result_large_err, reason = "the error is figment's")]
    fn a_service_takes_over_what_it_does_not_say_of_its_own() {
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            jail.create_file(
                "shop.toml",
                "[nats]\nurl = \"tls://file:1\"\nreplicas = 3\n[orders.nats]\nuser = \"orders\"",
            )?;
            jail.set_env("MESHWORK_NATS_URL", "tls://a:1,tls://b:1");
            // What Kubernetes makes for a service called meshwork-nats.
            jail.set_env("MESHWORK_NATS_PORT", "tcp://10.0.0.1:4222");
            jail.set_env("MESHWORK_ORDERS__NATS__PASSWORD", "hidden");
            let args = SettingsArgs { config: Some("shop.toml".into()), ..SettingsArgs::default() };
            let (settings, all) = load(&args, &Flags::new()).unwrap();
            for (service, (_, nats)) in ON_THE_BUS.into_iter().zip(settings.buses()) {
                assert_eq!((nats.url.as_str(), nats.replicas), ("tls://a:1,tls://b:1", 3), "{service}");
                assert_eq!(nats.user, if service == "orders" { "orders" } else { "" });
                let origin_of = |key: &str| origin(all.find_metadata(&format!("{service}.nats.{key}")).unwrap());
                assert_eq!(origin_of("url"), "environment", "{service}");
                assert!(origin_of("replicas").contains("shop.toml"), "{service}");
                assert_eq!(origin_of("ca"), "default", "{service}");
            }
            assert_eq!(settings.orders.nats.password.expose(), "hidden");

            jail.set_env("MESHWORK_NATS__REPLICAS", "2");
            let refused = load(&args, &Flags::new()).unwrap_err().to_string();
            assert!(refused.contains("the setting nats.replicas is 2"), "{refused}");
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err, reason = "the error is figment's")]
    fn caches_and_rate_limits_take_over_one_redis_but_for_what_they_say_of_their_own() {
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            let none = SettingsArgs::default();
            let urls = |settings: &Settings| {
                let [users, products] = settings.caches().map(|(_, redis)| redis.url.expose().to_owned());
                [users, products, settings.gateway.rate_limit.redis.expose().to_owned()]
            };
            let (settings, _) = load(&none, &Flags::new()).unwrap();
            assert_eq!(urls(&settings), ["", "", ""]);

            let (all, own) = ("redis://:hidden@a:6379", "redis://b:6379");
            jail.set_env("MESHWORK_REDIS_URL", all);
            jail.set_env("MESHWORK_REDIS_PREFIX", "shop");
            // What Kubernetes makes for a service called meshwork-redis.
            jail.set_env("MESHWORK_REDIS_PORT", "tcp://10.0.0.1:6379");
            let (settings, layers) = load(&none, &Flags::new()).unwrap();
            assert_eq!(urls(&settings), [all, all, all]);
            for (service, (_, redis)) in WITH_CACHES.into_iter().zip(settings.caches()) {
                assert_eq!(redis.prefix, "shop", "{service}");
            }
            assert_eq!(settings.gateway.rate_limit.prefix, "shop");
            let taken_over = ["users.redis.url", "products.redis.prefix"].into_iter();
            for key in taken_over.chain(["gateway.rate_limit.redis", "gateway.rate_limit.prefix"]) {
                assert_eq!(origin(layers.find_metadata(key).unwrap()), "environment", "{key}");
            }

            jail.set_env("MESHWORK_PRODUCTS__REDIS__URL", own);
            jail.set_env("MESHWORK_GATEWAY__RATE_LIMIT__REDIS", "");
            jail.set_env("MESHWORK_GATEWAY__RATE_LIMIT__PREFIX", "edge");
            let (settings, _) = load(&none, &Flags::new()).unwrap();
            assert_eq!(urls(&settings), [all, own, ""]);
            assert_eq!(
                (settings.gateway.rate_limit.prefix.as_str(), settings.users.redis.prefix.as_str()),
                ("edge", "shop")
            );

            jail.set_env("MESHWORK_GATEWAY__RATE_LIMIT__PREFIX", "Edge");
            let refused = load(&none, &Flags::new()).unwrap_err().to_string();
            assert!(refused.contains("the setting gateway.rate_limit.prefix is \"Edge\""), "{refused}");
            jail.set_env("MESHWORK_REDIS_PREFIX", "Shop");
            let refused = load(&none, &Flags::new()).unwrap_err().to_string();
            assert!(refused.contains("the setting redis.prefix is \"Shop\""), "{refused}");

            jail.set_env("MESHWORK_REDIS_URL", "kafka://anna:hidden@a");
            let refused = load(&none, &Flags::new()).unwrap_err().to_string();
            assert!(refused.contains("the setting redis.url") && !refused.contains("hidden"), "{refused}");
            jail.set_env("MESHWORK_REDIS_URL", "5");
            let refused = load(&none, &Flags::new()).unwrap_err().to_string();
            assert!(refused.contains("the setting redis.url (environment)"), "{refused}");
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err, reason = "the error is figment's")]
    fn a_redis_that_cannot_be_found_by_its_url_is_refused_by_the_key_that_was_set() {
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            let refused = |args: &SettingsArgs| load(args, &Flags::new()).unwrap_err().to_string();
            // One whose database is no number, and one that names no service to the sentinels.
            for url in ["redis://:hidden@host/abc", "redis-sentinel://:hidden@host"] {
                let args = SettingsArgs { redis: Some(url.to_owned()), ..SettingsArgs::default() };
                let told = refused(&args);
                assert!(told.contains("the setting redis.url: ") && told.contains("sentinelServiceName"), "{told}");
                assert!(!told.contains("users.") && !told.contains("hidden"), "{told}");
                for (variable, key) in [
                    ("MESHWORK_USERS__REDIS__URL", "users.redis.url"),
                    ("MESHWORK_PRODUCTS__REDIS__URL", "products.redis.url"),
                    ("MESHWORK_GATEWAY__RATE_LIMIT__REDIS", "gateway.rate_limit.redis"),
                ] {
                    jail.set_env(variable, url);
                    let told = refused(&SettingsArgs::default());
                    assert!(told.contains(&format!("the setting {key}: ")) && !told.contains("hidden"), "{told}");
                    jail.set_env(variable, "");
                }
            }
            for url in ["redis://host/1", "redis-cluster://a:1?node=b:2", "redis-sentinel://a?sentinelServiceName=shop"]
            {
                let args = SettingsArgs { redis: Some(url.to_owned()), ..SettingsArgs::default() };
                load(&args, &Flags::new()).unwrap();
            }
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err, reason = "the error is figment's")]
    fn the_health_port_and_migrations_are_set_once_for_all_services() {
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            let load = || load(&SettingsArgs::default(), &Flags::new());
            let (settings, _) = load().unwrap();
            assert!(settings.health.get().is_none() && settings.orders.migrations == Migrations::Apply);
            jail.set_env("MESHWORK_HEALTH", "");
            assert!(load().unwrap().0.health.get().is_none());
            jail.set_env("MESHWORK_MIGRATIONS", "wait");
            for address in ["0.0.0.0:9091", "[::]:9091"] {
                jail.set_env("MESHWORK_HEALTH", address);
                let (settings, _) = load().unwrap();
                assert_eq!(settings.health.get().unwrap().address().to_string(), address);
                let Settings { users, products, orders, notifications, .. } = settings;
                let each = [users.migrations, products.migrations, orders.migrations, notifications.migrations];
                assert_eq!(each, [Migrations::Wait; 4]);
            }
            jail.set_env("MESHWORK_HEALTH", "9091");
            let refused = load().unwrap_err().to_string();
            assert!(refused.contains("the setting health (environment) is 9091, and must be HOST:PORT"), "{refused}");
            jail.set_env("MESHWORK_HEALTH", "");
            jail.set_env("MESHWORK_MIGRATIONS", "never");
            let refused = load().unwrap_err().to_string();
            assert!(refused.contains("is \"never\", and must be apply or wait"), "{refused}");
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err, reason = "the error is figment's")]
    fn issuers_come_from_a_file_or_from_the_environment() {
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            let issuers = |args: &SettingsArgs| load(args, &Flags::new()).unwrap().0.users.issuers;
            assert!(issuers(&SettingsArgs::default()).is_empty());
            let text = "[[users.issuers]]\nissuer = \"https://a.example\"\naudiences = [\"shop\", \"desk\"]\n\
                        roles = { \"auth0|anna\" = \"staff\" }\n";
            jail.create_file("shop.toml", text)?;
            let args = SettingsArgs { config: Some("shop.toml".into()), ..SettingsArgs::default() };
            let of_file = issuers(&args);
            assert_eq!((of_file[0].audiences.len(), of_file[0].roles.len()), (2, 1));
            let text = r#"[{issuer="https://b.example",audiences=["shop"],clock_skew="9s",roles={anna="staff"}}]"#;
            jail.set_env("MESHWORK_USERS__ISSUERS", text);
            let of_environment = issuers(&args);
            assert_eq!((of_environment.len(), of_environment[0].issuer.as_str()), (1, "https://b.example"));
            assert_eq!((of_environment[0].clock_skew.as_secs(), of_environment[0].roles.len()), (9, 1));
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err, reason = "the error is figment's")]
    fn notifications_read_the_events_of_all_shards_of_users() {
        figment::Jail::expect_with(|jail| {
            jail.clear_env();
            let none = Flags::new();
            let shards = |args: &SettingsArgs| load(args, &none).unwrap().0.notifications.users_shards;
            assert_eq!(shards(&SettingsArgs::default()), 1);
            let database = |id: u16| {
                format!("[[users.shards.databases]]\nid = {id}\nname = \"s{id}\"\nurl = \"postgres://h/s{id}\"\n")
            };
            jail.create_file("shop.toml", &(database(0) + &database(5)))?;
            let args = SettingsArgs { config: Some("shop.toml".into()), ..SettingsArgs::default() };
            // By their highest number: each has its lanes by its own.
            assert_eq!(shards(&args), 6);
            assert_eq!(load(&args, &none).unwrap().0.orders.users_shards, 6);
            jail.set_env("MESHWORK_NOTIFICATIONS__USERS_SHARDS", "8");
            assert_eq!(shards(&args), 8);
            jail.set_env("MESHWORK_NOTIFICATIONS__USERS_SHARDS", "2");
            let refused = load(&args, &none).unwrap_err().to_string();
            assert!(refused.contains("notifications.users_shards is 2, but users.shards needs 6"), "{refused}");
            Ok(())
        });
    }
}
