//! What changes orders.

mod answers;
mod call_off;
mod change_order;
mod command_key;
mod create_order;
mod former_customers;
mod handle_stock_event;
mod open_orders;
mod watch_over_waiting;

pub use change_order::ChangeOrder;
pub use create_order::{CreateOrder, NewLine};
pub use former_customers::FormerCustomers;
pub use handle_stock_event::StockEvent;
pub use open_orders::OpenOrders;
