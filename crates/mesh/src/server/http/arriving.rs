//! The body of a request that is no gRPC, on its way in: how long it may take, and in whose budget its bytes are.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use crate::errors::port::REQUEST_TIMED_OUT;
use crate::server::Domain;
use crate::server::budget::{Account, Budgets, Caller, Hold, Resource};

/// What holds for the body of a request until that is answered: the answer may take all the time that its service gives
/// it, and so may the rest of the body then.
pub(in crate::server) struct BodyBounds {
    /// How long it may be waited for the first byte, and for each one after that.
    pub first_byte: Duration,
    pub next_byte: Duration,
    /// What the head of the request takes, and how many bytes of the body count at most besides.
    pub head: usize,
    pub counted: usize,
    pub budgets: Budgets,
    pub address: Option<Account>,
    pub domain: Domain,
    /// Set when the request is answered.
    pub answered: Arc<AtomicBool>,
}

/// The body of a request within its bounds.
pub(in crate::server) struct ArrivingBody<A> {
    /// `None`: it has broken a bound.
    body: Option<A>,
    bounds: BodyBounds,
    received: usize,
    /// What is counted while it is waited for more.
    hold: Option<Hold>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs.
    waiting: bool,
}

impl<A> ArrivingBody<A> {
    pub(in crate::server) fn new(body: A, bounds: BodyBounds) -> Self {
        Self { body: Some(body), bounds, received: 0, hold: None, timer: None, waiting: false }
    }

    /// Waits for more; ready with why that is over.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.bounds.answered.load(Ordering::Relaxed) {
            self.hold = None;
            return Poll::Pending;
        }
        let size = self.bounds.head + self.received.min(self.bounds.counted);
        let counted = match &mut self.hold {
            Some(hold) => hold.resize(size),
            None => {
                let caller = Caller { address: self.bounds.address.as_ref(), principal: None };
                let taken = self.bounds.budgets.take(Resource::ArrivingBytes, size, caller);
                taken.map(|taken| self.hold = Some(taken))
            }
        };
        if let Err(exceeded) = counted {
            return Poll::Ready(exceeded.status(self.bounds.domain));
        }
        let limit = if self.received == 0 { self.bounds.first_byte } else { self.bounds.next_byte };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(timer.as_mut().poll(cx));
        let message = format!("no byte of the request's body came for {limit:?}; send it in that time");
        Poll::Ready(REQUEST_TIMED_OUT.status(self.bounds.domain, message, &[]))
    }
}

impl<A> Body for ArrivingBody<A>
where
    A: Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                // What is gathered while it is waited for more holds what it counts for, and not, by a slice of it, the
                // whole buffer that it was read into.
                let frame = match &this.hold {
                    Some(_) => frame.map_data(|data| Bytes::copy_from_slice(&data)),
                    None => frame,
                };
                match frame.data_ref() {
                    Some(data) => this.received = this.received.saturating_add(data.len()),
                    None => this.hold = None,
                }
                if this.is_end_stream() {
                    this.hold = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                (this.body, this.hold) = (None, None);
                Poll::Ready(end)
            }
            Poll::Pending => {
                let status = ready!(this.poll_wait(cx));
                (this.body, this.hold) = (None, None);
                Poll::Ready(Some(Err(status)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty, StreamBody};
    use tokio::sync::mpsc;
    use tonic::Code;

    use super::*;
    use crate::server::budget::{CallerLimits, Limits};

    const FIRST: Duration = Duration::from_secs(10);
    const NEXT: Duration = Duration::from_secs(60);

    type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>;

    /// A body that gets what is sent, and its budgets, which allow so many bytes.
    fn body(limit: usize) -> (Frames, impl Body<Data = Bytes, Error = Status> + Unpin, Budgets, Arc<AtomicBool>) {
        let (frames, mut receiver) = mpsc::unbounded_channel();
        let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let limits = CallerLimits { total: limit, ..CallerLimits::default() };
        let budgets = Budgets::new(Limits::default().with(Resource::ArrivingBytes, limits));
        let answered = Arc::<AtomicBool>::default();
        let bounds = BodyBounds {
            first_byte: FIRST,
            next_byte: NEXT,
            head: 100,
            counted: 1000,
            budgets: budgets.clone(),
            address: None,
            domain: Domain::default(),
            answered: Arc::clone(&answered),
        };
        (frames, ArrivingBody::new(StreamBody::new(stream), bounds), budgets, answered)
    }

    fn send(frames: &Frames, bytes: usize) {
        frames.send(Ok(Frame::data(vec![0; bytes].into()))).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_ends_with_why() {
        let (_frames, mut silent, budgets, _) = body(10_000);
        let began = Instant::now();
        assert_eq!(silent.frame().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(began.elapsed(), FIRST);
        assert_eq!(budgets.in_use(Resource::ArrivingBytes), 0);
        assert!(silent.frame().await.is_none());

        let (frames, mut stalls, _, _) = body(10_000);
        send(&frames, 1);
        stalls.frame().await.unwrap().unwrap();
        let began = Instant::now();
        assert_eq!(stalls.frame().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(began.elapsed(), NEXT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_counts_while_there_is_more_to_come() {
        let (frames, mut body, budgets, _) = body(10_000);
        for (bytes, counted) in [(500, 600), (400, 1000), (9000, 1100)] {
            send(&frames, bytes);
            body.frame().await.unwrap().unwrap();
            let waited = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
            assert!(waited.is_err());
            assert_eq!(budgets.in_use(Resource::ArrivingBytes), counted);
        }
        drop(frames);
        assert!(body.frame().await.is_none());
        assert_eq!(budgets.in_use(Resource::ArrivingBytes), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_waited_for_holds_no_more_than_its_bytes() {
        let (frames, mut body, _, _) = body(10_000);
        let waited = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
        assert!(waited.is_err());
        let buffer = Bytes::from(vec![7; 4096]);
        frames.send(Ok(Frame::data(buffer.slice(..3)))).unwrap();
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data, [7; 3].as_slice());
        assert!(buffer.is_unique());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_ends_it() {
        let (frames, mut body, _, _) = body(300);
        send(&frames, 500);
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap_err();
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn once_it_is_answered_the_rest_may_take_its_time() {
        let (frames, mut body, budgets, answered) = body(10_000);
        answered.store(true, Ordering::Relaxed);
        let waited = tokio::time::timeout(NEXT * 10, body.frame()).await;
        assert!(waited.is_err());
        assert_eq!(budgets.in_use(Resource::ArrivingBytes), 0);
        send(&frames, 1);
        body.frame().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn nothing_is_waited_for_where_nothing_comes() {
        let (_, _, budgets, answered) = body(1);
        let bounds = BodyBounds {
            first_byte: FIRST,
            next_byte: NEXT,
            head: 100,
            counted: 0,
            budgets,
            address: None,
            domain: Domain::default(),
            answered,
        };
        let empty = Empty::<Bytes>::new().map_err(|never| -> Status { match never {} });
        assert!(ArrivingBody::new(empty, bounds).is_end_stream());
    }
}
