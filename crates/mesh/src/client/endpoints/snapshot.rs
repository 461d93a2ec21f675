//! What picks read: the endpoints that can take calls, made anew at each change and never changed.

use std::sync::Arc;

use super::member::Member;
use crate::client::balance::{Candidate, Picker};
use crate::observe::Connectivity;

/// The endpoints that can take calls, and what becomes of a call when there is none.
pub(crate) struct Snapshot {
    pub candidates: Vec<Candidate>,
    /// In the order of `candidates`.
    pub members: Vec<Arc<Member>>,
    pub picker: Arc<dyn Picker>,
    pub otherwise: Otherwise,
    /// The state of the channel as a whole (gRFC A48: READY > CONNECTING or IDLE > TRANSIENT_FAILURE).
    pub connectivity: Connectivity,
}

/// What becomes of a call when no endpoint can take it.
#[derive(Clone, Debug)]
pub(crate) enum Otherwise {
    /// It waits: addresses or connections are on their way.
    Wait,
    /// It fails with this message, unless it waits for ready.
    Fail(Arc<str>),
}
