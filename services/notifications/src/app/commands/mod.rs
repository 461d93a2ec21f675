//! What changes something.

mod note_event;
mod prune;
mod resend_notification;
mod send_due;
