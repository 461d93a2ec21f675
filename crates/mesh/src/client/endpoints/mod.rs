//! The endpoints of a channel: a task follows the resolver, the connections and the policy, and publishes the snapshot that
//! calls pick from.
//!
//! The task (`task`) hears of what happens, has a policy adopted (`adopt`), the endpoints reconciled with a resolution
//! (`reconcile`) and the snapshot published (`publish`); all of them work on one `EndpointSet`.

mod adopt;
mod member;
mod pick;
mod publish;
mod reconcile;
mod set;
mod snapshot;
mod state;
mod task;
mod tracked;

pub(crate) use adopt::PolicySource;
pub(crate) use member::Feedback;
pub(crate) use pick::{Picked, TriedEndpoints};
pub use state::EndpointStatus;
pub(crate) use state::{ActivePolicy, ChannelHandle, ChannelSettings, ChannelState};
pub(crate) use task::EndpointsTask;
