//! A client and a server over a network in memory, on paused time.

mod bodies;
mod ending;
mod frames;
mod keeping;
mod places;
mod queue;
mod repair;
mod streaming;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection as Server, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

use super::*;
use crate::memory::{Memory, MemoryListener, MemoryStream};

const HOUR: Duration = Duration::from_secs(3600);

/// What comes bit by bit, in place of what a call keeps to be sent again.
impl RequestStream for Body {
    fn take_whole(&mut self) -> Option<Bytes> {
        self.is_end_stream().then(Bytes::new)
    }
}

/// A connection and its server.
struct Pair {
    network: Memory,
    connection: Connection,
    driver: JoinHandle<Closed>,
    server: Server<MemoryStream, Bytes>,
}

async fn wire() -> (Memory, MemoryListener, Box<dyn Io>) {
    let network = Memory::new();
    let listener = network.listen("server").unwrap();
    let io = network.dial("server").await.unwrap();
    (network, listener, Box::new(io))
}

async fn handshake(io: Box<dyn Io>) -> Result<(Connection, Driver), TransportError> {
    Connection::handshake(io, &Http2Options::default(), Arc::default(), None).await
}

async fn pair() -> Pair {
    pair_with(&Http2Options::default(), 100).await
}

async fn pair_with(options: &Http2Options, streams: u32) -> Pair {
    let (network, mut listener, io) = wire().await;
    let options = options.clone();
    let client = tokio::spawn(async move {
        let (connection, driver) = Connection::handshake(io, &options, Arc::default(), None).await.unwrap();
        (connection, tokio::spawn(driver))
    });
    let io = listener.accept().await.unwrap();
    let server = h2::server::Builder::new().max_concurrent_streams(streams).handshake(io).await.unwrap();
    let mut pair_of = Box::pin(client);
    let mut server = server;
    let (connection, driver) = tokio::select! {
        made = &mut pair_of => made.unwrap(),
        _ = server.accept() => unreachable!(),
    };
    Pair { network, connection, driver, server }
}

impl Pair {
    /// Sends a call without a body, and sees it arrive.
    async fn call(&mut self) -> (Exchange<Body>, SendResponse<Bytes>) {
        let (exchange, _, respond) = self.send(Body::empty()).await;
        (exchange, respond)
    }

    async fn send(&mut self, body: Body) -> (Exchange<Body>, RecvStream, SendResponse<Bytes>) {
        let mut exchange = self.connection.reserve().expect("a place").send(request(), body).unwrap();
        let _ = futures_util::poll!(&mut exchange);
        let (request, respond) = timeout(HOUR, self.server.accept()).await.unwrap().unwrap().unwrap();
        (exchange, request.into_body(), respond)
    }

    /// Lets the server move its bytes while something is awaited, an hour at most.
    async fn during<F: Future>(&mut self, future: F) -> F::Output {
        tokio::select! {
            biased;
            output = timeout(HOUR, future) => output.expect("in time"),
            () = serve(&mut self.server) => unreachable!(),
        }
    }

    async fn settle(&mut self) {
        self.during(async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn pass(&mut self, time: Duration) {
        self.during(tokio::time::sleep(time)).await;
        self.settle().await;
    }
}

/// Moves the bytes of a server, and refuses to end.
async fn serve(server: &mut Server<MemoryStream, Bytes>) {
    let _ = poll_fn(|cx| server.poll_closed(cx)).await;
    std::future::pending().await
}

fn request() -> Request<()> {
    Request::post("http://shop/a/b").body(()).unwrap()
}

fn headers() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn trailers(code: u32) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), code.into())])
}

/// Answers with a message and OK.
fn answer(mut respond: SendResponse<Bytes>) {
    let mut stream = respond.send_response(headers(), false).unwrap();
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    stream.send_trailers(trailers(0)).unwrap();
}

fn failure(result: Result<Response<ReceiveBody>, ExchangeError>) -> TransportError {
    match result {
        Err(ExchangeError::Transport(error)) => error,
        other => panic!("not a failure of the transport: {other:?}"),
    }
}

async fn frame(body: &mut ReceiveBody) -> Option<Result<Frame<Bytes>, TransportError>> {
    poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await
}

/// A body that brings what the sender is given, and tells when it is dropped.
fn streamed() -> (Body, mpsc::Sender<Result<Frame<Bytes>, Status>>) {
    let (sender, frames) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(frames, |mut frames| async { Some((frames.recv().await?, frames)) });
    (Body::new(http_body_util::StreamBody::new(Box::pin(frames))), sender)
}
