//! Copies of calls for mirrors, and that calls don't notice them.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use meshwork::Channel;
use meshwork::connect::Memory;
use meshwork::deadline::parse_timeout;
use meshwork::policy::Policy;
use meshwork::retry::NoRetry;
use meshwork::server::Server;
use meshwork::server::auth::Principal;
use meshwork::server::proxy::{MIRRORED, Mirror, MirrorCounts, MirrorLimits, Upstream};
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Request, Status};
use tower::ServiceExt as _;

use crate::echo::Counted;
use crate::support::{CHAT, HANG, REFUSE, UNARY, UPLOAD, World, assert_is_refusal, codec, serve, until};

/// Where mirrors listen.
const MIRROR: &str = "10.0.0.3:50051";

/// What a mirror does with its calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Reads them and answers them once they have ended.
    Answer,
    /// Reads them and never answers.
    Hang,
    /// Doesn't read them and doesn't answer.
    Nothing,
    /// Refuses them at once with this code.
    Refuse(Code),
    /// Answers with messages of 1 KiB without end.
    Flood,
}

/// A call as a mirror has got it.
#[derive(Clone, Default)]
struct Copied {
    head: HeaderMap,
    bytes: Vec<u8>,
    whole: bool,
}

/// A mirror: what it does, and the calls that it got.
#[derive(Clone)]
struct Recorder {
    does: Does,
    calls: Arc<Mutex<Vec<Copied>>>,
    running: Arc<AtomicUsize>,
}

impl Recorder {
    fn listen(network: &Memory, name: &str, does: Does) -> Self {
        let recorder = Self { does, calls: Arc::default(), running: Arc::default() };
        serve(network, name, Server::builder().add_service(recorder.clone()));
        recorder
    }

    fn calls(&self) -> Vec<Copied> {
        self.calls.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    async fn whole(&self) -> Copied {
        until("a copy is whole", || self.calls().iter().any(|call| call.whole)).await;
        self.calls().pop().unwrap()
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

impl NamedService for Recorder {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Recorder {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let recorder = self.clone();
        Box::pin(async move {
            let _running = Counted::new(&recorder.running);
            let (head, mut body) = request.into_parts();
            let call = {
                let mut calls = recorder.calls.lock().unwrap();
                calls.push(Copied { head: head.headers, ..Copied::default() });
                calls.len() - 1
            };
            match recorder.does {
                Does::Refuse(code) => return Ok(Status::new(code, "no").into_http()),
                Does::Nothing => std::future::pending().await,
                Does::Answer | Does::Hang | Does::Flood => {}
            }
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => {
                        let data = frame.into_data().unwrap_or_default();
                        recorder.calls.lock().unwrap()[call].bytes.extend_from_slice(&data);
                    }
                    Err(_) => std::future::pending().await,
                }
            }
            recorder.calls.lock().unwrap()[call].whole = true;
            if recorder.does == Does::Hang {
                std::future::pending::<()>().await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(0));
            let end = tokio_stream::once(Ok::<_, Status>(Frame::trailers(trailers)));
            let message = || Ok(Frame::data(framed(&["x".repeat(1024)])));
            let body = if recorder.does == Does::Flood {
                Body::new(StreamBody::new(tokio_stream::iter(std::iter::repeat_with(message)).chain(end)))
            } else {
                Body::new(StreamBody::new(tokio_stream::once(message()).chain(end)))
            };
            let response = http::Response::builder().header("content-type", "application/grpc");
            Ok(response.body(body).unwrap())
        })
    }
}

/// Messages as they are framed.
fn framed<T: AsRef<str>>(messages: &[T]) -> Bytes {
    let mut frames = Vec::new();
    for said in messages {
        let message = said.as_ref().to_owned().encode_to_vec();
        frames.push(0);
        frames.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frames.extend(message);
    }
    frames.into()
}

fn to(network: &Memory, name: &str) -> Mirror {
    let policy = Policy::parse(
        r#"{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.01s",
            "maxBackoff": "0.1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"#,
    )
    .unwrap();
    let builder = Channel::builder().connector(network.clone()).policy(policy);
    Mirror::to(Upstream::new("mirror", builder.connect_lazy(&format!("static:///{name}")).unwrap()))
}

/// A world with one mirror.
fn mirrored(does: Does, limits: MirrorLimits) -> (World, Recorder) {
    let network = Memory::new();
    let recorder = Recorder::listen(&network, MIRROR, does);
    let mirror = to(&network, MIRROR);
    (World::mirrored(network, vec![mirror], limits), recorder)
}

fn counts(world: &World) -> MirrorCounts {
    world.proxy.mirror_counts()
}

async fn settled(world: &World) -> MirrorCounts {
    until("no copy is in flight", || counts(world).in_flight == 0 && counts(world).bytes == 0).await;
    counts(world)
}

async fn say(world: &World, said: &str) -> String {
    world.unary(Request::new(said.to_owned())).await.unwrap().into_inner()
}

/// Uploads `number` messages of `size` bytes, and gives what the call was answered.
async fn upload(world: &World, number: usize, size: usize) -> String {
    let messages = Request::new(tokio_stream::iter(vec!["x".repeat(size); number]));
    let path = PathAndQuery::from_static(UPLOAD);
    world.grpc().await.client_streaming(messages, path, codec()).await.unwrap().into_inner()
}

fn with_credentials() -> Request<String> {
    let mut request = Request::new("said".to_owned());
    for name in ["authorization", "x-api-key", "cookie", "x-asked"] {
        request.metadata_mut().insert(name, "secret".parse().unwrap());
    }
    request
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_head_and_message_of_its_call_and_no_credentials() {
    let (world, mirror) = mirrored(Does::Answer, MirrorLimits::default());
    let response = world.unary(with_credentials()).await.unwrap();
    assert_eq!(response.metadata().get("x-answer").unwrap(), "yes");
    assert_eq!(response.into_inner(), "said");
    let copy = mirror.whole().await;
    assert_eq!(copy.bytes, framed(&["said"]));
    for name in ["authorization", "x-api-key", "cookie"] {
        assert!(!copy.head.contains_key(name), "{name}");
        assert_eq!(world.echo.last_head().get(name).unwrap(), "secret", "the call has it: {name}");
    }
    assert_eq!(copy.head.get("x-asked").unwrap(), "secret");
    assert_eq!(copy.head.get("x-passed-by").unwrap(), "proxy");
    assert_eq!(copy.head.get(MIRRORED).unwrap(), "true");
    assert!(!world.echo.last_head().contains_key(MIRRORED));
    let left = parse_timeout(copy.head.get("grpc-timeout").unwrap()).unwrap();
    assert!(Duration::from_secs(9) < left && left <= Duration::from_secs(10), "{left:?}");
    let counts = settled(&world).await;
    assert_eq!((counts.mirrored, counts.skipped, counts.cut, counts.failed), (1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_what_is_left_of_the_deadline_and_keeps_credentials_where_the_mirror_does() {
    let network = Memory::new();
    let recorder = Recorder::listen(&network, MIRROR, Does::Answer);
    let mirror = to(&network, MIRROR).keep_authorization();
    let world = World::mirrored(network, vec![mirror], MirrorLimits::default());
    let mut request = with_credentials();
    request.set_timeout(Duration::from_secs(60));
    world.unary(request).await.unwrap();
    let head = recorder.whole().await.head;
    for name in ["authorization", "x-api-key", "cookie"] {
        assert_eq!(head.get(name).unwrap(), "secret", "{name}");
    }
    let left = parse_timeout(head.get("grpc-timeout").unwrap()).unwrap();
    assert!(Duration::from_secs(58) < left && left <= Duration::from_secs(60), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_key_was_exchanged_for_goes_to_mirrors_that_keep_credentials_alone() {
    for keeps in [false, true] {
        let network = Memory::new();
        let recorder = Recorder::listen(&network, MIRROR, Does::Answer);
        let mirror = to(&network, MIRROR);
        let mirror = if keeps { mirror.keep_authorization() } else { mirror };
        let world = World::mirrored(network, vec![mirror], MirrorLimits::default());
        let mut request = http::Request::post(format!("http://proxy{UNARY}"))
            .header("content-type", "application/grpc")
            .header("x-api-key", "key")
            .body(Body::new(Full::new(framed(&["said"]))))
            .unwrap();
        let anna = Principal::new("users/anna", ["customer"]);
        let token = HeaderValue::from_static("Bearer token");
        request.extensions_mut().insert(anna.with_forwarded_credentials(token.clone()));
        let answer = world.proxy.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
        assert_eq!(world.echo.last_head().get("authorization"), Some(&token));
        let copy = recorder.whole().await.head;
        assert_eq!(copy.get("authorization"), keeps.then_some(&token));
        assert!(!copy.contains_key("x-api-key"));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_copied_as_they_pass_by_to_each_of_several_mirrors() {
    const SECOND: &str = "10.0.0.4:50051";
    let network = Memory::new();
    let recorders = [MIRROR, SECOND].map(|name| Recorder::listen(&network, name, Does::Answer));
    let mirrors = [MIRROR, SECOND].map(|name| to(&network, name)).to_vec();
    let world = World::mirrored(network, mirrors, MirrorLimits::default());
    let (sender, said) = tokio::sync::mpsc::channel(1);
    sender.send("first".to_owned()).await.unwrap();
    let request = Request::new(ReceiverStream::new(said));
    let path = PathAndQuery::from_static(CHAT);
    let mut answers = world.grpc().await.streaming(request, path, codec()).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap(), "first");
    for recorder in &recorders {
        until("the first message is there", || {
            recorder.calls().iter().any(|call| call.bytes == framed(&["first"]) && !call.whole)
        })
        .await;
    }
    sender.send("second".to_owned()).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "second");
    drop(sender);
    assert_eq!(answers.message().await.unwrap(), None);
    for recorder in &recorders {
        assert_eq!(recorder.whole().await.bytes, framed(&["first", "second"]));
    }
    let counts = settled(&world).await;
    assert_eq!((counts.mirrored, counts.cut, counts.failed), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_copied_byte_by_byte_beyond_what_may_be_held_of_it() {
    let (world, mirror) = mirrored(Does::Answer, MirrorLimits::default());
    assert_eq!(upload(&world, 64, 64 << 10).await, "64");
    let copy = mirror.whole().await;
    assert!(copy.bytes == framed(&vec!["x".repeat(64 << 10); 64]), "{} bytes", copy.bytes.len());
    assert_eq!(settled(&world).await.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_down_is_nothing_to_the_calls() {
    let (world, mirror) = mirrored(Does::Answer, MirrorLimits::default());
    world.network.refuse(MIRROR);
    for number in 0..20 {
        assert_eq!(say(&world, &number.to_string()).await, number.to_string());
    }
    assert_is_refusal(&world.unary(Request::new(REFUSE.to_owned())).await.unwrap_err());
    let counts = settled(&world).await;
    assert_eq!((counts.mirrored, counts.failed, mirror.count()), (21, 21, 0));
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_refuses_is_called_once_whatever_its_policy_says() {
    for (code, failed) in [(Code::Unavailable, 1), (Code::NotFound, 0)] {
        let (world, mirror) = mirrored(Does::Refuse(code), MirrorLimits::default());
        assert_eq!(say(&world, "said").await, "said");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((mirror.count(), settled(&world).await.failed), (1, failed), "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_never_answers_holds_no_more_calls_than_may_be_and_none_for_ever() {
    let (world, mirror) = mirrored(Does::Hang, MirrorLimits { calls: 2, ..MirrorLimits::default() });
    for number in 0..5 {
        assert_eq!(say(&world, &number.to_string()).await, number.to_string());
    }
    assert_eq!((counts(&world).mirrored, counts(&world).skipped), (2, 3));
    let counts = settled(&world).await;
    assert_eq!(counts.failed, 2);
    until("the mirror's calls have ended", || mirror.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_ends_soon_after_its_call_however_long_the_deadline_is() {
    let (world, mirror) = mirrored(Does::Hang, MirrorLimits::default());
    let mut request = Request::new("said".to_owned());
    request.set_timeout(Duration::from_secs(3600));
    world.unary(request).await.unwrap();
    mirror.whole().await;
    let answered = tokio::time::Instant::now();
    assert_eq!(settled(&world).await.failed, 1);
    let took = answered.elapsed();
    assert!(Duration::from_secs(8) < took && took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_does_not_read_is_cut_off_and_its_call_is_not() {
    let limits = MirrorLimits { bytes_per_call: 256 << 10, ..MirrorLimits::default() };
    let (world, mirror) = mirrored(Does::Nothing, limits);
    let (sender, said) = tokio::sync::mpsc::channel(1);
    let mut grpc = world.grpc().await;
    let upload =
        grpc.client_streaming(Request::new(ReceiverStream::new(said)), PathAndQuery::from_static(UPLOAD), codec());
    let say = async {
        sender.send("first".to_owned()).await.unwrap();
        until("the copy has come", || mirror.count() == 1).await;
        for _ in 0..255 {
            sender.send("x".repeat(64 << 10)).await.unwrap();
        }
        drop(sender);
    };
    let (answer, ()) = tokio::join!(upload, say);
    assert_eq!(answer.unwrap().into_inner(), "256");
    until("the copy was cut", || counts(&world).cut == 1).await;
    until("the mirror's call has ended", || mirror.running() == 0).await;
    let counts = settled(&world).await;
    assert_eq!((counts.mirrored, counts.failed), (1, 0));
    assert_eq!(self::say(&world, "on").await, "on");
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_mirror_is_read_no_further_than_may_be() {
    let (world, mirror) = mirrored(Does::Flood, MirrorLimits { answer_bytes: 100 << 10, ..MirrorLimits::default() });
    assert_eq!(say(&world, "said").await, "said");
    let counts = settled(&world).await;
    assert_eq!((counts.cut, counts.failed), (1, 0));
    until("the mirror's call has ended", || mirror.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_lets_go_of_a_call_ends_its_copy() {
    let (world, mirror) = mirrored(Does::Hang, MirrorLimits::default());
    let began = tokio::time::Instant::now();
    let call = world.unary(Request::new(HANG.to_owned()));
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    until("the copy has ended", || mirror.count() == 1 && mirror.running() == 0).await;
    assert_eq!(settled(&world).await.failed, 0);

    let mut answers = world.stream(HANG).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    until("the copy has come", || mirror.running() == 1).await;
    drop(answers);
    until("the copy has ended", || mirror.running() == 0).await;
    assert_eq!(settled(&world).await.failed, 0);
    assert!(began.elapsed() < Duration::from_secs(8), "none waited for its deadline");
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_not_copied_again_and_nobody_else_marks_calls() {
    let (world, mirror) = mirrored(Does::Answer, MirrorLimits::default());
    let mut request = Request::new("said".to_owned());
    request.metadata_mut().insert("meshwork-mirrored", "true".parse().unwrap());
    assert_eq!(world.unary(request).await.unwrap().into_inner(), "said");
    assert!(!world.echo.last_head().contains_key(MIRRORED));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((mirror.count(), counts(&world)), (0, MirrorCounts::default()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_to_be_retried_is_made_once_over_a_channel() {
    let network = Memory::new();
    let recorder = Recorder::listen(&network, MIRROR, Does::Refuse(Code::Unavailable));
    let policy = r#"{"methodConfig": [{"name": [{}], "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.01s",
        "nonFatalStatusCodes": ["UNAVAILABLE"]}}]}"#;
    let builder = Channel::builder().connector(network.clone()).policy(Policy::parse(policy).unwrap());
    let channel = builder.connect_lazy(&format!("static:///{MIRROR}")).unwrap();
    for (once, attempts) in [(true, 1), (false, 4)] {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let mut request = Request::new("said".to_owned());
        if once {
            request.extensions_mut().insert(NoRetry);
        }
        let path = PathAndQuery::from_static(UNARY);
        let status = grpc.unary::<_, String, _>(request, path, codec()).await.unwrap_err();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((status.code(), recorder.count()), (Code::Unavailable, attempts));
    }
}
