//! One server of a channel: its connection, its load and what is known of its health.

use std::sync::Arc;

use crate::breaker::Breaker;
use crate::client::balance::Load;
use crate::client::endpoint::Endpoint;
use crate::client::outlier::Counter;
use crate::client::subchannel::Subchannel;

/// What a pick leads to.
#[derive(Clone)]
pub(crate) struct Member {
    /// The endpoint's addresses, for people.
    pub name: Arc<str>,
    pub endpoint: Arc<Endpoint>,
    pub subchannel: Subchannel,
    pub load: Arc<Load>,
    /// None when the policy has no circuit breaker.
    pub breaker: Option<Arc<Breaker>>,
    /// None when the policy has no outlier detection.
    pub counter: Option<Arc<Counter>>,
}
