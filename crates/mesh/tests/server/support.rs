//! A service that does as its request says, and calls to it as a generated client makes them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use meshwork::Channel;
use meshwork::connect::{Connector as _, Memory};
use meshwork::endpoint::Address;
use meshwork::server::{Budgets, Builder, CallerLimits, Limits, Resource, ServerError};
use meshwork::transport::Io;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;

pub use crate::echo::until;
use crate::echo::{Counted, Messages, codec, contract, count_of};

pub const SERVICE: &str = "test.Echo";
/// Answers with what it was sent.
pub const UNARY: &str = "/test.Echo/Unary";
/// Answers after so many milliseconds, whatever becomes of its caller.
pub const SLEEP: &str = "/test.Echo/Sleep";
/// Answers with so many bytes, after so many milliseconds if a second number says so: "1000", "1000 50".
pub const LARGE: &str = "/test.Echo/Large";
/// A message each 100 ms, without end: "0", "1", …
pub const STREAM: &str = "/test.Echo/Stream";
/// Message after message, without end and without a pause.
pub const FLOOD: &str = "/test.Echo/Flood";
/// Panics, in the handler or ("stream") in its answer.
pub const PANIC: &str = "/test.Echo/Panic";
/// Takes messages to their end and answers with their number.
pub const UPLOAD: &str = "/test.Echo/Upload";

/// Where the server listens.
pub const NAME: &str = "10.0.0.1:50051";

/// What the handlers did.
#[derive(Clone, Default)]
pub struct Echo {
    pub running: Arc<AtomicUsize>,
    pub finished: Arc<AtomicUsize>,
}

impl Echo {
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }
}

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
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(codec());
            let path = request.uri().path().to_owned();
            let working = Counted::new(&echo.running);
            Ok(match path.as_str() {
                STREAM | FLOOD | PANIC => {
                    let handler = tower::service_fn(move |request: Request<String>| {
                        let (path, working) = (path.clone(), working.clone());
                        async move { answer(&path, request.into_inner(), working) }
                    });
                    grpc.server_streaming(handler, request).await
                }
                UPLOAD => {
                    let handler = tower::service_fn(|request: Request<Streaming<String>>| async move {
                        count_of(request).await.map(Response::new)
                    });
                    grpc.client_streaming(handler, request).await
                }
                SLEEP => {
                    let finished = Arc::clone(&echo.finished);
                    let handler = tower::service_fn(move |request: Request<String>| {
                        let finished = Arc::clone(&finished);
                        async move {
                            let millis = request.into_inner().parse().unwrap();
                            tokio::time::sleep(Duration::from_millis(millis)).await;
                            finished.fetch_add(1, Ordering::SeqCst);
                            Ok::<_, Status>(Response::new(String::new()))
                        }
                    });
                    grpc.unary(handler, request).await
                }
                LARGE => {
                    let handler = tower::service_fn(|request: Request<String>| async move {
                        let asked = request.into_inner();
                        let (bytes, millis) = asked.split_once(' ').unwrap_or((asked.as_str(), "0"));
                        tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
                        Ok::<_, Status>(Response::new("x".repeat(bytes.parse().unwrap())))
                    });
                    grpc.unary(handler, request).await
                }
                UNARY => {
                    let handler =
                        tower::service_fn(
                            |request: Request<String>| async move { Ok(Response::new(request.into_inner())) },
                        );
                    grpc.unary(handler, request).await
                }
                // As generated services do.
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

fn answer(path: &str, said: String, working: Counted) -> Result<Response<Messages>, Status> {
    let pause = match path {
        FLOOD => Duration::ZERO,
        STREAM => Duration::from_millis(100),
        _ if said == "stream" => Duration::from_millis(1),
        _ => panic!("as planned"),
    };
    let panics = path == PANIC;
    let messages = futures_util::stream::unfold((0, working), move |(count, working)| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        assert!(!panics || count < 1, "as planned, with a secret");
        Some((Ok(count.to_string()), (count + 1, working)))
    });
    Ok(Response::new(Box::pin(messages)))
}

/// The contract of [`Echo`].
pub fn descriptors() -> Vec<u8> {
    contract(&[
        ("Unary", false, false),
        ("Sleep", false, false),
        ("Large", false, false),
        ("Stream", false, true),
        ("Flood", false, true),
        ("Panic", false, true),
        ("Upload", true, false),
    ])
}

/// A server that runs.
pub struct Running {
    pub network: Memory,
    pub echo: Echo,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    pub fn start(builder: Builder) -> Self {
        Self::start_layered(builder)
    }

    pub fn start_layered<L, B>(builder: Builder<L>) -> Self
    where
        L: tower::Layer<meshwork::server::Router> + Send + 'static,
        L::Service: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        <L::Service as Service<http::Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<http::Request<Body>>>::Error: Into<tonic::codegen::StdError> + Send,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError>,
    {
        let (network, echo, stop) = (Memory::new(), Echo::default(), CancellationToken::new());
        let listener = network.listen(NAME).unwrap();
        let server = builder.descriptors(descriptors()).reflection(false).add_service(echo.clone());
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(server.serve_with_shutdown(listener, stopped));
        Self { network, echo, stop, task }
    }

    pub fn channel(&self) -> Channel {
        Channel::builder().connector(self.network.clone()).connect_lazy(&format!("static:///{NAME}")).unwrap()
    }

    /// A connection of one's own.
    pub async fn connect(&self) -> Box<dyn Io> {
        self.network.connect(&Address::Named(NAME.into())).await.unwrap()
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Drops the future that serves.
    pub fn abort(&self) {
        self.task.abort();
    }

    pub async fn ended(self) {
        self.task.await.unwrap().unwrap();
    }
}

pub async fn unary(channel: &Channel, path: &'static str, said: impl Into<String>) -> Result<String, Status> {
    send(channel, path, Request::new(said.into())).await
}

pub async fn send(channel: &Channel, path: &'static str, request: Request<String>) -> Result<String, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await?;
    Ok(grpc.unary(request, PathAndQuery::from_static(path), codec()).await?.into_inner())
}

pub async fn stream(
    channel: &Channel,
    path: &'static str,
    request: Request<String>,
) -> Result<Streaming<String>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await?;
    Ok(grpc.server_streaming(request, PathAndQuery::from_static(path), codec()).await?.into_inner())
}

/// The code of an error, and its reason.
pub fn why(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

/// What the error says of a limit that is reached: the code, the reason, and whose limit it is.
pub fn refused(status: &Status) -> (Code, String, String) {
    let info = status.get_details_error_info().unwrap();
    (status.code(), info.reason, info.metadata["scope"].clone())
}

/// Budgets with these limits of one resource.
pub fn budgets(resource: Resource, limits: CallerLimits) -> Budgets {
    Budgets::new(Limits::default().with(resource, limits))
}

/// Budgets that allow so many calls in flight.
pub fn calls(total: usize) -> Budgets {
    budgets(Resource::Calls, at_most(total))
}

/// Budgets that allow so many connections.
pub fn of_connections(total: usize) -> Budgets {
    budgets(Resource::Connections, at_most(total))
}

fn at_most(total: usize) -> CallerLimits {
    CallerLimits { total, ..CallerLimits::default() }
}
