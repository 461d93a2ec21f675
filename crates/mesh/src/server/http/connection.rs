//! A connection that speaks HTTP/1.1: its requests one by one, within the bounds of the server.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};

use super::answer::PacedAnswer;
use super::leftover::SharedBody;
use super::wire::{Activity, ObservedWire};
use crate::errors::port::MALFORMED_REQUEST;
use crate::server::accept::{ConnectionOptions, OpenCalls};
use crate::server::pipeline::{ConnectionCalls, HandlerService, HttpRequests};
use crate::transport::{Io, LingeringWire};

/// The least buffer that `hyper` takes; it panics below.
const LEAST_BUFFER: usize = 8 << 10;

/// A connection of HTTP/1.1. The future drives it; it ends in order when its client has closed it, or after
/// [`Self::shut_down`] when the request that goes on is answered. Dropped, it ends its request.
#[must_use = "a connection stands still unless it is polled"]
pub(in crate::server) struct HttpConnection<H: HandlerService> {
    served: Pin<Box<http1::Connection<TokioIo<ObservedWire>, Requests<H>>>>,
    activity: Arc<Activity>,
    /// How long the head of a request may take.
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// The begin of the head that the timer runs for.
    since: Option<Instant>,
}

impl<H: HandlerService> HttpConnection<H> {
    /// Speaks HTTP/1.1 over `io`. Its requests go to `http`, and are counted as `open`.
    pub(in crate::server) fn new(
        io: Box<dyn Io>,
        options: &ConnectionOptions,
        calls: ConnectionCalls<H>,
        http: Arc<HttpRequests>,
        open: Arc<OpenCalls>,
    ) -> Self {
        let activity = Activity::new(open);
        let wire = LingeringWire::of_http1(io, options.slow_reader);
        let wire = ObservedWire::new(wire, Arc::clone(&activity));
        let requests = Requests { calls, http, activity: Arc::clone(&activity) };
        let most = usize::try_from(options.serve.max_header_list_size).unwrap_or(usize::MAX);
        let served = http1::Builder::new()
            // Its clock would run between two requests as well, where the connection's idle time holds.
            .header_read_timeout(None::<Duration>)
            .max_header_size(most)
            .max_buf_size(most.max(LEAST_BUFFER))
            .serve_connection(TokioIo::new(wire), requests);
        Self { served: Box::pin(served), activity, limit: options.handshake, timer: None, since: None }
    }

    /// Takes no more requests, and closes the connection after the one that goes on, if one does.
    pub(in crate::server) fn shut_down(&mut self) {
        self.served.as_mut().graceful_shutdown();
    }
}

impl<H: HandlerService> Future for HttpConnection<H> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(end) = this.served.as_mut().poll(cx) {
            return Poll::Ready(end.map_err(io::Error::other));
        }
        let Some(since) = this.activity.head_since() else {
            this.since = None;
            return Poll::Pending;
        };
        let until = since + this.limit;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if this.since != Some(since) {
            this.since = Some(since);
            timer.as_mut().reset(until);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request did not come in time")))
    }
}

/// The requests of a connection.
struct Requests<H> {
    calls: ConnectionCalls<H>,
    http: Arc<HttpRequests>,
    activity: Arc<Activity>,
}

impl<H: HandlerService> Service<Request<Incoming>> for Requests<H> {
    type Response = Response<PacedAnswer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<PacedAnswer>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.head_is_whole();
        let domain = self.calls.domain();
        let (head, body) = request.into_parts();
        let body = body.map_err(move |error| {
            MALFORMED_REQUEST.status(domain, format!("the request's body can't be read: {error}"), &[])
        });
        // To read what a client asks for first would tell it to go on.
        let is_drained = !head.headers.contains_key(EXPECT);
        let (body, leftover) = SharedBody::new(body);
        let request = Request::from_parts(head, body);
        let answered = self.calls.http(&self.http, request);
        let activity = Arc::clone(&self.activity);
        Box::pin(async move {
            let (mut response, call) = answered.await;
            if !leftover.consumed(is_drained).await {
                // A client that isn't told so might send its next request before it sees the end (RFC 9112, section 9.6).
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| PacedAnswer::new(body, call, activity)))
        })
    }
}
