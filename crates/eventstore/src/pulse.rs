//! Wake-ups: who waits for new commits is told at once instead of finding out by polling.
//!
//! A beat is a hint, never the truth: readers read the store after each, and now and then without one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

/// How many beats a sleeper may miss before it is only told that it missed some.
const BACKLOG: usize = 64;

/// Tells of new commits, by partition.
///
/// A store notes in a transaction what it changes ([`Pulse::note`]) and beats when the transaction is committed
/// ([`Pulse::flush`]), so that who is woken finds what it was woken for.
#[derive(Clone, Debug)]
pub struct Pulse {
    senders: Arc<[broadcast::Sender<Arc<str>>]>,
    noted: Arc<Mutex<Vec<(u16, String)>>>,
}

impl Pulse {
    /// A pulse for so many partitions.
    pub fn new(partitions: u16) -> Self {
        Self { senders: (0..partitions).map(|_| broadcast::Sender::new(BACKLOG)).collect(), noted: Arc::default() }
    }

    /// Notes that `key` (a stream) will have new commits in `partition` when the transaction is committed.
    pub fn note(&self, partition: u16, key: &str) {
        if let Ok(mut noted) = self.noted.lock() {
            noted.push((partition, key.to_owned()));
        }
    }

    /// Beats for all that was noted.
    pub fn flush(&self) {
        let noted = self.noted.lock().map(|mut noted| std::mem::take(&mut *noted)).unwrap_or_default();
        for (partition, key) in noted {
            self.beat(partition, &key);
        }
    }

    /// Says that `key` (a stream) has new commits in `partition`.
    pub fn beat(&self, partition: u16, key: &str) {
        if let Some(sender) = self.senders.get(usize::from(partition)) {
            // Nobody may be listening.
            sender.send(key.into()).ok();
        }
    }

    /// The beats of a partition from now on. Subscribe before reading the store, or a commit in between is missed.
    pub fn beats(&self, partition: u16) -> Beats {
        Beats(self.senders.get(usize::from(partition)).map(broadcast::Sender::subscribe))
    }
}

/// The beats of a partition.
#[derive(Debug)]
pub struct Beats(Option<broadcast::Receiver<Arc<str>>>);

impl Beats {
    /// Waits for a beat, or for `at_most`.
    pub async fn any(&mut self, at_most: Duration) {
        self.until(Instant::now() + at_most, |_| true).await;
        // One read of the store answers all beats that came meanwhile.
        if let Some(receiver) = &mut self.0 {
            *receiver = receiver.resubscribe();
        }
    }

    /// Waits for a beat of `key`, or for `at_most`.
    pub async fn of(&mut self, key: &str, at_most: Duration) {
        self.until(Instant::now() + at_most, |beat| beat.is_empty() || beat == key).await;
    }

    async fn until(&mut self, deadline: Instant, matches: impl Fn(&str) -> bool) {
        loop {
            let Some(receiver) = &mut self.0 else { return tokio::time::sleep_until(deadline).await };
            match timeout_at(deadline, receiver.recv()).await {
                Err(_) | Ok(Err(broadcast::error::RecvError::Lagged(_))) => return,
                Ok(Ok(beat)) if matches(&beat) => return,
                Ok(Ok(_)) => {}
                // The store is gone; nothing will beat again.
                Ok(Err(broadcast::error::RecvError::Closed)) => self.0 = None,
            }
        }
    }
}
