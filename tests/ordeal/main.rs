//! Everything fails while orders flow. A test binary of its own, so that nothing else takes the machine while times are judged.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(dead_code, reason = "the rooms are shared with the end-to-end tests")]

mod ordeal;
#[path = "../e2e/processes.rs"]
mod processes;
#[path = "../e2e/proof.rs"]
mod proof;
#[path = "../e2e/shop.rs"]
mod shop;
mod victims;
