//! Orders at their times, whatever became of those before: an open loop, so that a slow back end is not asked less.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::order::Shop;
use super::report::Report;
use crate::failure::Failure;

/// How many creations may be without an answer.
const PLACING: usize = 5_000;
/// How many orders may be placed or followed.
const IN_FLIGHT: usize = 50_000;
/// How long the last orders may take to end: each has a bound of its own, for each of its steps.
const DRAIN: Duration = Duration::from_secs(180);
/// How long they may take once the run was asked to stop.
const STOPPED: Duration = Duration::from_secs(30);

/// What ends a run before its time.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No more orders are placed; those in flight are waited for.
    pub placing: CancellationToken,
    /// Nothing more is waited for.
    pub all: CancellationToken,
}

/// Places the orders of the shop's plan, and follows them to their end: what came of them, and whether the history could be
/// written of all.
pub async fn run(shop: Arc<Shop>, stop: Stop) -> (Report, Result<(), Failure>) {
    let mut orders = JoinSet::new();
    let start = Instant::now();
    let mut outcome = place(&shop, &mut orders, start, &stop).await;
    let placed = start.elapsed();
    if outcome.is_ok() {
        outcome = drain(&mut orders, &stop).await;
    }
    // Those that are still under way have had their time.
    orders.shutdown().await;
    (Report::new(&shop.plan, placed, shop.tally.measured()), outcome)
}

/// Places the orders, each when it is due.
async fn place(
    shop: &Arc<Shop>,
    orders: &mut JoinSet<Result<(), Failure>>,
    start: Instant,
    stop: &Stop,
) -> Result<(), Failure> {
    for index in 0..shop.plan.orders() {
        let due = start + shop.plan.due(index);
        tokio::select! {
            biased;
            () = stop.placing.cancelled() => break,
            () = stop.all.cancelled() => break,
            () = sleep_until(due) => {}
        }
        while let Some(ended) = orders.try_join_next() {
            checked(ended)?;
        }
        if shop.tally.counts().placing >= PLACING || orders.len() >= IN_FLIGHT {
            shop.tally.unasked();
            continue;
        }
        let in_flight = shop.tally.begin();
        orders.spawn(Arc::clone(shop).order(index, due, in_flight));
    }
    Ok(())
}

/// Waits for the orders that are under way, within a bound.
async fn drain(orders: &mut JoinSet<Result<(), Failure>>, stop: &Stop) -> Result<(), Failure> {
    let mut deadline = Instant::now() + DRAIN;
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = orders.join_next() => match ended {
                Some(ended) => checked(ended)?,
                None => return Ok(()),
            },
            () = stop.placing.cancelled(), if !stopping => {
                stopping = true;
                deadline = deadline.min(Instant::now() + STOPPED);
            }
            () = stop.all.cancelled() => return Ok(()),
            () = sleep_until(deadline) => return Ok(()),
        }
    }
}

fn checked(ended: Result<Result<(), Failure>, JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|error| Err(Failure::new(format!("an order has failed: {error}"), "tell the authors of it")))
}
