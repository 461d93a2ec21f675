//! What only reads.

mod get_notification;
mod list_notifications;
