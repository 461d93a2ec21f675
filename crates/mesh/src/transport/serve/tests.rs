//! A server's connection and a client of `h2` over a pipe, on paused time.

mod answers;
mod backlog;
mod ending;
mod h2spec;
mod hostile;
mod raw;
mod reading;
mod waiting;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::transport::TransportError;

const HOUR: Duration = Duration::from_secs(3600);
const STALL: Duration = Duration::from_secs(30);

type Answer = UnsyncBoxBody<Bytes, Infallible>;
type Answering = Pin<Box<dyn Future<Output = (Response<Answer>, Arc<Probe>)> + Send>>;
type Frames = mpsc::UnboundedSender<Frame<Bytes>>;

/// A guard that shows what it is told.
#[derive(Debug, Default)]
struct Probe {
    state: Arc<ProbeState>,
    /// How many bytes may wait; 0: any number.
    limit: usize,
}

#[derive(Debug, Default)]
struct ProbeState {
    unread: AtomicUsize,
    dropped: AtomicBool,
}

impl ProbeState {
    fn unread(&self) -> usize {
        self.unread.load(Ordering::SeqCst)
    }

    fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }
}

impl CallGuard for Probe {
    fn unread(&self, bytes: usize) -> Result<(), HeaderMap> {
        self.state.unread.store(bytes, Ordering::SeqCst);
        if self.limit > 0 && bytes > self.limit { Err(trailers(8)) } else { Ok(()) }
    }

    fn stall_limit(&self) -> Duration {
        STALL
    }

    fn stalled(&self) -> HeaderMap {
        trailers(8)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.state.dropped.store(true, Ordering::SeqCst);
    }
}

struct Handler<F>(F);

impl<F> Serve for Handler<F>
where
    F: Fn(Request<RequestBody>) -> Answering + Send + 'static,
{
    type Body = Answer;
    type Guard = Probe;

    fn call(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = (Response<Answer>, Arc<Probe>)> + Send + 'static + use<F> {
        (self.0)(request)
    }
}

fn options() -> ServeOptions {
    ServeOptions {
        max_concurrent_streams: 100,
        max_header_list_size: 16 << 10,
        stream_window: 1 << 20,
        connection_window: 1 << 20,
        max_frame_size: 16 << 10,
        send_buffer: 64 << 10,
        unwritten: 256 << 10,
        keep_alive: None,
        linger: Duration::from_secs(1),
    }
}

/// A client, and the tasks of both sides; the server's gives how it ended.
struct Pair {
    client: SendRequest<Bytes>,
    server: JoinHandle<Result<(), TransportError>>,
    shut_down: Option<tokio::sync::oneshot::Sender<()>>,
}

async fn pair<F>(handler: F) -> Pair
where
    F: Fn(Request<RequestBody>) -> Answering + Send + 'static,
{
    pair_with(&h2::client::Builder::new(), options(), handler).await
}

async fn pair_with<F>(builder: &h2::client::Builder, options: ServeOptions, handler: F) -> Pair
where
    F: Fn(Request<RequestBody>) -> Answering + Send + 'static,
{
    let (here, there) = duplex(256 << 10);
    let (shut_down, server) = serve(there, options, handler);
    let (client, connection) = builder.handshake::<_, Bytes>(here).await.unwrap();
    tokio::spawn(connection);
    Pair { client, server, shut_down: Some(shut_down) }
}

/// Serves a connection in a task, until it ends; what is sent asks for its end.
fn serve<F>(
    io: DuplexStream,
    options: ServeOptions,
    handler: F,
) -> (tokio::sync::oneshot::Sender<()>, JoinHandle<Result<(), TransportError>>)
where
    F: Fn(Request<RequestBody>) -> Answering + Send + 'static,
{
    let (shut_down, asked) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let mut connection = ServerConnection::handshake(Box::new(io), &options, Handler(handler)).await?;
        tokio::select! {
            ended = &mut connection => return ended,
            Ok(()) = asked => connection.shut_down(),
        }
        connection.await
    });
    (shut_down, server)
}

impl Pair {
    /// Sends a request without a body.
    async fn call(&mut self) -> ResponseFuture {
        self.open(true).await.0
    }

    async fn open(&mut self, end: bool) -> (ResponseFuture, h2::SendStream<Bytes>) {
        poll_fn(|cx| self.client.poll_ready(cx)).await.unwrap();
        let request = Request::post("http://shop/a/b").body(()).unwrap();
        self.client.send_request(request, end).unwrap()
    }
}

/// The bytes of an answer, and its trailers.
async fn read(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = timeout(HOUR, body.data()).await.unwrap() {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        bytes.extend_from_slice(&chunk);
    }
    (bytes, body.trailers().await.unwrap())
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn trailers(code: u32) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), code.into())])
}

fn code(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status").and_then(|code| code.to_str().ok())
}

/// A body of these frames.
fn frames(frames: Vec<Frame<Bytes>>) -> Answer {
    let frames = frames.into_iter().map(Ok::<_, Infallible>);
    http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

/// A message and OK.
fn message(bytes: impl Into<Bytes>) -> Answer {
    frames(vec![Frame::data(bytes.into()), Frame::trailers(trailers(0))])
}

/// A body that brings what the sender is given, and ends with it.
fn streamed() -> (Answer, Frames) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = futures_util::stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Frame<Bytes>>| async {
        Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
    });
    (http_body_util::StreamBody::new(Box::pin(frames)).boxed_unsync(), sender)
}

fn guard(state: &Arc<ProbeState>) -> Arc<Probe> {
    Arc::new(Probe { state: Arc::clone(state), limit: 0 })
}

/// Answers at once with what is made.
fn at_once<B>(body: B, state: &Arc<ProbeState>) -> impl Fn(Request<RequestBody>) -> Answering + Send + 'static + use<B>
where
    B: Fn() -> Answer + Send + 'static,
{
    let state = Arc::clone(state);
    move |_| {
        let answer = (Response::new(body()), guard(&state));
        Box::pin(std::future::ready(answer))
    }
}

/// Answers once with a body that is there already.
fn once(body: Answer, guard: Arc<Probe>) -> impl Fn(Request<RequestBody>) -> Answering + Send + 'static {
    let answer = std::sync::Mutex::new(Some((Response::new(body), guard)));
    move |_| {
        let answer = answer.lock().unwrap().take().unwrap();
        Box::pin(std::future::ready(answer))
    }
}
