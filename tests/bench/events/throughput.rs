//! How many events the relay publishes a second, beside a plain publisher, by turns.

use std::time::Duration;

use async_nats::Client;
use meshwork_events::outbox::PARTITIONS;
use tokio::time::Instant;

use crate::plain::{IN_FLIGHT, Plain};
use crate::running::Running;

/// How many events of each lane are published to warm up.
const WARM: usize = 2 * IN_FLIGHT;
/// How long a run should take where its events can't be published sooner.
const RUN: Duration = Duration::from_secs(1);
/// How many batches of each lane a run has at most: 20,480 events.
const MOST: usize = 40;

/// What was measured.
pub struct Throughput {
    /// The events of a run.
    pub events: usize,
    /// Events a second: the median of the relay's runs.
    pub relay: f64,
    /// Events a second: the median of the plain publisher's runs.
    pub plain: f64,
    /// The ratio of the two in the round where it was least, and where it was most.
    pub least_and_most: [f64; 2],
}

impl Throughput {
    /// The relay's median against the plain publisher's.
    pub fn ratio(&self) -> f64 {
        self.relay / self.plain
    }
}

/// Runs both publishers so many times.
pub async fn measure(running: &Running, client: Client, rounds: usize) -> Throughput {
    let mut plain = Plain::listen(client, running, WARM).await;
    let slower = plain.publish(WARM).await.max(publish(running, WARM).await);
    let each = batches(slower) * IN_FLIGHT;
    let (mut relays, mut plains, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who begins changes from round to round.
        let (relay, other) = if round % 2 == 0 {
            let relay = publish(running, each).await;
            (relay, plain.publish(each).await)
        } else {
            let other = plain.publish(each).await;
            (publish(running, each).await, other)
        };
        relays.push(relay);
        plains.push(other);
        ratios.push(other / relay);
    }
    ratios.sort_by(f64::total_cmp);
    let events = each * usize::from(PARTITIONS);
    Throughput {
        events,
        relay: events as f64 / median(relays),
        plain: events as f64 / median(plains),
        least_and_most: [ratios[0], ratios[rounds - 1]],
    }
}

/// Has the relay publish so many events of each lane; returns the seconds until all are acknowledged.
async fn publish(running: &Running, each: usize) -> f64 {
    let events = running.log.next(each);
    let begun = Instant::now();
    running.log.add(events);
    running.caught_up().await;
    begun.elapsed().as_secs_f64()
}

/// How many whole batches of each lane take a second where the warm-up took so many seconds: what is left of a batch is
/// published in another way.
fn batches(warm: f64) -> usize {
    let batches = RUN.as_secs_f64() / warm * (WARM / IN_FLIGHT) as f64;
    (batches as usize).clamp(1, MOST)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    if seconds.len().is_multiple_of(2) { f64::midpoint(seconds[middle - 1], seconds[middle]) } else { seconds[middle] }
}
