//! `meshwork cache`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::admin::AdminArgs;

#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub command: CacheCommand,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show how the caches of an instance of each service do: hits, misses and why, loads, and how it stands to Redis
    Stats {
        /// The service; both when left out
        #[arg(long)]
        service: Option<Caching>,
    },
    /// Drop what is cached, in all instances that share a Redis; it is loaded again by who asks for it next
    #[command(group(ArgGroup::new("what").required(true).args(["key", "tag", "kind"])))]
    Invalidate {
        /// What is cached of one thing, by its resource name, such as `users/anna`
        #[arg(long, value_name = "NAME")]
        key: Option<String>,
        /// Everything that carries a tag, such as `products`, which the lists of products carry
        #[arg(long)]
        tag: Option<String>,
        /// Everything of a kind, as `stats` names it, such as `products`
        #[arg(long)]
        kind: Option<String>,
        /// The service; when left out, that of the key, or each that knows the tag or kind
        #[arg(long)]
        service: Option<Caching>,
    },
}

/// A service with caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Caching {
    Users,
    Products,
}

impl Caching {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Users, Self::Products];

    /// The service's word, as the gateway knows it and collections are named.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Products => "products",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn one_of_key_tag_and_kind_is_invalidated() {
        let parsed = |args: &[&str]| Cli::try_parse_from([&["meshwork", "cache"], args].concat());
        for good in [
            &["stats"][..],
            &["stats", "--service", "products", "--output", "json", "--target", "http://shop:8080"],
            &["invalidate", "--key", "users/anna"],
            &["invalidate", "--tag", "products", "--service", "products"],
            &["invalidate", "--kind", "product-lists", "--output", "json"],
        ] {
            parsed(good).unwrap();
        }
        for bad in [
            &["invalidate"][..],
            &["invalidate", "--service", "users"],
            &["invalidate", "--key", "users/anna", "--tag", "products"],
            &["invalidate", "--key", "users/anna", "--kind", "users"],
            &["invalidate", "--tag", "products", "--kind", "users"],
            &["stats", "--service", "orders"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
        let refused = parsed(&["invalidate"]).unwrap_err().to_string();
        for flag in ["--key", "--tag", "--kind"] {
            assert!(refused.contains(flag), "{refused}");
        }
    }
}
