//! What tells of orders.

mod get_order;
mod list_order_events;
mod list_orders;
mod watch_order;

pub use get_order::AsOf;
pub use list_orders::Listed;
pub use watch_order::{OrderChange, OrderWatch};
