//! The bounds of a call up to its answer: panics, its time, its request and the end of the server.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::end::ServerEnd;
use super::time::{CallExpiry, CallTime};
use crate::deadline::within;
use crate::server::Domain;
use crate::server::panics::{drop_quietly, report_panic};
use crate::server::request_size::RequestFault;

pin_project! {
    /// The steps of a call within its bounds. What it has to wait for, it waits for here alone; a call that never waits takes
    /// no timer.
    pub(super) struct Bounded<'e, F> {
        // None: over.
        #[pin]
        steps: Option<F>,
        #[pin]
        timer: Option<Sleep>,
        deadline: Option<Instant>,
        expiry: &'e CallExpiry,
        domain: Domain,
    }
}

impl<'e, F> Bounded<'e, F> {
    /// `steps`, which end at `deadline`, and at `expiry` as soon as they find it out.
    pub(super) fn new(steps: F, deadline: Option<Instant>, expiry: &'e CallExpiry, domain: Domain) -> Self {
        Self { steps: Some(steps), timer: None, deadline, expiry, domain }
    }
}

impl<F, T> Bounded<'_, F>
where
    F: Future<Output = Result<T, Status>>,
{
    /// Polls the steps; a call whose request is at fault, or whose server ends, ends too.
    pub(super) fn poll(
        self: Pin<&mut Self>,
        fault: Option<&Arc<RequestFault>>,
        end: &mut ServerEnd,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Status>> {
        let mut this = self.project();
        let Some(steps) = this.steps.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(Status::internal("polled after its end")));
        };
        let deadline = *this.deadline;
        let polled = catch_unwind(AssertUnwindSafe(|| within(deadline, || steps.poll(cx))));
        let status = match polled {
            Err(panic) => report_panic(*this.domain, &*panic),
            Ok(Poll::Ready(result)) => match fault.and_then(|fault| fault.get()) {
                Some(status) => status,
                None => return Poll::Ready(result),
            },
            Ok(Poll::Pending) => {
                if let Some(status) = fault.and_then(|fault| fault.register(cx)) {
                    status
                } else if let Some(status) = end.on_wait(cx) {
                    status
                } else {
                    let time = CallTime { deadline, expiry: this.expiry.get() };
                    let Some(end) = time.end() else { return Poll::Pending };
                    // It may have waited before its caller was known.
                    if this.timer.as_ref().as_pin_ref().is_none_or(|timer| timer.deadline() != end) {
                        this.timer.set(Some(sleep_until(end)));
                    }
                    if this.timer.as_mut().as_pin_mut().is_none_or(|timer| timer.poll(cx).is_pending()) {
                        return Poll::Pending;
                    }
                    time.status(*this.domain, "before its answer")
                }
            }
        };
        // Dropped, what the handler did is cancelled; should it panic at that, it does so alone.
        drop_quietly(|| this.steps.set(None));
        Poll::Ready(Err(status))
    }
}
