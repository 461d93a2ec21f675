//! What can be planted, and what is.

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
