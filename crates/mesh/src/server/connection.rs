//! One connection: its calls, its age, its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::codegen::StdError;
use tower::util::Oneshot;
use tower_service::Service;

use super::handshake::Opening;
use super::listener::ConnectInfo;
use super::peer::Peer;
use crate::bodies::{Finish, TrackedBody};
use crate::outcome::Outcome;
use crate::random::Random;

/// How long a client without calls may take to answer the first GOAWAY, which asks it for a sign of life. Its last answers may
/// be on their way for as long.
const FAREWELL: Duration = Duration::from_secs(5);

/// What holds for each connection.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub age: Option<Duration>,
    pub age_grace: Option<Duration>,
    pub idle: Option<Duration>,
    pub streams: u32,
    pub header_list: u32,
    pub keepalive: Option<(Duration, Duration)>,
    pub handshake: Duration,
    pub random: Random,
}

/// When connections end, whatever they do.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    /// GOAWAY, and then no more calls.
    pub goaway: CancellationToken,
    /// The end, calls or not.
    pub cut: CancellationToken,
}

/// Serves the calls of a connection until its end.
pub(super) async fn serve<S, B>(io: Opening, peer: Peer, info: ConnectInfo, stack: S, options: &Options, ends: &Ends)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let calls = Arc::new(Calls::new());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.streams)
        .max_header_list_size(options.header_list)
        // Clients that cancel many calls at once are no attack; what is above it is ENHANCE_YOUR_CALM.
        .max_pending_accept_reset_streams(options.streams as usize);
    if let Some((interval, timeout)) = options.keepalive {
        builder.keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    let service = CallService { stack, peer, info, calls: Arc::clone(&calls) };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut life = pin!(Life::begin(options, &calls));
    let end = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            why = life.as_mut().next(ends) => match why {
                Why::GoAway => connection.as_mut().graceful_shutdown(),
                Why::Cut => break Ok(()),
            },
        }
    };
    if let Err(error) = end {
        // Its client's concern: it has gone, or speaks no HTTP/2.
        tracing::debug!(%error, "a connection has failed");
    }
}

/// What is next in a connection's life.
enum Why {
    GoAway,
    Cut,
}

/// How long a connection lives.
struct Life<'a> {
    calls: &'a Calls,
    idle: Option<Duration>,
    age_grace: Option<Duration>,
    /// To the end of the age; then, after GOAWAY, to the end of its grace. `None`: without end.
    age: Option<Pin<Box<Sleep>>>,
    /// The next look at whether the connection is idle.
    look: Option<Pin<Box<Sleep>>>,
    leaving: bool,
}

impl<'a> Life<'a> {
    fn begin(options: &Options, calls: &'a Calls) -> Self {
        // gRFC A9: the age is spread, so that connections that began together don't end together.
        let age = options.age.map(|age| age.mul_f64(options.random.between(0.9, 1.1)));
        Self {
            calls,
            idle: options.idle,
            age_grace: options.age_grace,
            age: age.map(|age| Box::pin(sleep(age))),
            look: options.idle.map(|idle| Box::pin(sleep(idle))),
            leaving: false,
        }
    }

    /// Waits for what is next. Cancel safe.
    async fn next(mut self: Pin<&mut Self>, ends: &Ends) -> Why {
        loop {
            let this = &mut *self;
            tokio::select! {
                () = ends.cut.cancelled() => return Why::Cut,
                () = ends.goaway.cancelled(), if !this.leaving => {
                    // The grace of the drain is counted by who cuts.
                    this.leave(None);
                    return Why::GoAway;
                }
                () = due(&mut this.age) => {
                    if this.leaving {
                        return Why::Cut;
                    }
                    this.leave(this.age_grace);
                    return Why::GoAway;
                }
                () = due(&mut this.look) => match (this.calls.idle_since(), this.leaving) {
                    (Some(since), true) if since.elapsed() >= FAREWELL => return Why::Cut,
                    (since, true) => {
                        let from = since.unwrap_or_else(Instant::now);
                        this.look = Some(Box::pin(sleep_until(from + FAREWELL)));
                    }
                    (since, false) => {
                        let idle = this.idle.unwrap_or(FAREWELL);
                        match since {
                            Some(since) if since.elapsed() >= idle => {
                                this.leave(this.age_grace);
                                return Why::GoAway;
                            }
                            since => {
                                let from = since.unwrap_or_else(Instant::now);
                                this.look = Some(Box::pin(sleep_until(from + idle)));
                            }
                        }
                    }
                },
            }
        }
    }

    fn leave(&mut self, grace: Option<Duration>) {
        self.leaving = true;
        self.age = grace.map(|grace| Box::pin(sleep(grace)));
        self.look = Some(Box::pin(sleep(FAREWELL)));
    }
}

async fn due(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The calls of a connection.
struct Calls {
    open: AtomicUsize,
    /// When the last call ended.
    last: std::sync::Mutex<Instant>,
}

impl Calls {
    fn new() -> Self {
        Self { open: AtomicUsize::new(0), last: std::sync::Mutex::new(Instant::now()) }
    }

    fn begin(self: &Arc<Self>) -> OpenCall {
        self.open.fetch_add(1, Ordering::AcqRel);
        OpenCall(Arc::clone(self))
    }

    /// Since when there is no call; `None` while there is one.
    fn idle_since(&self) -> Option<Instant> {
        let last = *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (self.open.load(Ordering::Acquire) == 0).then_some(last)
    }
}

/// A call that goes on; dropped at the end of its response.
struct OpenCall(Arc<Calls>);

impl Finish for OpenCall {
    /// The call is over.
    fn finish(self, _: Outcome) {}
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.0.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
        }
    }
}

/// The calls of a connection on their way to the stack.
struct CallService<S> {
    stack: S,
    peer: Peer,
    info: ConnectInfo,
    calls: Arc<Calls>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for CallService<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes>,
{
    type Response = Response<TrackedBody<B, OpenCall>>;
    type Error = Infallible;
    type Future = CallFuture<S>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let open = self.calls.begin();
        let extensions = request.extensions_mut();
        extensions.insert(self.peer.clone());
        self.info.insert(extensions);
        CallFuture { answer: Oneshot::new(self.stack.clone(), request), open: Some(open) }
    }
}

pin_project_lite::pin_project! {
    /// The answer to a call.
    struct CallFuture<S: Service<Request<Incoming>>> {
        #[pin]
        answer: Oneshot<S, Request<Incoming>>,
        open: Option<OpenCall>,
    }
}

impl<S, B> Future for CallFuture<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<TrackedBody<B, OpenCall>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = std::task::ready!(this.answer.poll(cx))?;
        let Some(open) = this.open.take() else { return Poll::Pending };
        Poll::Ready(Ok(TrackedBody::respond(response, open)))
    }
}
