//! What carries out the attempts of one call: it picks an endpoint and sends the request.

use std::sync::Arc;
use std::time::Duration;

use http::uri::{Parts, PathAndQuery};
use http::{HeaderMap, Request, Uri};
use tokio::time::Instant;
use tonic::Status;

use super::guard::Guard;
use crate::breaker::Admission;
use crate::client::balance::PickArgs;
use crate::client::endpoints::{ActivePolicy, ChannelState, Feedback, Picked, TriedEndpoints};
use crate::client::retry::{AttemptContext, AttemptError, RequestBody};
use crate::deadline::{GRPC_TIMEOUT, encode_timeout};
use crate::limit::Permit;
use crate::observe::Event;
use crate::transport::{Exchange, StreamSlot};

/// Carries out the attempts of one call.
#[derive(Clone, Copy)]
pub(crate) struct AttemptSender<'a> {
    pub state: &'a Arc<ChannelState>,
    pub active: &'a ActivePolicy,
    pub method: &'a PathAndQuery,
    /// When the call began.
    pub started: Instant,
    /// The timeout that the request's metadata already holds: what was left when the call began.
    pub timeout: Option<Duration>,
    /// What the attempts of the call went to, those that waited and those beside it among them.
    pub tried: &'a TriedEndpoints,
}

impl AttemptSender<'_> {
    /// A place among the calls in flight, where the policy limits them; to be taken just before the pick (gRFC A32).
    pub(super) fn permit(&self) -> Result<Option<Permit>, AttemptError> {
        let Some(concurrency) = &self.active.concurrency else { return Ok(None) };
        match concurrency.try_acquire() {
            Some(permit) => Ok(Some(permit)),
            None => {
                let (limit, target) = (concurrency.limit(), &self.state.settings.target);
                Err(AttemptError::last(Status::unavailable(format!(
                    "there are {limit} calls in flight to {target}, as many as maxConcurrentRequests allows"
                ))))
            }
        }
    }

    /// Picks without waiting.
    pub(super) fn pick(&self, headers: &HeaderMap, now: Instant) -> Picked {
        let call = PickArgs { method: self.method.path(), headers, now };
        let picked = self.state.snapshot.load().pick(&call, self.tried);
        if let Picked::Endpoint(feedback, ..) = &picked {
            self.tried.add(feedback);
        }
        picked
    }

    /// What the attempt holds on the endpoint of `feedback`, which took it at `now` after it was `queued` for so long.
    pub(super) fn guard(
        &self,
        feedback: Arc<Feedback>,
        admission: Admission,
        permit: Option<Permit>,
        context: &AttemptContext,
        (now, queued): (Instant, Duration),
    ) -> Guard {
        let guard = Guard::new(feedback, admission, permit, context, now);
        let observers = &self.active.settings.observers;
        if !observers.is_some() {
            return guard;
        }
        observers.event(&Event::Picked { endpoint: guard.endpoint(), queued });
        guard.observed_by(observers, self.method, queued)
    }

    /// Gives the request to the connection, with what is left of the deadline in its metadata.
    pub(super) fn send(
        &self,
        slot: StreamSlot,
        request: Request<RequestBody>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Exchange<RequestBody>, AttemptError> {
        let (mut head, body) = request.into_parts();
        // The first attempt mostly begins with the call.
        if now != self.started
            && let Some(deadline) = deadline
        {
            let left = rounded(deadline.saturating_duration_since(now));
            if Some(left) != self.timeout {
                head.headers.insert(&GRPC_TIMEOUT, encode_timeout(left));
            }
        }
        let mut uri = Parts::default();
        uri.scheme = Some(self.state.scheme.clone());
        uri.authority = Some(slot.authority().unwrap_or(&self.state.authority).clone());
        uri.path_and_query = Some(self.method.clone());
        head.uri = Uri::from_parts(uri).unwrap_or_default();
        head.version = http::Version::HTTP_2;
        slot.send(Request::from_parts(head, ()), body).map_err(|error| {
            let (fate, last) = (error.fate(), error.is_local());
            AttemptError { status: error.into_status(), fate, last }
        })
    }
}

/// Rounds up to three digits. The client ends the call at its own deadline; what the server is told a little later need
/// not be exact, and calls with the same deadline send the same header, which HPACK makes one byte of.
pub(super) fn rounded(left: Duration) -> Duration {
    // In 64 bits, since 128 take many times as long; they hold 584 years.
    let Ok(nanos) = u64::try_from(left.as_nanos()) else { return left };
    let unit = 10_u64.pow(nanos.checked_ilog10().unwrap_or(0).saturating_sub(2));
    nanos.div_ceil(unit).checked_mul(unit).map_or(left, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_rounded_up_to_three_digits() {
        let nanos = Duration::from_nanos;
        for (left, expected) in [(0, 0), (7, 7), (999, 999), (1_001, 1_010), (123_456, 124_000), (999_001, 1_000_000)] {
            assert_eq!(rounded(nanos(left)), nanos(expected), "{left}");
        }
        assert_eq!(rounded(Duration::from_secs(1)), Duration::from_secs(1));
        for most in [nanos(u64::MAX), Duration::MAX] {
            assert_eq!(rounded(most), most, "too far away to matter");
        }
    }
}
