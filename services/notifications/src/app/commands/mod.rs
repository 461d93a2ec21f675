//! What changes something.

mod note_event;
mod send_due;
