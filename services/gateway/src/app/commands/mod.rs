//! What counts calls.

mod admit_call;
mod count_refusal;

use std::time::Duration;

use crate::domain::Client;

/// A client has made too many calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// The client.
    pub client: Client,
    /// How long it has to wait.
    pub wait: Duration,
}
