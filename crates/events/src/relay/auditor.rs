//! Watching over a lane: what the broker has lost from its middle is published again, beside it (NT-4).

use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::audit::{Found, audit};
use super::parking::{Blocked, Parking};
use crate::Source;
use crate::bus::{Bus, Lane};

/// How often it is looked whether the bus has lost something.
const AUDIT: Duration = Duration::from_secs(60);
/// Events of which less than this is left of their time on the bus aren't published again.
const NEARLY_AGED: Duration = Duration::from_secs(60 * 60);

/// When the oldest events happened that are worth being published again.
pub(super) fn oldest(bus: &dyn Bus) -> OffsetDateTime {
    let retention = bus.retention();
    let young = retention - NEARLY_AGED.min(retention / 8);
    let young = time::Duration::try_from(young).unwrap_or(time::Duration::MAX);
    OffsetDateTime::now_utc().checked_sub(young).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// What watching over a lane needs.
pub(super) struct Auditor<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) bus: &'a dyn Bus,
    pub(super) lane: &'a Lane,
    pub(super) parking: Option<&'a Parking>,
}

impl Auditor<'_> {
    /// Looks now and then until `shutdown`, beside what publishes the lane.
    pub(super) async fn run(&self, shutdown: &CancellationToken) {
        let mut audited = 0;
        loop {
            match shutdown.run_until_cancelled(self.look(&mut audited)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(problem)) => {
                    tracing::warn!(lane = %self.lane, problem, "it can't be found out whether the bus has lost events");
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(AUDIT)).await.is_none() {
                return;
            }
        }
    }

    /// Puts right what was lost since it was put right last, when the bus had lost `audited`.
    async fn look(&self, audited: &mut u64) -> Result<(), String> {
        let mut publisher = self.bus.publisher(self.lane).await.map_err(|error| error.to_string())?;
        let losses = publisher.losses().await.map_err(|error| error.to_string())?;
        if losses == *audited {
            return Ok(());
        }
        let blocked = match self.parking {
            Some(parking) => parking.blocked().await.map_err(|error| error.to_string())?,
            None => Blocked::new(),
        };
        let since = oldest(self.bus);
        let Found { repaired, left_out } =
            audit(self.source, self.bus, self.lane, publisher.as_mut(), since, &blocked).await?;
        if left_out == 0 {
            *audited = losses;
        }
        if repaired > 0 {
            tracing::error!(
                lane = %self.lane,
                events = repaired,
                "relay_repair: the bus has lost events from the middle of the lane; they are published again beside it"
            );
        }
        Ok(())
    }
}
