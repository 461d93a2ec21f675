//! The one future that keeps a deadline, up to the headers of a call; its body keeps it from there on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::bodies::{DeadlineBody, Exceeded, ExpiryStatus};

pin_project! {
    /// A call that ends at its deadline, by default with DEADLINE_EXCEEDED. It takes a timer when it first has to wait.
    #[derive(Debug)]
    pub struct DeadlineFuture<F, X = Exceeded> {
        // None: refused, or over.
        #[pin]
        future: Option<F>,
        deadline: Option<Instant>,
        sleep: Option<Pin<Box<Sleep>>>,
        refused: Option<Status>,
        expiry: X,
    }
}

impl<F, X: ExpiryStatus> DeadlineFuture<F, X> {
    /// Ends `future` at `deadline`, if there is one, as `expiry` says: then it is dropped, which cancels the call.
    pub(crate) fn new(future: F, deadline: Option<Instant>, expiry: X) -> Self {
        Self { future: Some(future), deadline, sleep: None, refused: None, expiry }
    }

    /// Answers with `status`, and makes no call.
    pub(crate) fn refused(status: Status) -> Self {
        Self { future: None, deadline: None, sleep: None, refused: Some(status), expiry: X::default() }
    }
}

impl<F, X, B, E> Future for DeadlineFuture<F, X>
where
    F: Future<Output = Result<Response<B>, E>>,
    X: ExpiryStatus,
{
    type Output = Result<Response<DeadlineBody<B, X>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (deadline, expiry) = (*this.deadline, *this.expiry);
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            let status = this.refused.take().unwrap_or_else(|| Status::internal("polled after its end"));
            return Poll::Ready(Ok(status.into_http()));
        };
        if let Poll::Ready(result) = future.poll(cx) {
            let bounded = |body| DeadlineBody::with_expiry(body, deadline, expiry);
            return Poll::Ready(result.map(|response| response.map(bounded)));
        }
        let Some(deadline) = deadline else { return Poll::Pending };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Dropped, the inner call is cancelled.
        this.future.set(None);
        Poll::Ready(Ok(expiry.status("before its answer").into_http()))
    }
}
