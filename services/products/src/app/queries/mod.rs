//! What only looks.

mod batch_get_products;
mod get_product;
mod get_stock;
mod list_products;
mod list_reservations;
