//! Where settings come from.

use std::path::PathBuf;

use clap::Args;

// No doc comment: it would take the place of the commands' own help.
// Where settings come from. Defaults are overridden by the file, the file by MESHWORK_… variables, those by flags.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// A TOML file with settings; `meshwork config` lists the keys
    #[arg(long, value_name = "FILE", env = "MESHWORK_CONFIG")]
    pub config: Option<PathBuf>,
    /// The folder of all databases, keys and mails [default: meshwork-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Keep the orders' events on this MongoDB, mongodb://… (a password is better set by MESHWORK_ORDERS__MONGO__URI)
    #[arg(long, value_name = "URL")]
    pub mongo: Option<String>,
    /// Keep accounts, products and their stock, the lists of orders, and notifications on this PostgreSQL, postgres://… (a
    /// password is better set by MESHWORK_USERS__POSTGRES__URL, MESHWORK_PRODUCTS__POSTGRES__URL,
    /// MESHWORK_ORDERS__POSTGRES__URL, MESHWORK_NOTIFICATIONS__POSTGRES__URL)
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// Read accounts, products and the lists of orders from this replica of the PostgreSQL too, postgres://…; may be given
    /// several times, and any of them may become the primary (a password is better set by
    /// MESHWORK_PRODUCTS__POSTGRES__REPLICAS='["postgres://…"]', and the same of USERS, ORDERS and NOTIFICATIONS)
    #[arg(long, value_name = "URL")]
    pub replica: Vec<String>,
    /// Have events go over this NATS server or cluster with JetStream, nats://… or tls://…, several servers with commas (a
    /// login is set by MESHWORK_NATS_USER and MESHWORK_NATS_PASSWORD, or by the file that MESHWORK_NATS_CREDENTIALS names)
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// Have caches, and the counts of the gateway's rate limit, on this Redis too, redis://… or rediss://…, redis-cluster://…,
    /// redis-sentinel://… (a password is better set by MESHWORK_REDIS_URL)
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Send mail by this server instead of writing it to a folder, smtp://… or smtps://… (a password is better set by
    /// MESHWORK_NOTIFICATIONS__SMTP__URL)
    #[arg(long, value_name = "URL")]
    pub smtp: Option<String>,
}
