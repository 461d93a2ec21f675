//! The runtime's heartbeat.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the heart beats.
const BEAT: Duration = Duration::from_secs(1);
/// How old the last beat may be.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// A task that notes the time: when it no longer does, the runtime that should run it is stuck, and a restart is all that
/// helps.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    started: AtomicBool,
    last: Mutex<Option<Instant>>,
}

impl Heartbeat {
    /// Lets the heart beat in the runtime of the caller until `gone`, if it doesn't beat yet and there is a runtime.
    pub(super) fn start(self: &Arc<Self>, gone: &CancellationToken) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.started.swap(true, Ordering::Relaxed) {
            return;
        }
        self.beat();
        let (heart, gone) = (Arc::clone(self), gone.clone());
        runtime.spawn(async move {
            let beats = async {
                let mut beats = interval(BEAT);
                // After a pause of the process one beat is enough.
                beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    beats.tick().await;
                    heart.beat();
                }
            };
            gone.run_until_cancelled(beats).await;
        });
    }

    fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the last beat is young enough.
    pub(super) fn beats(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= LIMIT)
    }
}
