//! What can be planted, and what is.
//!
//! Some bugs that tests plant elsewhere can't be planted in a running system, or show nothing there:
//!
//! * A relay without a fence: the bus in a file has a key that refuses a second copy, and JetStream knows the ids for a while. Found
//!   by `nt_2_a_relay_without_a_fence_is_seen` of crates/events.
//! * Positions from a sequence: a column of a table, and seen where a slow commit is overtaken only. Found by
//!   `positions_from_a_sequence_are_seen` of crates/events.
//! * Reads of a server that lags, a new id for a command whose outcome isn't known, no check of the boundary, holes that are skipped or
//!   get no tombstone, inserts behind one that was refused: each takes a failover of a replica set at the right moment. Found by the
//!   simulation of crates/events, by its seeds.
//! * Pieces that are moved in the order of an order's lines: the database ends the deadlock, the work is done again, and no invariant is
//!   broken. Found by `orders_that_lock_in_their_own_order_wait_for_each_other` of products.
//! * Holds that end by the application's clock: the order is rejected or asks again, and either is allowed. Found by
//!   `a_clock_that_is_ahead_ends_holds_early` of products.

use std::sync::OnceLock;

/// The environment variable that names what is planted, with commas between the names.
pub const VARIABLE: &str = "MESHWORK_PLANTED";

/// What can be planted in the service of orders.
pub const IN_ORDERS: [&str; 3] = ["no_version_check", "ship_before_allocation", "watchdog_only_pending"];

/// What can be planted in how orders are shown, and in how requests are known.
pub const AT_THE_EDGES: [&str; 2] = ["forgets_requests", "projection_skips"];

/// What can be planted in the service of products.
pub const IN_PRODUCTS: [&str; 3] = ["inbox_apart", "no_inbox", "read_then_write"];

/// What can be planted in the event bus.
pub const IN_THE_BUS: [&str; 3] = ["acknowledges_first", "publishes_twice", "relay_skips"];

/// No bugs: what must be borne, and brings the bugs to light.
pub const ADVERSITIES: [&str; 2] = ["loses_allocations", "slow_cancels"];

/// What is planted in this process.
pub fn planted() -> &'static [String] {
    static PLANTED: OnceLock<Vec<String>> = OnceLock::new();
    PLANTED.get_or_init(|| {
        let names = std::env::var(VARIABLE).unwrap_or_default();
        names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    })
}

/// Whether this is planted in this process.
pub fn is_planted(name: &str) -> bool {
    planted().iter().any(|planted| planted == name)
}

/// The first name that is planted and that nothing of ours is called by.
pub fn unknown() -> Option<&'static str> {
    let known = [&IN_ORDERS[..], &AT_THE_EDGES, &IN_PRODUCTS, &IN_THE_BUS, &ADVERSITIES].concat();
    planted().iter().map(String::as_str).find(|name| !known.contains(name))
}
