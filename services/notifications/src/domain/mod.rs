//! The rules of notifications: values and plain functions.

mod amount;
mod letter;
mod notification;
#[cfg(test)]
mod notification_tests;
mod occasion;

pub use amount::Amount;
pub use letter::{Content, Fact, Line};
pub use notification::{NotDue, NotSending, Notification, Outcome, State, UnknownState, pause_after};
pub use occasion::{Occasion, Template};
