//! An upstream that does as its request says, a proxy in front of it, and calls as a generated client makes them.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use meshwork::Channel;
use meshwork::connect::Memory;
use meshwork::server::proxy::{Mirror, MirrorLimits, Proxy, Route, Routes, Upstream};
use meshwork::server::{Builder, Server};
use meshwork::transport::Http2Options;
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::echo::{Counted, Messages, contract, count_of};
pub use crate::echo::{codec, until};

/// Answers with what it was sent.
pub const UNARY: &str = "/test.Echo/Unary";
/// Answers with "0", "1" and "2".
pub const STREAM: &str = "/test.Echo/Stream";
/// Answers with the number of messages.
pub const UPLOAD: &str = "/test.Echo/Upload";
/// Answers each message with itself.
pub const CHAT: &str = "/test.Echo/Chat";
/// A method that the upstream has and the proxy has no route for.
pub const HIDDEN: &str = "/test.Hidden/Unary";

/// A message that is refused, at once or after those of a stream.
pub const REFUSE: &str = "refuse";
/// A message that is never answered, or after those of a stream never to the end.
pub const HANG: &str = "hang";
/// A message that is answered by messages of 1 KiB without end and without a pause.
pub const FLOOD: &str = "flood";

/// The names under which the two listen.
pub const UPSTREAM: &str = "10.0.0.1:50051";
pub const PROXY: &str = "10.0.0.2:50051";

#[derive(Clone, Default)]
pub struct Echo {
    /// The headers of all calls.
    pub heads: Arc<Mutex<Vec<HeaderMap>>>,
    /// Answers that have not ended.
    pub running: Arc<AtomicUsize>,
    /// Messages of floods.
    pub flooded: Arc<AtomicUsize>,
}

impl Echo {
    pub fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub fn last_head(&self) -> HeaderMap {
        self.heads.lock().unwrap().last().cloned().unwrap()
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.heads.lock().unwrap().push(request.headers().clone());
        let echo = self.clone();
        Box::pin(async move {
            let running = Counted::new(&echo.running);
            let mut grpc = Grpc::new(codec());
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                STREAM => {
                    let handler = tower::service_fn(move |request: Request<String>| {
                        let answer = echo.stream(&request.into_inner());
                        async move { Ok::<_, Status>(with_metadata(answer)) }
                    });
                    grpc.server_streaming(handler, request).await
                }
                UPLOAD => {
                    let handler = tower::service_fn(|request: Request<Streaming<String>>| async move {
                        count_of(request).await.map(with_metadata)
                    });
                    grpc.client_streaming(handler, request).await
                }
                CHAT => {
                    let handler = tower::service_fn(|request: Request<Streaming<String>>| async move {
                        let answers: Messages = Box::pin(request.into_inner());
                        Ok::<_, Status>(with_metadata(answers))
                    });
                    grpc.streaming(handler, request).await
                }
                _ => {
                    let handler = tower::service_fn(move |request: Request<String>| {
                        let running = running.clone();
                        async move {
                            let said = request.into_inner();
                            match said.as_str() {
                                REFUSE => return Err(refusal()),
                                HANG => std::future::pending().await,
                                _ => {}
                            }
                            drop(running);
                            Ok(with_metadata(said))
                        }
                    });
                    grpc.unary(handler, request).await
                }
            })
        })
    }
}

impl Echo {
    fn stream(&self, said: &str) -> Messages {
        let running = Counted::new(&self.running);
        let three = tokio_stream::iter((0..3).map(|number: u32| Ok::<_, Status>(number.to_string())));
        let messages: Messages = match said {
            REFUSE => Box::pin(three.chain(tokio_stream::once(Err(refusal())))),
            HANG => Box::pin(three.chain(tokio_stream::pending())),
            FLOOD => {
                let flooded = Arc::clone(&self.flooded);
                Box::pin(tokio_stream::iter(std::iter::repeat_with(move || {
                    flooded.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Status>("x".repeat(1024))
                })))
            }
            _ => Box::pin(three),
        };
        Box::pin(messages.map(move |message| {
            let _ = &running;
            message
        }))
    }
}

fn with_metadata<T>(answer: T) -> Response<T> {
    let mut response = Response::new(answer);
    response.metadata_mut().insert("x-answer", "yes".parse().unwrap());
    response
}

/// An error with everything that errors have.
pub fn refusal() -> Status {
    let mut status = Status::with_details(Code::Aborted, "no – really", b"\x00\xff details".as_slice().into());
    status.metadata_mut().insert("x-trailer", "told".parse().unwrap());
    status
}

#[track_caller]
pub fn assert_is_refusal(status: &Status) {
    let expected = refusal();
    assert_eq!((status.code(), status.message()), (expected.code(), expected.message()));
    assert_eq!(status.details(), expected.details());
    assert_eq!(status.metadata().get("x-trailer").unwrap(), "told");
}

/// Everything of one service goes to one upstream, which learns by whom, and copies of it to mirrors.
pub struct ToEcho {
    upstream: Upstream,
    mirrors: Vec<Mirror>,
}

impl Routes for ToEcho {
    fn has(&self, path: &str) -> bool {
        path.starts_with("/test.Echo/")
    }

    fn route(&self, head: &mut Parts) -> Result<Route, Status> {
        if !self.has(head.uri.path()) {
            return Err(Status::unimplemented("the proxy has no such method"));
        }
        head.headers.insert("x-passed-by", HeaderValue::from_static("proxy"));
        Ok(self.mirrors.iter().cloned().fold(Route::to(self.upstream.clone()), Route::mirror))
    }
}

/// A client, a proxy and an upstream, each at one end of a connection.
pub struct World {
    pub network: Memory,
    pub echo: Echo,
    pub proxy: Proxy<ToEcho>,
    /// To the proxy.
    pub client: Channel,
}

impl World {
    pub fn start() -> Self {
        Self::with(Server::builder())
    }

    /// `builder` is that of the upstream.
    pub fn with(builder: Builder) -> Self {
        Self::with_windows(builder, Http2Options::default().stream_window, Http2Options::default().stream_window)
    }

    /// The windows are those of the proxy's streams, and of the client's.
    pub fn with_windows(builder: Builder, of_proxy: u32, of_client: u32) -> Self {
        Self::new(Memory::new(), builder, Vec::new(), MirrorLimits::default(), [of_proxy, of_client])
    }

    /// The proxy copies all calls to `mirrors`, which are on `network`.
    pub fn mirrored(network: Memory, mirrors: Vec<Mirror>, limits: MirrorLimits) -> Self {
        Self::new(network, Server::builder(), mirrors, limits, [Http2Options::default().stream_window; 2])
    }

    fn new(
        network: Memory,
        builder: Builder,
        mirrors: Vec<Mirror>,
        limits: MirrorLimits,
        [of_proxy, of_client]: [u32; 2],
    ) -> Self {
        let echo = Echo::default();
        serve(&network, UPSTREAM, builder.add_service(echo.clone()));
        let upstream = Upstream::new("echo", channel(&network, UPSTREAM, of_proxy));
        let proxy = Proxy::new(ToEcho { upstream, mirrors }).mirror_limits(limits);
        let (service, routes) = (proxy.clone(), proxy.clone());
        serve(&network, PROXY, Server::builder().fallback(service, move |path| routes.has(path)));
        let client = channel(&network, PROXY, of_client);
        Self { network, echo, proxy, client }
    }

    pub async fn unary(&self, request: Request<String>) -> Result<Response<String>, Status> {
        self.unary_at(UNARY, request).await
    }

    pub async fn unary_at(&self, path: &'static str, request: Request<String>) -> Result<Response<String>, Status> {
        self.grpc().await.unary(request, PathAndQuery::from_static(path), codec()).await
    }

    pub async fn stream(&self, said: &str) -> Result<Response<Streaming<String>>, Status> {
        let request = Request::new(said.to_owned());
        self.grpc().await.server_streaming(request, PathAndQuery::from_static(STREAM), codec()).await
    }

    pub async fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = tonic::client::Grpc::new(self.client.clone());
        grpc.ready().await.unwrap();
        grpc
    }

    pub fn running(&self) -> usize {
        self.echo.running.load(Ordering::SeqCst)
    }
}

pub fn serve(network: &Memory, name: &str, builder: Builder) {
    let listener = network.listen(name).unwrap();
    let server = builder.descriptors(descriptors()).reflection(false);
    tokio::spawn(server.serve_with_shutdown(listener, std::future::pending()));
}

fn channel(network: &Memory, name: &str, stream_window: u32) -> Channel {
    let http2 = Http2Options { stream_window, ..Http2Options::default() };
    Channel::builder().connector(network.clone()).http2(http2).connect_lazy(&format!("static:///{name}")).unwrap()
}

fn descriptors() -> Vec<u8> {
    contract(&[("Unary", false, false), ("Stream", false, true), ("Upload", true, false), ("Chat", true, true)])
}
