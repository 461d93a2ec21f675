//! The state of a subchannel, as its handles see it.

use std::sync::Arc;

use super::error::ConnectError;
use crate::observe::Connectivity;

/// What a subchannel is doing.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// With a health check, READY means healthy and not just connected.
    pub connectivity: Connectivity,
    /// What went wrong, in TRANSIENT_FAILURE.
    pub error: Option<Arc<ConnectError>>,
    /// Grows with each change, and each time that all addresses failed again: a good moment to resolve the name anew.
    pub generation: u64,
}
