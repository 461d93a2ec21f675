//! `meshwork load`: orders at a rate, as careful clients place them, and what became of them.

mod accounts;
mod calls;
mod goods;
mod journal;
mod kept;
mod order;
mod plan;
mod progress;
mod report;
mod run;
mod session;
mod story;
mod tally;

use std::sync::Arc;

use accounts::Accounts;
use calls::Calls;
use goods::Goods;
use journal::Journal;
use kept::{Account, Keeper, Kept};
use meshwork_api::meshwork::users::v1::Role;
use meshwork_chassis::ClientConfig;
use order::Shop;
use plan::Plan;
use report::Report;
use run::Stop;
use session::Sessions;
use tally::Tally;
use tokio::task::JoinSet;
use tonic::Code;

use crate::admin::{self, told};
use crate::cli::LoadArgs;
use crate::failure::Failure;
use crate::run::stop_signal;
use crate::state::{local_port, staff_credentials};

/// Places orders and prints what became of them.
///
/// # Errors
/// When the run can't be made, or not to its end, behind what is printed of it. That orders fail is part of that.
pub async fn run(args: LoadArgs) -> Result<(), Failure> {
    let plan = Plan::of(&args)?;
    let target = args.admin.target.trim_end_matches('/');
    let channel = ClientConfig::default().channel("--target", target)?;
    let credentials = staff_credentials(args.admin.staff_credentials.as_deref(), local_port(target))?;
    let journal = args.history.as_deref().map(Journal::open).transpose()?;
    let (keeper, mut kept) = Keeper::open(target)?;

    let (email, password) = (credentials.email.as_str(), credentials.password.expose());
    let sessions = Sessions::default();
    let sign_in = || sessions.sign_in(&channel, email, password);
    let staff = match sign_in().await {
        // A run before has used up the sign-ins of this address. That nobody answers is told at once.
        Err(status) if status.code() == Code::ResourceExhausted => accounts::patiently(sign_in).await,
        signed_in => signed_in,
    };
    let staff = staff.map_err(|status| told(&status))?;
    accounts::check_staff(&channel, &staff, email).await?;
    // It ends with this function.
    let mut keeping = JoinSet::new();
    keeping.spawn(sessions.clone().keep(channel.clone()));
    let tally = Tally::new()?;
    let calls = Calls::new(channel.clone(), journal.clone(), tally.clone());
    let accounts = Accounts { channel: &channel, staff: &staff, sessions: &sessions };
    let shop = prepared(plan, accounts, calls, tally, (&keeper, &mut kept)).await?;
    let (report, outcome) = watched(shop, journal.as_ref()).await?;
    let json = serde_json::to_value(&report)
        .map_err(|error| Failure::new(format!("the report can't be printed: {error}"), "take --output text"))?;
    admin::print(args.admin.output, &json, &report.text());
    outcome
}

/// Signs everybody in and sees that there is something to order.
async fn prepared(
    plan: Plan,
    accounts: Accounts<'_>,
    calls: Calls,
    tally: Tally,
    (keeper, kept): (&Keeper, &mut Kept),
) -> Result<Shop, Failure> {
    let (customers, helpers) = (plan.customers(), plan.staff());
    let lacks = |accounts: &[Account], needed: usize| needed.saturating_sub(accounts.len());
    kept.customers.extend((0..lacks(&kept.customers, customers)).map(|_| Account::planned()));
    kept.staff.extend((0..lacks(&kept.staff, helpers)).map(|_| Account::planned()));
    let known_customers = accounts.known(&mut kept.customers[..customers]).await?;
    let known_helpers = accounts.known(&mut kept.staff[..helpers]).await?;
    // Before any is made: whoever ends this run now leaves no account that nobody knows.
    keeper.save(kept)?;
    let customers = accounts.open(&mut kept.customers[..customers], known_customers, Role::Customer).await?;
    let helpers = accounts.open(&mut kept.staff[..helpers], known_helpers, Role::Staff).await?;
    let goods = Goods::provide(accounts.channel, accounts.staff, &plan, kept).await?;
    keeper.save(kept)?;
    Ok(Shop { plan, customers, staff: helpers, goods, calls, tally })
}

/// Makes the run, while progress is shown and signals are listened for: what came of it, and whether the history has all of it.
async fn watched(shop: Shop, journal: Option<&Journal>) -> Result<(Report, Result<(), Failure>), Failure> {
    if let Some(journal) = journal {
        journal.begin(&shop.plan).await?;
    }
    let shop = Arc::new(shop);
    let stop = Stop::default();
    // They end with this function.
    let mut beside = JoinSet::new();
    beside.spawn(progress::show(shop.tally.clone()));
    beside.spawn(signals(stop.clone()));
    let (report, mut outcome) = run::run(shop, stop).await;
    beside.shutdown().await;
    progress::clear();
    if let Some(journal) = journal {
        outcome = outcome.and(journal.flush().await);
    }
    Ok((report, outcome))
}

/// The first signal ends the placing of orders, the second one all.
async fn signals(stop: Stop) {
    for token in [stop.placing, stop.all] {
        if stop_signal().await.is_err() {
            return;
        }
        token.cancel();
    }
}
