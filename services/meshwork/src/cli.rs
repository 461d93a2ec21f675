//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::Serialize;

/// The Meshwork back end: a shop of five gRPC services in one binary.
#[derive(Debug, Parser)]
#[command(name = "meshwork", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

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
    /// Keep the lists of orders on this PostgreSQL, postgres://… (a password is better set by MESHWORK_ORDERS__POSTGRES__URL)
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in this process, on embedded stores
    Up(UpArgs),
    /// Run one service
    Serve {
        /// The service
        service: ServiceName,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Sign up, stock a product, place an order and follow it until it is confirmed and its mail is sent
    Demo(DemoArgs),
    /// See how what is made of events is, make it anew, take that back
    Projections(ProjectionsArgs),
    /// Print the settings in force, each with its origin
    Config(SettingsArgs),
    /// Bring all databases to this release; running it again changes nothing
    Migrate(SettingsArgs),
    /// Ask a gRPC port for its health; the exit code is 0 when it is serving
    Healthcheck {
        /// The port, as HOST:PORT
        #[arg(value_name = "ADDR")]
        address: String,
        /// The gRPC service to ask for; the port as a whole when left out
        #[arg(long, default_value = "", hide_default_value = true)]
        service: String,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// The gateway's port; 0 for a free one [default: 8080]
    #[arg(long)]
    pub port: Option<u16>,
    /// The port of /livez, /readyz, /health and /metrics; 0 for a free one [default: 9090]
    #[arg(long)]
    pub ops_port: Option<u16>,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub target: String,
    /// A JSON file with the `email` and `password` of a staff account; found by itself for a `meshwork up` on this machine
    #[arg(long, value_name = "FILE")]
    pub staff_credentials: Option<PathBuf>,
    /// How to print what happens
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct ProjectionsArgs {
    #[command(subcommand)]
    pub command: ProjectionsCommand,
    /// The gateway
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub target: String,
    /// A JSON file with the `email` and `password` of a staff account; found by itself for a `meshwork up` on this machine
    #[arg(long, global = true, value_name = "FILE")]
    pub staff_credentials: Option<PathBuf>,
    /// How to print what there is
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum ProjectionsCommand {
    /// Show its versions, how far each has come, and what is parked
    Status {
        /// The projection, such as `orders`
        projection: String,
    },
    /// Make a new version beside the live one, compare the two row by row, and let queries read the new one
    Rebuild {
        /// The projection, such as `orders`
        projection: String,
        /// Let queries read the new version though rows differ
        #[arg(long)]
        accept_differences: bool,
    },
    /// Let queries read the version again that they read before the last switch
    Rollback {
        /// The projection, such as `orders`
        projection: String,
    },
    /// Apply a parked stream again
    Retry {
        /// The projection, such as `orders`
        projection: String,
        /// The stream, such as `orders/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d`
        stream: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// One JSON object at the end
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceName {
    Users,
    Products,
    Orders,
    Notifications,
    Gateway,
}

impl ServiceName {
    /// The service's word, as folders and settings have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ServiceName::Users => "users",
            ServiceName::Products => "products",
            ServiceName::Orders => "orders",
            ServiceName::Notifications => "notifications",
            ServiceName::Gateway => "gateway",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
