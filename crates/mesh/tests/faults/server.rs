//! A server: this program once more, in a process of its own, that answers with its address and can be told to be bad.
//!
//! It obeys lines on its standard input and ends when that ends, so that none outlives the tests. SIGTERM ends it gracefully.

use std::convert::Infallible;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// Where the process is to listen; without it, it is no server.
pub const LISTEN: &str = "MESHWORK_FAULTS_LISTEN";
/// Answers with the address of the server. The service is the one that the policy of the benchmark names.
pub const UNARY: &str = "/bench.Echo/Unary";
/// Answers with as many messages as it is told, one each 50 ms; each is the address of the server.
pub const STREAM: &str = "/bench.Echo/Stream";
/// Takes messages to their end and answers with the address of the server.
pub const UPLOAD: &str = "/bench.Echo/Upload";
/// What it writes when it listens.
pub const READY: &str = "listening";

/// How long a graceful end may take.
const DRAIN: Duration = Duration::from_secs(3);
const BETWEEN_MESSAGES: Duration = Duration::from_millis(50);

/// How bad the server is at present.
#[derive(Default)]
struct Mood {
    delay_ms: AtomicU64,
    refuse_percent: AtomicU64,
}

/// Not a test: the server, when this program was started to be one.
#[test]
fn process() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(address.parse().unwrap()));
    std::process::exit(0);
}

async fn run(address: SocketAddr) {
    let mood = Arc::new(Mood::default());
    let incoming = TcpIncoming::bind(address).unwrap().with_nodelay(Some(true));
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    obey(Arc::clone(&mood));
    println!("\n{READY}");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let name: Arc<str> = address.to_string().into();
    let serve = Server::builder()
        // Many cancelled calls are no attack here.
        .http2_max_pending_accept_reset_streams(Some(100_000))
        .add_service(Echo { mood, name })
        .serve_with_incoming_shutdown(incoming, async {
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
            dial.store(amount.parse().unwrap(), Ordering::SeqCst);
            println!("{line}");
        }
        std::process::exit(0);
    });
}

#[derive(Clone)]
struct Echo {
    mood: Arc<Mood>,
    name: Arc<str>,
}

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { mood, name } = self.clone();
        Box::pin(async move {
            let delay = mood.delay_ms.load(Ordering::SeqCst);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            let refuse = fastrand::u64(0..100) < mood.refuse_percent.load(Ordering::SeqCst);
            let answer = if refuse { Err(Status::unavailable("told to")) } else { Ok(name.to_string()) };
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            Ok(match request.uri().path() {
                STREAM => {
                    let stream = service_fn(|count: Request<String>| {
                        let answer = answer.clone();
                        async move {
                            let count: usize = count.into_inner().parse().unwrap();
                            let answers = tokio_stream::iter(std::iter::repeat_n(answer, count));
                            Ok::<_, Status>(Response::new(answers.throttle(BETWEEN_MESSAGES)))
                        }
                    });
                    grpc.server_streaming(stream, request).await
                }
                UPLOAD => {
                    let upload = service_fn(|messages: Request<Streaming<String>>| {
                        let answer = answer.clone();
                        async move {
                            let mut messages = messages.into_inner();
                            while messages.message().await?.is_some() {}
                            answer.map(Response::new)
                        }
                    });
                    grpc.client_streaming(upload, request).await
                }
                _ => {
                    let unary = service_fn(|_: Request<String>| {
                        let answer = answer.clone();
                        async move { answer.map(Response::new) }
                    });
                    grpc.unary(unary, request).await
                }
            })
        })
    }
}
