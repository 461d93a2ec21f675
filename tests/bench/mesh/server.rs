//! A server: a process of its own that echoes, and that can be told to be bad at it.
//!
//! It obeys lines on its standard input (`delay MS`, `refuse PERCENT`) and ends when that ends, so that no server outlives
//! the benchmark. SIGTERM makes it end gracefully.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::BufRead as _;
use std::iter::RepeatN;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::message::{Payload, SERVICE};
use crate::shape::{BOTH, DOWN, MESSAGES};

/// How long a graceful end may take.
const DRAIN: Duration = Duration::from_secs(1);

/// How bad the server is at present.
#[derive(Default)]
struct Mood {
    delay_ms: AtomicU64,
    refuse_percent: AtomicU64,
}

/// Serves on `port` of the loopback until told to end, so many streams of a connection at once if it is said.
pub async fn run(port: u16, streams: Option<u32>) {
    let mood = Arc::new(Mood::default());
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], port).into()).unwrap().with_nodelay(Some(true));
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    obey(Arc::clone(&mood));
    println!("ready");
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut server = Server::builder().max_concurrent_streams(streams);
    let serve = server.add_service(Echo(mood)).serve_with_incoming_shutdown(incoming, async {
        let _ = stopped.await;
    });
    let drain = async {
        terminate.recv().await;
        let _ = stop.send(());
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! { served = serve => served.unwrap(), () = drain => {} }
}

fn obey(mood: Arc<Mood>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (what, amount) = line.split_once(' ').unwrap();
            let dial = if what == "delay" { &mood.delay_ms } else { &mood.refuse_percent };
            dial.store(amount.parse().unwrap(), Ordering::Relaxed);
        }
        std::process::exit(0);
    });
}

#[derive(Clone)]
struct Echo(Arc<Mood>);

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mood = Arc::clone(&self.0);
        Box::pin(async move {
            let delay = mood.delay_ms.load(Ordering::Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            let refuse = fastrand::u64(0..100) < mood.refuse_percent.load(Ordering::Relaxed);
            let mut grpc = Grpc::new(ProstCodec::<Payload, Payload>::default());
            let answer = Answer { refuse };
            Ok(match request.uri().path() {
                DOWN => grpc.server_streaming(answer, request).await,
                BOTH => grpc.streaming(answer, request).await,
                _ => grpc.unary(answer, request).await,
            })
        })
    }
}

struct Answer {
    refuse: bool,
}

impl Answer {
    fn with<T>(&self, answer: T) -> Ready<Result<Response<T>, Status>> {
        ready(if self.refuse { Err(Status::unavailable("told to")) } else { Ok(Response::new(answer)) })
    }
}

impl UnaryService<Payload> for Answer {
    type Response = Payload;
    type Future = Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        self.with(request.into_inner())
    }
}

impl ServerStreamingService<Payload> for Answer {
    type Response = Payload;
    type ResponseStream = tokio_stream::Iter<RepeatN<Result<Payload, Status>>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        self.with(tokio_stream::iter(std::iter::repeat_n(Ok(request.into_inner()), MESSAGES)))
    }
}

impl StreamingService<Payload> for Answer {
    type Response = Payload;
    type ResponseStream = Streaming<Payload>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Payload>>) -> Self::Future {
        self.with(request.into_inner())
    }
}
