//! Claims of requests that an instance of an earlier release has parked, which knows of none among orders.

use std::sync::Arc;
use std::time::Duration;

use meshwork_chassis::CancellationToken;
use meshwork_eventstore::projection::{ProjectionStore, VersionState};

use super::codec::REQUEST_CLAIMED;
use crate::ports::{Projection, ProjectionError};

/// How often they are looked for: such an instance beside this one may park more.
const LOOK: Duration = Duration::from_secs(60);
/// How many parked streams are looked at.
const PARKED: usize = 1_000;

/// Has claims followed that are parked in `view`, until `shutdown`.
pub async fn run(view: Arc<dyn ProjectionStore>, orders: Arc<dyn Projection>, shutdown: CancellationToken) {
    loop {
        match shutdown.run_until_cancelled(unpark(view.as_ref(), orders.as_ref())).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "parked claims of requests are looked for again"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

async fn unpark(view: &dyn ProjectionStore, orders: &dyn Projection) -> Result<(), ProjectionError> {
    let versions = view.versions().await?;
    let Some((live, _)) = versions.iter().find(|(_, state)| *state == VersionState::Live) else { return Ok(()) };
    for parked in view.parked(*live, PARKED).await? {
        if !parked.reason.contains(REQUEST_CLAIMED) {
            continue;
        }
        match orders.retry(&parked.stream).await {
            // Another instance may have been faster, and what is parked for something else stays.
            Ok(()) | Err(ProjectionError::NotParked | ProjectionError::StillParked(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
