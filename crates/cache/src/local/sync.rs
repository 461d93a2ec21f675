//! What [`registrations`](super::registrations) is built on. Tests put another module here, which runs it under many schedules.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Mutex};
