//! Which policy holds: the resolver's, else the channel's own (gRFC A21).

use tokio::time::Instant;

use super::set::{EndpointSet, is_pick_first};
use crate::client::resolve::Resolution;
use crate::observe::{Event, Observers};
use crate::policy::{Policy, PolicyError};

/// Where the policy of a channel comes from.
pub(crate) struct PolicySource {
    /// Holds unless the resolver brings a policy.
    default: Policy,
    /// Whether the default was set by the user, so that it can stand in for what is refused.
    has_default: bool,
    /// Whether a policy of the resolver was ever valid.
    adopted: bool,
}

impl PolicySource {
    pub(crate) fn new(default: Policy, has_default: bool) -> Self {
        Self { default, has_default, adopted: false }
    }

    /// Another policy takes the place of the channel's own.
    pub(super) fn set_default(&mut self, policy: Policy) {
        self.default = policy;
    }

    /// Whether there is a policy to go on with when the resolver's is refused.
    pub(super) fn has_fallback(&self) -> bool {
        self.has_default || self.adopted
    }

    /// Has the policy hold that comes with `resolution`, or the channel's own. One that is refused leaves the last. The
    /// endpoints are to be reconciled afterwards.
    pub(super) fn adopt(&mut self, set: &mut EndpointSet, resolution: Option<&Resolution>) -> Result<(), PolicyError> {
        let policy = match resolution.and_then(|resolution| resolution.service_config.as_deref()) {
            Some(json) => Policy::parse(json)
                .inspect(|_| self.adopted = true)
                .inspect_err(|error| report_refusal(&set.state.settings.observers, error))?,
            None => self.default.clone(),
        };
        let policy = set.state.complete(policy);
        let before = set.state.active.load_full();
        if before.policy == policy {
            return Ok(());
        }
        set.set_picker(&policy);
        if connections(&policy) != connections(&before.policy) {
            set.replace_connections(&policy);
        }
        let changes = set.outliers.update(policy.channel().outlier_detection.clone(), Instant::now());
        set.report(&changes);
        set.state.activate(policy);
        set.state.settings.observers.event(&Event::PolicyChanged);
        Ok(())
    }
}

/// Reports a policy that is refused, and the reason.
pub(super) fn report_refusal(observers: &Observers, error: &PolicyError) {
    let error = error.to_string();
    tracing::warn!(target: "meshwork::policy", %error, "a new policy was refused; the one before holds on");
    observers.event(&Event::PolicyRefused { error: &error });
}

/// What decides how connections are made: those that were made otherwise don't fit.
fn connections(policy: &Policy) -> (usize, Option<&str>, bool) {
    let channel = policy.channel();
    (channel.max_connections_per_subchannel, channel.health_check.as_deref(), is_pick_first(policy))
}
