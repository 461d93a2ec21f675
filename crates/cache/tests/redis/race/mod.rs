//! CA-2 in all orders: fills, commits and invalidations of several processes, one step at a time, on a real Redis. What
//! was replaced is never read again; and the suite finds what is wrong with the usual mistakes.

mod harness;
mod mutants;

use std::sync::Arc;

use meshwork_cache::Remote;
use meshwork_testkit::Redis;

use self::harness::Step::{Acquire, Bump, Commit, Fill, Flush, Invalidate, Load, Put, Tags, Tombstone};
use self::harness::{Outcome, Script, World, all_orders, orders};
use self::mutants::{Fault, Mutant};
use crate::fills::remote;
use crate::server::{prefix, shared};
use crate::world::patient;

/// What goes on at the same time.
fn scripts() -> Vec<(&'static str, Script)> {
    let filler = || vec![Acquire, Load, Fill];
    let tagged = || vec![Acquire, Tags, Load, Fill];
    vec![
        ("two fillers, a write-through", vec![filler(), filler(), vec![Commit, Put]]),
        ("two fillers, a tombstone", vec![filler(), filler(), vec![Commit, Tombstone]]),
        ("two fillers, an unversioned invalidation", vec![filler(), filler(), vec![Commit, Invalidate]]),
        ("two writers", vec![filler(), vec![Commit, Put], vec![Commit, Put]]),
        ("a writer, another that invalidates", vec![filler(), vec![Commit, Put], vec![Commit, Tombstone]]),
        ("a write-through and a flush", vec![filler(), vec![Commit, Put], vec![Flush]]),
        ("two slow writers and a flush", vec![filler(), vec![Commit, Put], vec![Commit, Put], vec![Flush]]),
        ("a tombstone and a flush", vec![filler(), vec![Commit, Tombstone], vec![Flush]]),
        ("a tag", vec![tagged(), vec![Commit, Bump], vec![Commit, Bump]]),
        ("a tag and a flush", vec![tagged(), vec![Commit, Bump], vec![Flush]]),
    ]
}

/// The scripts until something old was read, on what `wrap` makes of a remote tier.
async fn race(test: &str, is_behind: bool, fault: Option<Fault>) -> (Outcome, &'static str) {
    let (redis, prefix): (Arc<Redis>, String) = (shared(), prefix(test));
    let (inner, _heard) = remote(patient(redis.url(), &prefix)).await;
    let remote: Arc<dyn Remote> = match fault {
        Some(fault) => Arc::new(Mutant::new(inner, &redis, prefix.clone(), fault)),
        None => inner,
    };
    let mut last = (Outcome::default(), "nothing");
    for (name, script) in scripts() {
        let world = World { remote: Arc::clone(&remote), redis: Arc::clone(&redis), prefix: prefix.clone(), is_behind };
        last = (all_orders(Arc::new(world), name, script).await, name);
        if !last.0.violations.is_empty() {
            break;
        }
        assert!(last.0.reads > 0, "{name}: nothing was ever found in Redis");
    }
    last
}

#[test]
fn orders_are_all_that_keep_each_one_s_own() {
    assert_eq!(orders(&[vec![Acquire, Load], vec![Commit]]), [[0, 0, 1], [0, 1, 0], [1, 0, 0]]);
    assert_eq!(orders(&[vec![Acquire, Load, Fill], vec![Commit, Put], vec![Commit, Tombstone]]).len(), 210);
    // Those of twins are told apart by nobody.
    assert_eq!(orders(&[vec![Acquire, Load, Fill], vec![Acquire, Load, Fill], vec![Commit, Put]]).len(), 280);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_2_no_order_of_fills_commits_and_invalidations_lets_an_old_value_be_read() {
    let (outcome, script) = race("race", false, None).await;
    assert!(outcome.violations.is_empty(), "{script}: {:#?}", outcome.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_2_a_mutant_that_only_deletes_and_sets_is_caught() {
    let (outcome, script) = race("delonly", false, Some(Fault::DelOnly)).await;
    assert!(!outcome.violations.is_empty(), "not caught up to {script}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_2_a_mutant_that_fills_without_a_lease_is_caught() {
    let (outcome, script) = race("nolease", false, Some(Fault::NoLease)).await;
    assert!(!outcome.violations.is_empty(), "not caught up to {script}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_2_a_mutant_that_writes_through_where_nothing_lies_is_caught() {
    let (outcome, script) = race("onnothing", false, Some(Fault::PutsOnNothing)).await;
    assert_eq!(script, "two slow writers and a flush");
    assert!(!outcome.violations.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_2_a_mutant_that_fills_from_a_replica_is_caught() {
    let (outcome, script) = race("replica", true, None).await;
    assert!(!outcome.violations.is_empty(), "not caught up to {script}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ca_6_a_mutant_that_reads_the_tags_after_the_load_is_caught() {
    let (redis, prefix) = (shared(), prefix("latetags"));
    let (remote, _heard) = remote(patient(redis.url(), &prefix)).await;
    let world = World { remote, redis, prefix, is_behind: false };
    let script = vec![vec![Acquire, Load, Tags, Fill], vec![Commit, Bump]];
    let outcome = all_orders(Arc::new(world), "tags after the load", script).await;
    assert!(!outcome.violations.is_empty());
}
