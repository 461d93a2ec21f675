//! Where Redis is by its URL, for messages: never with user or password.

use fred::types::config::{Config, Server, ServerConfig};

/// What a URL leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Server,
    Cluster,
    Sentinels,
}

/// Where Redis is.
#[derive(Debug)]
pub(super) struct Place {
    /// `HOST:PORT`, or several with commas in between.
    pub servers: String,
    /// The same without ports.
    pub hosts: String,
    pub target: Target,
    pub is_tls: bool,
    /// The number of the database; `None` for the first one.
    pub database: Option<u8>,
}

impl Place {
    pub fn of(config: &Config) -> Self {
        let target = match config.server {
            ServerConfig::Clustered { .. } => Target::Cluster,
            ServerConfig::Sentinel { .. } => Target::Sentinels,
            ServerConfig::Centralized { .. } => Target::Server,
        };
        let servers = config.server.hosts();
        let listed = |name: fn(&Server) -> String| servers.iter().map(name).collect::<Vec<_>>().join(", ");
        Self {
            servers: listed(|server| format!("{}:{}", server.host, server.port)),
            hosts: listed(|server| server.host.to_string()),
            target,
            is_tls: config.tls.is_some(),
            database: config.database,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Place {
        Place::of(&Config::from_url(url).unwrap())
    }

    #[test]
    fn it_names_servers_and_no_password() {
        let place = of("redis://anna:hidden@a:6380/3");
        assert_eq!((place.servers.as_str(), place.hosts.as_str(), place.database), ("a:6380", "a", Some(3)));
        assert_eq!((place.target, place.is_tls), (Target::Server, false));
        assert_eq!(of("redis://:hidden@[::1]").servers, "[::1]:6379");
        let cluster = of("redis-cluster://:hidden@a:7000?node=b:7001");
        assert_eq!((cluster.servers.as_str(), cluster.target), ("b:7001, a:7000", Target::Cluster));
        let sentinels = of("redis-sentinel://:hidden@a?sentinelServiceName=shop");
        assert_eq!((sentinels.servers.as_str(), sentinels.target), ("a:26379", Target::Sentinels));
        for place in [place, cluster, sentinels] {
            assert!(!format!("{place:?}").contains("hidden"));
        }
    }
}
