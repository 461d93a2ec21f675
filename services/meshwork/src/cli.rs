//! The command line.

mod admin;
mod cache;
mod output;
mod settings;
mod shards;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::Serialize;

pub use admin::AdminArgs;
pub use cache::{CacheArgs, CacheCommand, Caching};
pub use output::Output;
pub use settings::SettingsArgs;
pub use shards::{MoveArgs, ShardsArgs, ShardsCommand, ShardsLookArgs, Slots, SpaceName, SplitArgs};

/// The Meshwork back end: a shop of five gRPC services in one binary.
#[derive(Debug, Parser)]
#[command(name = "meshwork", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in this process, on embedded stores unless told otherwise
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
    /// Place orders at a steady rate, whatever becomes of them, and print what did
    Load(LoadArgs),
    /// See how what is made of events is, make it anew, take that back
    Projections(ProjectionsArgs),
    /// See the events that services couldn't apply, apply them again, give them up
    #[command(name = "deadletters")]
    DeadLetters(DeadLettersArgs),
    /// See how caches do, and drop what is in them
    Cache(CacheArgs),
    /// See the events that services tell each other
    Events(EventsArgs),
    /// Check a running shop that is at rest: no order is lost or doubled, and all that is kept of them agrees; the exit code is
    /// 1 when that isn't so, and 2 when it can't be told
    Audit(AuditArgs),
    /// See how accounts are spread over databases, and move them while the shop serves
    Shards(ShardsArgs),
    /// Print the settings in force, each with its origin
    Config(SettingsArgs),
    /// Bring all databases, indexes and streams to this release; running it again changes nothing, and several at once wait for
    /// each other
    Migrate(MigrateArgs),
    /// Ask a gRPC port for its health; the exit code is 0 when it is serving
    Healthcheck {
        /// The port, as HOST:PORT
        #[arg(value_name = "ADDR")]
        address: String,
        /// The gRPC service to ask for; the port as a whole when left out
        #[arg(long, default_value = "", hide_default_value = true)]
        service: String,
        /// How long the answer may take: 500ms, 2s. Kubernetes ends a probe after its timeoutSeconds, of which this should leave some
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = period)]
        timeout: Duration,
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
pub struct MigrateArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How long to wait for servers that aren't there yet, and for others who migrate: 0s, 30s, 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = period)]
    pub patience: Duration,
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
pub struct LoadArgs {
    /// How many orders are placed a second
    #[arg(long, value_name = "R")]
    pub rate: f64,
    /// For how many seconds orders are placed
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub seconds: u32,
    /// Write every call and every answer to this file, behind what is there; a call is on the disk before it is sent
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// How many customers place the orders [default: as many as a gateway's limit for each of them needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub customers: Option<u16>,
    /// How many of a hundred orders their customers cancel
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub cancel: u8,
    /// How many of a hundred orders staff ship and deliver
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub ship: u8,
    /// How many of a hundred orders ask for a product that runs out
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub short: u8,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, Args)]
pub struct ProjectionsArgs {
    #[command(subcommand)]
    pub command: ProjectionsCommand,
    #[command(flatten)]
    pub admin: AdminArgs,
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

#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    pub command: DeadLettersCommand,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List the events that are parked, each with why
    List {
        /// The service that couldn't apply them; all four when left out
        #[arg(long)]
        service: Option<Parking>,
        /// Only those of one aggregate, such as `orders/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d`
        #[arg(long)]
        subject: Option<String>,
    },
    /// Show all of one, with what its event says
    Show {
        /// The dead letter, as `list` names it, with or without `deadLetters/`
        name: String,
        /// The service that couldn't apply it
        #[arg(long)]
        service: Parking,
    },
    /// Apply the parked events of an aggregate again, from the first one on; the exit code is 0 when none is left
    Redrive {
        /// A dead letter of the aggregate, as `list` names it, with or without `deadLetters/`
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// Those of all aggregates
        #[arg(long)]
        all: bool,
        /// The service that couldn't apply them
        #[arg(long)]
        service: Parking,
    },
    /// Give an event up for good, and what is missing before it, and apply what is parked behind it in its aggregate
    Discard {
        /// The dead letter, as `list` names it, with or without `deadLetters/`
        name: String,
        /// The service that couldn't apply it
        #[arg(long)]
        service: Parking,
    },
}

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What clients were told, as `meshwork load --history` has written it; without it that isn't judged
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// For how long to look again while something is wrong, as what is under way makes it: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = period)]
    pub settle: Duration,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Reads a time such as `500ms`, `30s` or `2m`.
fn period(text: &str) -> Result<Duration, String> {
    let problem = || "must be a time such as 500ms, 30s or 2m".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u32 = number.parse().map_err(|_| problem())?;
    let one = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(problem()),
    };
    Ok(one * number)
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(subcommand)]
    pub command: EventsCommand,
}

#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Print events as they come, until it is ended, from the event bus that the settings name
    Tail(TailArgs),
}

#[derive(Debug, Args)]
pub struct TailArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Only those of one stream; all when left out
    #[arg(long)]
    pub stream: Option<StreamName>,
    /// Only those of one type, such as `order_created`
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Only those of one aggregate, such as `orders/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d`
    #[arg(long)]
    pub subject: Option<String>,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = Begin::Now)]
    pub from: Begin,
    /// How to print them
    #[arg(long, value_enum, default_value_t = EventOutput::Text)]
    pub output: EventOutput,
}

/// Where a tail of events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Begin {
    /// At the first event that is still there
    Start,
    /// Behind the last one
    Now,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventOutput {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// A stream of events, called as the service that publishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamName {
    Users,
    Products,
    Orders,
}

impl StreamName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Users, Self::Products, Self::Orders];

    /// The stream's word, as the bus knows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Products => "products",
            Self::Orders => "orders",
        }
    }
}

/// A service that may park events: those that it can't apply, and its own that it can't publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Parking {
    Users,
    Products,
    Orders,
    Notifications,
}

impl Parking {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Users, Self::Products, Self::Orders, Self::Notifications];

    /// The service's word, as the gateway knows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Products => "products",
            Self::Orders => "orders",
            Self::Notifications => "notifications",
        }
    }
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
    use clap::{CommandFactory, Parser};

    use super::{Cli, Duration, period};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_tail_begins_now_unless_told_otherwise() {
        let parsed = |args: &[&str]| Cli::try_parse_from([&["meshwork", "events", "tail"], args].concat());
        for good in [
            &[][..],
            &["--stream", "orders", "--type", "order_created", "--subject", "orders/42", "--from", "start"],
            &["--nats", "nats://127.0.0.1:4222", "--output", "json"],
        ] {
            parsed(good).unwrap();
        }
        for bad in [&["--stream", "gateway"][..], &["--from", "yesterday"], &["orders"]] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_load_needs_a_rate_and_a_time_and_its_parts_are_percents() {
        let parsed = |args: &[&str]| Cli::try_parse_from([&["meshwork", "load"], args].concat());
        for good in [
            &["--rate", "0.5", "--seconds", "60"][..],
            &["--rate", "50", "--seconds", "60", "--history", "h", "--cancel", "5", "--ship", "100", "--short", "0"],
            &["--rate", "50", "--seconds", "1", "--customers", "7", "--output", "json", "--target", "http://shop:1"],
        ] {
            parsed(good).unwrap();
        }
        for bad in [
            &["--rate", "50"][..],
            &["--seconds", "60"],
            &["--rate", "many", "--seconds", "60"],
            &["--rate", "50", "--seconds", "0"],
            &["--rate", "50", "--seconds", "60", "--cancel", "101"],
            &["--rate", "50", "--seconds", "60", "--customers", "0"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        for (text, time) in
            [("500ms", Duration::from_millis(500)), ("30s", Duration::from_secs(30)), ("2m", Duration::from_secs(120))]
        {
            assert_eq!(period(text), Ok(time));
        }
        for bad in ["", "30", "s", "-1s", "1.5s", "30 s", "3h", "99999999999s"] {
            assert!(period(bad).is_err(), "{bad}");
        }
        let parsed = |args: &[&str]| Cli::try_parse_from([&["meshwork", "audit"], args].concat());
        parsed(&["--history", "h", "--settle", "0s", "--target", "http://shop:8080", "--output", "json"]).unwrap();
        assert!(parsed(&["--settle", "soon"]).is_err());
    }

    #[test]
    fn a_redrive_is_of_one_letter_or_of_all() {
        let parsed = |args: &[&str]| Cli::try_parse_from([&["meshwork", "deadletters"], args].concat());
        for good in [
            &["redrive", "7f1c", "--service", "orders"][..],
            &["redrive", "--all", "--service", "products", "--output", "json"],
            &["list", "--target", "http://shop:8080"],
            &["list", "--service", "users"],
        ] {
            parsed(good).unwrap();
        }
        for bad in [
            &["redrive", "--service", "orders"][..],
            &["redrive", "7f1c", "--all", "--service", "orders"],
            &["redrive", "--all"],
            &["show", "7f1c"],
            &["list", "--service", "gateway"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
