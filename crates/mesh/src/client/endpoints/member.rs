//! One server of a channel: its connections, and what is learnt of it by its calls.

use std::sync::Arc;

use crate::breaker::Breaker;
use crate::client::balance::Load;
use crate::client::endpoint::Endpoint;
use crate::client::outlier::Counter;
use crate::client::subchannel::Subchannel;

/// What a pick leads to. Only the channel holds it: with the last handle of its subchannel the connections end.
pub(crate) struct Member {
    pub feedback: Arc<Feedback>,
    pub endpoint: Arc<Endpoint>,
    pub subchannel: Subchannel,
}

/// Where calls report how their endpoint does. An open response holds it, and never the subchannel: that would be
/// connected anew for the sake of an endpoint that is gone.
pub(crate) struct Feedback {
    /// The endpoint's addresses, for people.
    pub name: Arc<str>,
    pub load: Arc<Load>,
    /// None when the policy has no circuit breaker.
    pub breaker: Option<Arc<Breaker>>,
    /// None when the policy has no outlier detection.
    pub counter: Option<Arc<Counter>>,
}
