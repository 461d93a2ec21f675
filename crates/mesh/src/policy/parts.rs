//! What a policy is made of.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ChannelPolicy, MethodPolicy};

/// The parts of a policy, however it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub channel: ChannelPolicy,
    /// By `/package.Service/Method`.
    pub methods: HashMap<Box<str>, Arc<MethodPolicy>>,
    /// By `package.Service`.
    pub services: HashMap<Box<str>, Arc<MethodPolicy>>,
    pub default: Arc<MethodPolicy>,
}
