//! What changes something.

mod adjust_stock;
mod create_product;
mod delete_product;
mod expire_reservations;
mod handle_order_event;
mod receive_stock;
mod update_product;

pub use adjust_stock::AdjustStock;
pub use create_product::CreateProduct;
pub use delete_product::DeleteProduct;
pub use expire_reservations::{BATCH, Swept};
pub use handle_order_event::{OrderMessage, What};
pub use receive_stock::ReceiveStock;
pub use update_product::UpdateProduct;
