//! Servers that do as they are told, a resolver that says what it is told, and calls as a generated client makes them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Response};
use meshwork::connect::{Memory, MemoryStream};
use meshwork::policy::Policy;
use meshwork::random::Random;
use meshwork::{Builder, Channel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

pub use crate::names::Names;

/// What a server does with a call.
#[derive(Clone, Debug)]
pub enum Does {
    /// Headers, its name as the message, and OK in trailers.
    Answer,
    /// The same after a while.
    AnswerAfter(Duration),
    /// A Trailers-Only response.
    Fail(Code),
    /// A Trailers-Only response after a while.
    FailAfter(Duration, Code),
    /// A Trailers-Only response with `grpc-retry-pushback-ms`.
    Pushback(Code, &'static str),
    /// Headers, and the code in trailers.
    Trailers(Code),
    /// Headers, its name as the message again and again.
    Stream(Duration),
    /// The same after a while, ten times a second.
    StreamAfter(Duration),
    /// Nothing.
    Hang,
    /// RST_STREAM with REFUSED_STREAM.
    Refuse,
    /// RST_STREAM with INTERNAL_ERROR after the message.
    ResetMidway,
    /// Trailers-Only with the code and so many bytes of metadata.
    LongHeaders(Code, usize),
    /// An answer, and OK in trailers with so many bytes of metadata.
    LongTrailers(usize),
    /// An HTTP status without gRPC.
    Http(u16),
    /// Headers after a while, though the request is on its way still, then its name and OK.
    HeadersAfter(Duration),
    /// Trailers-Only with the code once the request has begun to come, while it is on its way.
    FailEarly(Code),
}

/// A call that a server saw.
#[derive(Clone, Debug)]
pub struct Seen {
    pub server: String,
    pub headers: HeaderMap,
    pub at: Duration,
    pub body: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
pub struct Net {
    pub memory: Memory,
    seen: Arc<Mutex<Vec<Seen>>>,
    start: Instant,
}

struct Inner {
    name: String,
    does: Mutex<Does>,
    first: Mutex<VecDeque<Does>>,
    go_away: watch::Sender<u32>,
    health: watch::Sender<Option<i32>>,
    watches: AtomicUsize,
    streams: AtomicUsize,
    max_streams: u32,
    net: Net,
}

/// A server; it listens until it is stopped or dropped.
pub struct Server {
    inner: Arc<Inner>,
    task: Mutex<JoinHandle<()>>,
}

impl Net {
    pub fn new() -> Self {
        Self { memory: Memory::new(), seen: Arc::default(), start: Instant::now() }
    }

    pub fn serve(&self, name: &str, does: Does) -> Server {
        self.serve_with(name, does, 1000)
    }

    pub fn serve_with(&self, name: &str, does: Does, max_streams: u32) -> Server {
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            does: Mutex::new(does),
            first: Mutex::default(),
            go_away: watch::Sender::new(0),
            health: watch::Sender::new(None),
            watches: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            max_streams,
            net: self.clone(),
        });
        let task = listen(&inner);
        Server { inner, task: Mutex::new(task) }
    }

    /// A server whose first connection answers the first call with GOAWAY of a lower stream id, and serves after that.
    pub fn serve_after_goaway(&self, name: &str) -> Server {
        let server = self.serve(name, Does::Answer);
        server.task.lock().unwrap().abort();
        let inner = Arc::clone(&server.inner);
        let net = self.clone();
        *server.task.lock().unwrap() = tokio::spawn(async move {
            let mut listener = loop {
                match net.memory.listen(&inner.name) {
                    Ok(listener) => break listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            let mut first = true;
            while let Some(stream) = listener.accept().await {
                if std::mem::take(&mut first) {
                    tokio::spawn(refuse_all(stream));
                } else {
                    tokio::spawn(connection(stream, Arc::clone(&inner)));
                }
            }
        });
        server
    }

    /// The calls that all servers saw, in their order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// How many calls a server saw.
    pub fn count(&self, name: &str) -> usize {
        self.seen().iter().filter(|seen| seen.server == name).count()
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A builder of channels over this network.
    pub fn builder(&self, policy: &str) -> Builder {
        Channel::builder()
            .connector(self.memory.clone())
            .random(Random::seeded(7))
            .policy(Policy::parse(policy).unwrap())
    }

    /// A channel to servers of these names; its target is `target`.
    pub fn channel(&self, target: &str, policy: &str, names: &[&str]) -> Channel {
        self.builder(policy).resolver(Names::new(names)).connect_lazy(&format!("test:///{target}")).unwrap()
    }
}

fn listen(inner: &Arc<Inner>) -> JoinHandle<()> {
    let mut listener = inner.net.memory.listen(&inner.name).unwrap();
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(connection(stream, Arc::clone(&inner)));
        }
    })
}

impl Server {
    pub fn does(&self, does: Does) {
        *self.inner.does.lock().unwrap() = does;
    }

    /// What it does first, call by call.
    pub fn first(&self, does: impl IntoIterator<Item = Does>) {
        self.inner.first.lock().unwrap().extend(does);
    }

    pub fn go_away(&self) {
        self.inner.go_away.send_modify(|times| *times += 1);
    }

    /// What it answers to health checks: `None`, UNIMPLEMENTED.
    pub fn health(&self, status: i32) {
        self.inner.health.send_replace(Some(status));
    }

    pub fn watches(&self) -> usize {
        self.inner.watches.load(Ordering::SeqCst)
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.inner.streams.load(Ordering::SeqCst)
    }

    /// Goes away as a killed process does.
    pub async fn kill(&self) {
        self.task.lock().unwrap().abort();
        tokio::task::yield_now().await;
        self.inner.net.memory.cut(&self.inner.name);
    }

    /// Comes back after `kill`.
    pub async fn revive(&self) {
        tokio::task::yield_now().await;
        *self.task.lock().unwrap() = listen(&self.inner);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.lock().unwrap().abort();
    }
}

async fn refuse_all(mut stream: MemoryStream) {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&SETTINGS).await.unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        let answer: &[u8] = match (head[3], head[4]) {
            (4, 0) => &ACK,
            (1, _) => &GO_AWAY,
            _ => continue,
        };
        stream.write_all(answer).await.unwrap();
    }
}

async fn connection(stream: MemoryStream, inner: Arc<Inner>) {
    let mut go_away = inner.go_away.subscribe();
    go_away.mark_unchanged();
    let Ok(mut connection) = h2::server::Builder::new()
        .max_concurrent_streams(inner.max_streams)
        // Else it ends the connection when many streams are reset before they are accepted.
        .max_pending_accept_reset_streams(1000)
        .handshake::<_, Bytes>(stream)
        .await
    else {
        return;
    };
    loop {
        tokio::select! {
            call = connection.accept() => match call {
                Some(Ok((request, respond))) => {
                    tokio::spawn(handle(request, respond, Arc::clone(&inner)));
                }
                _ => return,
            },
            changed = go_away.changed() => if changed.is_ok() {
                connection.graceful_shutdown();
            },
        }
    }
}

struct Open(Arc<Inner>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn handle(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    inner: Arc<Inner>,
) {
    if request.uri().path() == "/grpc.health.v1.Health/Watch" {
        return watch_health(&mut respond, &inner).await;
    }
    inner.streams.fetch_add(1, Ordering::SeqCst);
    let open = Open(Arc::clone(&inner));
    let seen = Seen { server: inner.name.clone(), headers: request.headers().clone(), at: inner.net.now(), body: 0 };
    let index = {
        let mut all = inner.net.seen.lock().unwrap();
        all.push(seen);
        all.len() - 1
    };
    let does = inner.first.lock().unwrap().pop_front();
    let does = does.unwrap_or_else(|| inner.does.lock().unwrap().clone());
    let mut body = request.into_body();
    let net = inner.net.clone();
    let read = async move {
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            if let Some(seen) = net.seen.lock().unwrap().get_mut(index) {
                seen.body += data.len();
            }
        }
    };
    // What has been answered isn't read on.
    let _open = open;
    match does {
        Does::Answer => {
            read.await;
            answer(&mut respond, &inner);
        }
        Does::AnswerAfter(time) => {
            read.await;
            if waited(&mut respond, time).await {
                answer(&mut respond, &inner);
            }
        }
        Does::Fail(code) => only_trailers(&mut respond, code, None),
        Does::FailAfter(time, code) => {
            if waited(&mut respond, time).await {
                only_trailers(&mut respond, code, None);
            }
        }
        Does::Pushback(code, pushback) => only_trailers(&mut respond, code, Some(pushback)),
        Does::Trailers(code) => {
            read.await;
            let mut send = respond.send_response(head(), false).unwrap();
            send.send_trailers(trailers(code)).unwrap();
        }
        Does::Stream(every) => stream(&mut respond, &inner, every).await,
        Does::StreamAfter(time) => {
            if waited(&mut respond, time).await {
                stream(&mut respond, &inner, ms(100)).await;
            }
        }
        Does::Hang => {
            let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
        }
        Does::LongHeaders(code, bytes) => {
            let mut response = head();
            response.headers_mut().extend(trailers(code));
            response.headers_mut().extend(long(bytes));
            let _ = respond.send_response(response, true);
            read.await;
        }
        Does::LongTrailers(bytes) => {
            read.await;
            let Ok(mut send) = respond.send_response(head(), false) else { return };
            let _ = send.send_data(message(&inner.name), false);
            let mut trailers = trailers(Code::Ok);
            trailers.extend(long(bytes));
            let _ = send.send_trailers(trailers);
        }
        Does::Http(status) => {
            let _ = respond.send_response(Response::builder().status(status).body(()).unwrap(), true);
        }
        Does::HeadersAfter(time) => {
            if waited(&mut respond, time).await {
                answer(&mut respond, &inner);
            }
        }
        Does::FailEarly(code) => {
            sleep(Duration::from_millis(50)).await;
            only_trailers(&mut respond, code, None);
        }
        Does::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
        Does::ResetMidway => {
            let mut send = respond.send_response(head(), false).unwrap();
            send.send_data(message(&inner.name), false).unwrap();
            sleep(Duration::from_millis(1)).await;
            send.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    }
}

async fn stream(respond: &mut h2::server::SendResponse<Bytes>, inner: &Inner, every: Duration) {
    // Its caller may have reset it by now.
    let Ok(mut send) = respond.send_response(head(), false) else { return };
    loop {
        if send.send_data(message(&inner.name), false).is_err() {
            return;
        }
        tokio::select! {
            _ = poll_fn(|cx| send.poll_reset(cx)) => return,
            () = sleep(every) => {}
        }
    }
}

async fn watch_health(respond: &mut h2::server::SendResponse<Bytes>, inner: &Inner) {
    inner.watches.fetch_add(1, Ordering::SeqCst);
    let mut health = inner.health.subscribe();
    if health.borrow_and_update().is_none() {
        return only_trailers(respond, Code::Unimplemented, None);
    }
    let mut send = respond.send_response(head(), false).unwrap();
    loop {
        let status = (*health.borrow_and_update()).unwrap_or_default();
        let sent = send.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status as u8]), false);
        if sent.is_err() {
            return;
        }
        tokio::select! {
            _ = poll_fn(|cx| send.poll_reset(cx)) => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether the call is still there after this time.
async fn waited(respond: &mut h2::server::SendResponse<Bytes>, time: Duration) -> bool {
    tokio::select! {
        _ = poll_fn(|cx| respond.poll_reset(cx)) => false,
        () = sleep(time) => true,
    }
}

pub fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

pub fn trailers(code: Code) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", (code as i32).into());
    trailers
}

/// Metadata of so many bytes, in values of 1000.
fn long(bytes: usize) -> HeaderMap {
    let value = http::HeaderValue::from_str(&"x".repeat(1000)).unwrap();
    (0..bytes / 1000).map(|_| (http::HeaderName::from_static("x-long"), value.clone())).collect()
}

pub fn message(text: &str) -> Bytes {
    let encoded = prost::Message::encode_to_vec(&text.as_bytes().to_vec());
    let mut framed = vec![0];
    framed.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    framed.extend_from_slice(&encoded);
    framed.into()
}

fn answer(respond: &mut h2::server::SendResponse<Bytes>, inner: &Inner) {
    let Ok(mut send) = respond.send_response(head(), false) else { return };
    let _ = send.send_data(message(&inner.name), false);
    let _ = send.send_trailers(trailers(Code::Ok));
}

fn only_trailers(respond: &mut h2::server::SendResponse<Bytes>, code: Code, pushback: Option<&'static str>) {
    let mut response = head();
    response.headers_mut().extend(trailers(code));
    if let Some(pushback) = pushback {
        response.headers_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
    }
    let _ = respond.send_response(response, true);
}

pub const PATH: &str = "/test.Users/Get";

pub fn request() -> Request<Vec<u8>> {
    Request::new(b"who".to_vec())
}

/// A unary call; the answer is the name of the server.
pub async fn call(channel: &Channel) -> Result<String, Status> {
    unary(channel, request(), PATH).await
}

pub async fn unary(channel: &Channel, request: Request<Vec<u8>>, path: &'static str) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let answer = client.unary(request, PathAndQuery::from_static(path), codec()).await?;
    Ok(String::from_utf8(answer.into_inner()).unwrap())
}

pub async fn server_stream(channel: &Channel, request: Request<Vec<u8>>) -> Result<Streaming<Vec<u8>>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let answer = client.server_streaming(request, PathAndQuery::from_static(PATH), codec()).await?;
    Ok(answer.into_inner())
}

/// A call with a stream of messages; the answer is the name of the server.
pub async fn client_stream(
    channel: &Channel,
    messages: impl tokio_stream::Stream<Item = Vec<u8>> + Send + 'static,
) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let answer = client.client_streaming(Request::new(messages), PathAndQuery::from_static(PATH), codec()).await?;
    Ok(String::from_utf8(answer.into_inner()).unwrap())
}

pub fn codec() -> ProstCodec<Vec<u8>, Vec<u8>> {
    ProstCodec::default()
}

/// Lets everything that can happen now happen; a millisecond passes.
pub async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Lets a changed answer of the resolver be seen: it isn't asked more often than each 100 ms.
pub async fn resolved() {
    sleep(ms(150)).await;
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
