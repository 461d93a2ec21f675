//! What meets the world.

mod convert;
mod eml;
mod errors;
mod events;
mod grpc;
mod recipients;
pub mod store;

pub use eml::{EmlFolder, InvalidSender};
pub use errors::{DOMAIN, TABLE};
pub use events::{CONSUMER, EventHandler, STREAMS};
pub use grpc::NotificationGrpc;
pub use recipients::GrpcRecipients;
pub use store::postgres::PostgresNotificationStore;
pub use store::sqlite::SqliteNotificationStore;
