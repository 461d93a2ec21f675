//! The endpoints of a channel: a task follows the resolver, the connections and the policy, and publishes the snapshot that
//! calls pick from.

mod member;
mod pick;
mod snapshot;
mod state;
mod task;

pub(crate) use member::Member;
pub(crate) use pick::{Picked, TriedEndpoints};
pub(crate) use snapshot::Snapshot;
pub use state::EndpointStatus;
pub(crate) use state::{ActivePolicy, ChannelHandle, ChannelSettings, ChannelState};
pub(crate) use task::EndpointsTask;
