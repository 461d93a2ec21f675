//! Orders, without I/O and without a clock: what may happen to them, and what they are after it did.

mod money;
mod order;
#[cfg(test)]
mod order_tests;

pub use money::Money;
pub use order::{Command, Line, Order, OrderError, OrderEvent, State, agree, decide, evolve, fold};
