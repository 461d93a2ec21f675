//! The task of a channel: hears of resolutions, of the policy's file, of connections and circuits, and of the time.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::adopt::{PolicySource, report_refusal};
use super::set::EndpointSet;
use super::state::ChannelState;
use crate::client::balance::Picker;
use crate::client::resolve::{Refresher, Resolution, ResolveError};
use crate::client::subchannel::Options;
use crate::observe::{Connectivity, Event};
use crate::policy::PolicyFile;

/// What the task is made of, and what it remembers from one time of use to the next.
///
/// It runs on the runtime of the call that needs it first, and is parked in the channel before that, while the channel is
/// idle, and when its runtime ends.
pub(crate) struct EndpointsTask {
    /// The options of subchannels, but for what the policy says.
    pub options: Options,
    pub refresher: Refresher,
    pub policies: PolicySource,
    pub policy_file: Option<PolicyFile>,
    /// A picker of the user's own, in place of the policy's.
    pub own_picker: Option<Arc<dyn Picker>>,
    pub idle_timeout: Option<Duration>,
}

impl EndpointsTask {
    /// Leaves the task in the channel, for the next call to begin it.
    pub(crate) fn park(self: Box<Self>, state: &ChannelState) {
        state.park(Box::new(|runtime: &Handle, state| {
            // Made before it is spawned: a runtime that is ending drops it unpolled.
            let running = RunningTask { task: Some(self), state };
            runtime.spawn(running.run());
        }));
    }

    /// From the first call until there was none for long.
    async fn serve(&mut self, state: &Arc<ChannelState>) {
        let mut set = EndpointSet::new(Arc::clone(state), self.options.clone(), self.own_picker.clone());
        self.refresher.restart();
        let mut idle_at = self.idle_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if set.publish() {
                self.refresher.refresh();
            }
            let timer = set.next_timer().into_iter().chain(idle_at).min();
            let circuits = Arc::clone(&set.circuits);
            let file = async {
                match &mut self.policy_file {
                    Some(file) => file.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                resolution = self.refresher.next() => self.resolved(&mut set, resolution),
                Some(changed) = set.watches.next() => set.watch_again(changed),
                () = circuits.notified() => {}
                policy = file => match policy {
                    Ok(policy) => {
                        self.policies.set_default(policy);
                        self.adopt_again(&mut set);
                    }
                    Err(error) => report_refusal(&state.settings.observers, &error),
                },
                () = sleep_until(timer) => {
                    let now = Instant::now();
                    set.tick(now);
                    if idle_at.is_some_and(|at| at <= now) {
                        match state.idle_since(now) {
                            Some(unused) if Some(unused) >= self.idle_timeout => return,
                            unused => {
                                let left = self.idle_timeout.unwrap_or_default().saturating_sub(unused.unwrap_or_default());
                                idle_at = now.checked_add(left.max(Duration::from_secs(1)));
                            }
                        }
                    }
                }
            }
        }
    }

    /// Takes what the resolver says. While it fails, its last good answer holds.
    fn resolved(&mut self, set: &mut EndpointSet, resolution: Result<Resolution, ResolveError>) {
        let state = Arc::clone(&set.state);
        match resolution {
            Ok(resolution) => {
                state.settings.observers.event(&Event::Resolved { endpoints: resolution.endpoints.len() });
                set.failure = None;
                if let Err(error) = self.policies.adopt(set, Some(&resolution))
                    && !self.policies.has_fallback()
                {
                    // gRFC A21: with nothing in its place, a config that is refused is a resolution that failed.
                    set.failure = Some(format!("its service config is not valid: {error}"));
                    self.refresher.reject();
                    return;
                }
                set.reconcile(&resolution);
                set.resolution = Some(resolution);
            }
            Err(error) => {
                let error = error.to_string();
                state.settings.observers.event(&Event::ResolutionFailed { error: &error });
                set.failure = Some(error);
            }
        }
    }

    /// The policy of the channel's own has changed.
    fn adopt_again(&mut self, set: &mut EndpointSet) {
        let resolution = set.resolution.take();
        // A policy of the resolver that is refused was reported, and leaves the last.
        if self.policies.adopt(set, resolution.as_ref()).is_ok()
            && let Some(resolution) = &resolution
        {
            set.reconcile(resolution);
        }
        set.resolution = resolution;
    }
}

/// The task while a runtime drives it. It is parked when it is dropped before the channel is closed: because the channel is
/// idle, or because its runtime ends.
struct RunningTask {
    task: Option<Box<EndpointsTask>>,
    state: Arc<ChannelState>,
}

impl RunningTask {
    async fn run(mut self) {
        let state = Arc::clone(&self.state);
        let Some(task) = &mut self.task else { return };
        let served = AssertUnwindSafe(task.serve(&state)).catch_unwind();
        tokio::select! {
            () = state.closed() => {}
            served = served => if served.is_err() {
                // It would panic again for the next call.
                state.close_with("the channel has failed: its resolver, picker or observer panicked");
            },
            () = state.queue.keep_moving() => {}
        }
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        if !self.state.is_closed() {
            if let Some(task) = self.task.take() {
                task.park(&self.state);
            }
        } else if self.state.snapshot.load().connectivity != Connectivity::Shutdown {
            // The last snapshot came after the end.
            self.state.close();
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => pin!(tokio::time::sleep_until(at)).await,
        None => std::future::pending().await,
    }
}
