//! The contracts of the Meshwork back end: generated clients and servers, the descriptor set, and resource names.
//!
//! ```text
//! meshwork::orders::v1::order_service_client::OrderServiceClient   a client of the orders service
//! names::OrderName                                                `orders/{order}`, parsed and typed
//! public_reason                                                   why an order has ended, without numbers of stock
//! FILE_DESCRIPTOR_SET                                             everything, with comments and options
//! ```

mod names;
mod reasons;

pub use names::{
    ApiKeyName, DeadLetterName, InvalidName, NotificationName, OrderName, ProductName, ProjectionName, ReservationName,
    SessionName, StockName, UserName,
};
pub use reasons::public_reason;

/// All files of the contracts and what they import, as an encoded `google.protobuf.FileDescriptorSet`.
///
/// Comments (source info) and custom options (`google.api.http`, `meshwork.options.v1.access`) are kept.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

#[allow(missing_docs, reason = "generated code; the comments of the contracts are its documentation")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

pub use generated::{google, meshwork};
