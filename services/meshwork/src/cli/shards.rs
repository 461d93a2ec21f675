//! The flags of `meshwork shards`.

use std::collections::BTreeSet;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::output::Output;
use super::settings::SettingsArgs;

/// How many slots a space has that is spread by hash.
const SLOTS: u16 = 1024;

#[derive(Debug, Args)]
pub struct ShardsArgs {
    #[command(subcommand)]
    pub command: ShardsCommand,
}

#[derive(Debug, Subcommand)]
pub enum ShardsCommand {
    /// Show the databases, what each owns, and the moves that are under way; the exit code is 1 when a database can't be reached
    Status(ShardsLookArgs),
    /// Propose moves that spread everything evenly over the databases of the settings, and where to split ranges
    Plan(ShardsLookArgs),
    /// Move slots or a range to another database while the shop serves; the exit code is 1 when a move was begun and is not
    /// done, 2 when none was begun
    Move(MoveArgs),
    /// Split the range of account ids that a key lies in, into two with the same owner
    Split(SplitArgs),
}

// No doc comment: it would take the place of the commands' own help.
#[derive(Debug, Args)]
pub struct ShardsLookArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How to print what there is
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

// No doc comment, for the same reason.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["slots", "range", "planned", "resume", "abandon"])))]
pub struct MoveArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// What is moved: accounts with all that is theirs, or e-mail addresses and request ids
    #[arg(long, value_enum, default_value_t = SpaceName::Users)]
    pub space: SpaceName,
    /// The slots, such as `0-15,20`
    #[arg(long, value_name = "SLOTS", value_parser = slots, requires = "to")]
    pub slots: Option<Slots>,
    /// The range that an account id lies in, whether or not there is such an account
    #[arg(long, value_name = "ID", requires = "to")]
    pub range: Option<String>,
    /// The database that gets them, by its name in the settings
    #[arg(long, value_name = "NAME", conflicts_with_all = ["planned", "resume", "abandon"])]
    pub to: Option<String>,
    /// All that `meshwork shards plan` proposes, one move after the other
    #[arg(long)]
    pub planned: bool,
    /// The moves that were begun and are not done
    #[arg(long)]
    pub resume: bool,
    /// Give up the move that was begun from this database and is not done: it keeps what it has
    #[arg(long, value_name = "NAME")]
    pub abandon: Option<String>,
    /// How to print what was moved
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

// No doc comment, for the same reason.
#[derive(Debug, Args)]
pub struct SplitArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// The account id at which the second of the two ranges begins
    #[arg(long, value_name = "ID")]
    pub at: String,
}

/// What is spread over databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpaceName {
    /// Accounts, with their credentials, sessions and events
    Users,
    /// E-mail addresses and request ids, each with the account that has it
    Emails,
}

/// Some slots, each once, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots(pub Vec<u16>);

/// Reads slots such as `0-15,20`.
fn slots(text: &str) -> Result<Slots, String> {
    let problem = || format!("must be slots from 0 to {} such as 0-15,20", SLOTS - 1);
    let slot = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|slot: &u16| digits && *slot < SLOTS).ok_or_else(problem)
    };
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (slot(first)?, slot(last)?);
        if first > last {
            return Err(problem());
        }
        all.extend(first..=last);
    }
    Ok(Slots(all.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Shards {
        #[command(flatten)]
        args: ShardsArgs,
    }

    #[test]
    fn slots_are_numbers_and_ranges_of_them() {
        let read = |text: &str| slots(text).map(|Slots(slots)| slots);
        assert_eq!(read("7"), Ok(vec![7]));
        assert_eq!(read("20,0-2,1-3,1023"), Ok(vec![0, 1, 2, 3, 20, 1023]));
        assert_eq!(read("0-1023").map(|slots| slots.len()), Ok(usize::from(SLOTS)));
        for bad in ["", ",", "1,", "-1", "3-1", "1024", "0-1024", "+1", "a", "1 2", "1--2", "99999999"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_move_is_of_slots_of_a_range_of_a_plan_or_of_what_was_begun() {
        let parsed = |args: &[&str]| Shards::try_parse_from([&["shards", "move"], args].concat()).map(|it| it.args);
        for good in [
            &["--slots", "0-15,20", "--to", "b"][..],
            &["--space", "emails", "--slots", "7", "--to", "b", "--output", "json"],
            &["--range", "", "--to", "b", "--data", "d"],
            &["--planned"],
            &["--resume", "--config", "shop.toml"],
            &["--abandon", "north"],
        ] {
            parsed(good).unwrap();
        }
        for bad in [
            &[][..],
            &["--to", "b"],
            &["--slots", "0-15"],
            &["--range", "m"],
            &["--slots", "1", "--range", "m", "--to", "b"],
            &["--planned", "--resume"],
            &["--planned", "--to", "b"],
            &["--resume", "--to", "b"],
            &["--abandon", "a", "--resume"],
            &["--abandon"],
            &["--space", "orders", "--slots", "1", "--to", "b"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
