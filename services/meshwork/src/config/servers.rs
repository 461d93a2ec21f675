//! The flags that name servers, and the settings that they set.

use std::path::{Path, PathBuf};

use figment::Figment;

use super::flag::Flag;
use super::settings::Settings;
use crate::cli::SettingsArgs;
use crate::failure::Failure;

/// What `--mongo` sets.
const MONGO: &[&str] = &["orders.mongo.uri"];
/// What `--postgres` sets, beside [`ACCOUNTS`].
const POSTGRES: &[&str] = &["products.postgres.url", "orders.postgres.url", "notifications.postgres.url"];
/// What `--postgres` sets unless accounts are elsewhere already.
const ACCOUNTS: &str = "users.postgres.url";
/// The databases of accounts that are spread over several.
const SHARDS: &str = "users.shards.databases";
/// What `--replica` sets, each beside the URL of its primary. Notifications read nothing from a replica: it is theirs to follow a
/// promotion.
const REPLICAS: [(&str, &str); 4] = [
    (ACCOUNTS, "users.postgres.replicas"),
    ("products.postgres.url", "products.postgres.replicas"),
    ("orders.postgres.url", "orders.postgres.replicas"),
    ("notifications.postgres.url", "notifications.postgres.replicas"),
];
/// What `--nats` sets.
const NATS: &[&str] = &["nats.url", "users.nats.url", "products.nats.url", "orders.nats.url", "notifications.nats.url"];
/// What `--redis` sets.
const REDIS: &[&str] = &["redis.url", "users.redis.url", "products.redis.url", "gateway.rate_limit.redis"];
/// What `--smtp` sets.
const SMTP: &[&str] = &["notifications.smtp.url"];

/// The file of the accounts in the folder of the users service.
const ACCOUNTS_FILE: &str = "users.db";

/// Lays what the flags set over `layers`; `data` is the folder that others lie in unless they are set.
///
/// # Errors
/// When a replica is named and no primary.
pub fn merge(mut layers: Figment, args: &SettingsArgs, data: &Path) -> Result<Figment, Failure> {
    let servers = [
        (MONGO, "--mongo", &args.mongo),
        (POSTGRES, "--postgres", &args.postgres),
        (NATS, "--nats", &args.nats),
        (REDIS, "--redis", &args.redis),
        (SMTP, "--smtp", &args.smtp),
    ];
    for (keys, flag, value) in servers {
        let Some(value) = value else { continue };
        layers = keys.iter().fold(layers, |layers, key| layers.merge(Flag::new(key, flag, value.clone())));
    }
    let are_spread = has_items(&layers, SHARDS);
    if let Some(url) = &args.postgres
        && !are_spread
        && (is_text(&layers, ACCOUNTS) || !users_folder(&layers, data).join(ACCOUNTS_FILE).is_file())
    {
        layers = layers.merge(Flag::new(ACCOUNTS, "--postgres", url.clone()));
    }
    if args.replica.is_empty() {
        return Ok(layers);
    }
    let with_primary = REPLICAS.into_iter().filter(|(primary, _)| is_text(&layers, primary));
    // Accounts that are spread have replicas of each of their databases, if any.
    let keys: Vec<_> = with_primary.filter(|(primary, _)| *primary != ACCOUNTS || !are_spread).collect();
    if keys.is_empty() {
        return Err(Failure::new(
            "--replica names a replica, but nothing is kept on a PostgreSQL that it could be of",
            "name the primary too, with --postgres",
        ));
    }
    let replicas = |key| Flag::new(key, "--replica", args.replica.clone());
    Ok(keys.into_iter().fold(layers, |layers, (_, key)| layers.merge(replicas(key))))
}

/// Whether `--postgres` left accounts in the folder, where the release before has kept them.
pub fn left_accounts(args: &SettingsArgs, settings: &Settings) -> bool {
    args.postgres.is_some() && settings.users.postgres.url.expose().is_empty() && !settings.users.shards.is_set()
}

/// The folder of the users service.
fn users_folder(layers: &Figment, data: &Path) -> PathBuf {
    // What is no path is refused when all settings are read.
    layers.extract_inner("users.data").unwrap_or_else(|_| data.join("users"))
}

/// Whether a setting is a text that says something.
fn is_text(layers: &Figment, key: &str) -> bool {
    layers.find_value(key).is_ok_and(|value| value.as_str().is_some_and(|text| !text.is_empty()))
}

/// Whether a setting is a list with something in it.
fn has_items(layers: &Figment, key: &str) -> bool {
    layers.find_value(key).is_ok_and(|value| value.into_array().is_some_and(|items| !items.is_empty()))
}

#[cfg(test)]
mod tests {
    use figment::providers::Serialized;

    use super::*;

    fn origin_of(layers: &Figment, key: &str) -> Option<String> {
        layers.find_metadata(key).map(|metadata| metadata.name.to_string())
    }

    fn text(layers: &Figment, key: &str) -> Option<String> {
        layers.extract_inner(key).ok()
    }

    fn list(layers: &Figment, key: &str) -> Option<Vec<String>> {
        layers.extract_inner(key).ok()
    }

    #[test]
    fn the_flag_of_a_server_sets_all_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let url = |flag: &str| Some(format!("{flag}://example"));
        let (mongo, postgres, nats) = (url("mongo"), url("postgres"), url("nats"));
        let (redis, smtp) = (url("redis"), url("smtp"));
        let args = SettingsArgs { mongo, postgres, nats, redis, smtp, ..SettingsArgs::default() };
        let layers = merge(Figment::new(), &args, folder.path()).unwrap();
        for (keys, flag) in [
            (MONGO, "mongo"),
            (POSTGRES, "postgres"),
            (&[ACCOUNTS][..], "postgres"),
            (NATS, "nats"),
            (REDIS, "redis"),
            (SMTP, "smtp"),
        ] {
            for key in keys {
                assert_eq!(text(&layers, key), url(flag), "{key}");
                assert_eq!(origin_of(&layers, key), Some(format!("flag --{flag}")), "{key}");
            }
        }
    }

    #[test]
    fn accounts_in_the_folder_stay_there_unless_somebody_has_named_a_server_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        std::fs::create_dir(&users).unwrap();
        std::fs::write(users.join(ACCOUNTS_FILE), "").unwrap();
        let replica = vec!["postgres://replica/shop".to_owned()];
        let args = SettingsArgs { postgres: Some("postgres://h/shop".to_owned()), replica, ..SettingsArgs::default() };
        let layers = merge(Figment::new(), &args, folder.path()).unwrap();
        assert_eq!(text(&layers, ACCOUNTS), None);
        assert_eq!(list(&layers, "users.postgres.replicas"), None);
        assert_eq!(list(&layers, "products.postgres.replicas"), Some(args.replica.clone()));

        let set = Figment::from(Serialized::default(ACCOUNTS, "postgres://h/accounts"));
        let layers = merge(set, &args, folder.path()).unwrap();
        assert_eq!(text(&layers, ACCOUNTS), args.postgres);
        let elsewhere = Figment::from(Serialized::default("users.data", folder.path().join("elsewhere")));
        let layers = merge(elsewhere, &args, folder.path()).unwrap();
        assert_eq!(text(&layers, ACCOUNTS), args.postgres);
        assert_eq!(list(&layers, "users.postgres.replicas"), Some(args.replica.clone()));
    }

    #[test]
    fn accounts_that_are_spread_over_databases_are_left_to_these() {
        let folder = tempfile::tempdir().unwrap();
        let replica = vec!["postgres://replica/shop".to_owned()];
        let args = SettingsArgs { postgres: Some("postgres://h/shop".to_owned()), replica, ..SettingsArgs::default() };
        let spread = Figment::from(Serialized::default(SHARDS, ["one"]));
        let layers = merge(spread, &args, folder.path()).unwrap();
        assert_eq!((text(&layers, ACCOUNTS), list(&layers, "users.postgres.replicas")), (None, None));
        assert_eq!(text(&layers, "orders.postgres.url"), args.postgres);
    }

    #[test]
    fn a_replica_needs_a_primary_and_goes_to_each_that_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let replica = vec!["postgres://a/shop".to_owned(), "postgres://b/shop".to_owned()];
        let args = SettingsArgs { replica, ..SettingsArgs::default() };
        let refused = merge(Figment::new(), &args, folder.path()).unwrap_err().to_string();
        assert!(refused.contains("--replica") && refused.contains("--postgres"), "{refused}");
        // Such as by a variable, which holds a password better.
        let set = Figment::from(Serialized::default("orders.postgres.url", "postgres://h/lists"));
        let layers = merge(set, &args, folder.path()).unwrap();
        assert_eq!(list(&layers, "orders.postgres.replicas"), Some(args.replica.clone()));
        assert_eq!(origin_of(&layers, "orders.postgres.replicas").as_deref(), Some("flag --replica"));
        assert_eq!(list(&layers, "products.postgres.replicas"), None);
        assert_eq!(list(&layers, "notifications.postgres.replicas"), None);
    }
}
