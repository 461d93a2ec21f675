//! Code of users that panics: what the log gets, and what the caller gets.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tonic::Status;

use super::Domain;
use crate::errors::port::HANDLER_PANICKED;

/// Logs a panic, and says what the caller gets.
pub(in crate::server) fn report_panic(domain: Domain, panic: &(dyn Any + Send)) -> Status {
    tracing::error!(panic = text(panic), "a handler has panicked; its call fails with INTERNAL");
    let message = "the server failed in the middle of this call; its log says why";
    HANDLER_PANICKED.status(domain, message, &[])
}

/// Runs a hook of the user's. Should it panic, the log says so, and what it was run for goes on.
pub(in crate::server) fn run_hook(hook: &str, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        tracing::error!(hook, panic = text(&*panic), "a hook has panicked");
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a value that is no text")
}

/// Drops what has panicked; should that panic as well, it was told already.
pub(in crate::server) fn drop_quietly(drop: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(drop));
}
