//! The rules of notifications: values and plain functions.

mod amount;
mod freshness;
mod letter;
mod notice;
mod notification;
#[cfg(test)]
mod notification_tests;
mod occasion;

pub use amount::Amount;
pub use freshness::Freshness;
pub use letter::{Content, Fact, Line};
pub use notice::Notice;
pub use notification::{
    BeingSent, GIVEN_UP, NotDue, NotSending, Notification, Outcome, State, UNREADABLE_PAUSE, UnknownState, pause_after,
};
pub use occasion::{Occasion, Template};
