//! Hostile callers: what one caller sends harms nobody else, and is answered right.
//!
//! `MESHWORK_HOSTILE=NAME` runs only the attacks whose name contains NAME. `MESHWORK_HOSTILE_KNOWN=1` runs also those that
//! are known to succeed still, and tells which do; they don't fail the test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod distorted;
#[path = "mod.rs"]
mod hostile;

use hostile::Choice;
use tokio::sync::Mutex;

/// Held by each test that loads a shop: another one beside it would be taken for harm.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn what_one_caller_sends_harms_no_other() {
    let _alone = ALONE.lock().await;
    let choice = Choice {
        known: std::env::var("MESHWORK_HOSTILE_KNOWN").is_ok_and(|value| value == "1"),
        named: std::env::var("MESHWORK_HOSTILE").unwrap_or_default(),
    };
    let outcomes = hostile::run(&choice, |line| println!("{line}")).await;
    for known in hostile::successes(&outcomes, true) {
        println!("known, and succeeds still: {known}");
    }
    let succeeded = hostile::successes(&outcomes, false);
    assert!(succeeded.is_empty(), "{} attacks succeeded:\n{}", succeeded.len(), succeeded.join("\n"));
}
