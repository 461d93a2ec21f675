//! `meshwork shards`: how accounts are spread over databases, and moving them while the shop serves.
//!
//! It works on the databases themselves, by the settings of the users service, whether or not that runs.

mod moves;
mod pieces;
mod plan;
mod progress;
mod spaces;
mod status;

use meshwork_users::shards;

use crate::admin::print;
use crate::cli::{MoveArgs, SettingsArgs, ShardsArgs, ShardsCommand, ShardsLookArgs, SplitArgs};
use crate::config::{Flags, Settings, load};
use crate::failure::Failure;
use crate::logs;

/// Carries out a command of `meshwork shards`.
///
/// # Errors
/// When accounts aren't on PostgreSQL, the databases can't be used, or a move isn't done.
pub async fn run(args: ShardsArgs) -> Result<(), Failure> {
    match args.command {
        ShardsCommand::Status(args) => status(args).await,
        ShardsCommand::Plan(args) => plan(args).await,
        ShardsCommand::Move(args) => {
            let settings = spread(&args.settings)?;
            moved(&settings, args).await
        }
        ShardsCommand::Split(args) => split(args).await,
    }
}

/// The settings, of a shop whose accounts are on PostgreSQL.
fn spread(args: &SettingsArgs) -> Result<Settings, Failure> {
    let (settings, _) = load(args, &Flags::new()).map_err(not_begun)?;
    if settings.users.is_on_servers() {
        return Ok(settings);
    }
    Err(not_begun(Failure::new(
        format!("the accounts lie in {}, and are not spread over databases", settings.users.data.display()),
        "name the databases by `users.shards.databases`, in the file that --config names or the environment; the README \
         shows how",
    )))
}

fn not_begun(failure: impl Into<Failure>) -> Failure {
    failure.into().exiting(moves::NOT_BEGUN)
}

async fn status(args: ShardsLookArgs) -> Result<(), Failure> {
    let settings = spread(&args.settings)?;
    let found = shards::status(&settings.users).await.map_err(not_begun)?;
    print(args.output, &status::json(&found), &status::text(&found));
    match status::unreached(&found) {
        Some(names) => Err(Failure::new(
            format!("no answer from {names}"),
            "look whether its server runs and is in reach, and whether its URL is right",
        )),
        None => Ok(()),
    }
}

async fn plan(args: ShardsLookArgs) -> Result<(), Failure> {
    let settings = spread(&args.settings)?;
    let proposed = shards::plan(&settings.users).await.map_err(not_begun)?;
    print(args.output, &plan::json(&proposed), &plan::text(&proposed));
    Ok(())
}

async fn moved(settings: &Settings, args: MoveArgs) -> Result<(), Failure> {
    logs::start(settings).map_err(not_begun)?;
    let output = args.output;
    let work = moves::chosen(settings, args).await.map_err(not_begun)?;
    let abandoned = if let moves::Work::Abandon(from) = &work { Some(from.clone()) } else { None };
    let names = moves::Names::of(&settings.users);
    let (reports, end) = moves::carry_out(settings, work).await;
    // What is done is told, however it ends.
    if end.is_ok() || !reports.is_empty() {
        let text = match abandoned {
            Some(from) => format!("the move from {from} is given up\n"),
            None => moves::text(&reports, &names),
        };
        print(output, &moves::json(&reports, &names), &text);
    }
    end
}

async fn split(args: SplitArgs) -> Result<(), Failure> {
    let settings = spread(&args.settings)?;
    moves::refuse_without_ranges(&settings, "split").map_err(not_begun)?;
    shards::split(&settings.users, &args.at).await.map_err(not_begun)?;
    println!("a range begins at {}", crate::terminal::plain(&args.at));
    Ok(())
}
