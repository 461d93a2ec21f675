//! What meets the world.

mod convert;
mod eml;
mod errors;
mod events;
mod grpc;
mod message;
mod recipients;
mod smtp;
pub mod store;
pub mod stores;

pub use eml::EmlFolder;
pub use errors::{DOMAIN, TABLE};
pub use events::{CONSUMER, EventHandler, STREAMS};
pub use grpc::NotificationGrpc;
pub use message::{InvalidSender, Sender};
pub use recipients::GrpcRecipients;
pub use smtp::{BadCertificates, Encryption, Login, MailServer, Smtp, SmtpOptions};
pub use store::postgres::PostgresNotificationStore;
pub use store::sqlite::SqliteNotificationStore;
