//! Servers in memory, and what a subchannel makes of them, on paused time.

mod dialing;
mod health;
mod keeping;
mod pool;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::health::{HealthCheckRequest, HealthCheckResponse};
use super::*;
use crate::client::backoff::Backoff;
use crate::client::connect::Connector;
use crate::client::endpoint::Address;
use crate::observe::Connectivity;
use crate::random::Random;
use crate::transport::{Exchange, FullBody, Io};

/// What an address does when it is dialled.
#[derive(Clone)]
enum Does {
    Refuse,
    /// Refuses after a while.
    RefuseAfter(Duration),
    /// Never answers.
    Hang,
    /// Takes bytes and sends none, as a frozen process does.
    Freeze,
    /// Sends these bytes, and those 10 ms later.
    Say(Bytes, Bytes),
    Serve(Server),
    /// Serves after a while.
    ServeAfter(Duration, Server),
}

/// What a server answers to `Watch`, call by call; the last holds on.
#[derive(Clone)]
struct Server {
    limit: u32,
    health: Arc<Mutex<Vec<Health>>>,
}

/// What one `Watch` call brings.
#[derive(Clone)]
enum Health {
    /// These statuses, and the stream stays.
    Stay(Vec<i32>),
    /// These statuses, and then this code.
    End(Vec<i32>, u32),
    /// Only headers, with this code.
    TrailersOnly(u32),
}

/// Waits for a place for a stream.
async fn place(one: &Subchannel) -> StreamSlot {
    let mut waiter = one.shared.queue.join().unwrap();
    let look = |turn: bool| one.reserve().ok().filter(|_| turn).map(Ok::<_, ()>);
    std::future::poll_fn(|cx| waiter.poll(cx.waker(), look)).await.unwrap()
}

fn server() -> Server {
    Server { limit: 100, health: Arc::new(Mutex::new(vec![Health::Stay(vec![1])])) }
}

fn healthy(calls: Vec<Health>) -> Does {
    Does::Serve(Server { health: Arc::new(Mutex::new(calls)), ..server() })
}

/// What a connection of a server is told.
enum Tell {
    GoAway,
    Close,
    /// Sends this status on the open watch.
    Status(i32),
}

#[derive(Clone)]
struct Net(Arc<State_>);

struct State_ {
    start: Instant,
    does: Mutex<HashMap<Address, Does>>,
    dials: Mutex<Vec<(u64, String)>>,
    /// Dials given up before their end.
    dropped: Arc<AtomicUsize>,
    /// Servers' ends of connections that are open.
    open: Arc<AtomicUsize>,
    /// The watch calls: when, and the service.
    watches: Mutex<Vec<(u64, String)>>,
    /// Watch streams that are open at servers.
    watching: Arc<AtomicUsize>,
    told: Mutex<Vec<mpsc::UnboundedSender<Tell>>>,
}

impl Net {
    fn new() -> Self {
        Self(Arc::new(State_ {
            start: Instant::now(),
            does: Mutex::default(),
            dials: Mutex::default(),
            dropped: Arc::default(),
            open: Arc::default(),
            watches: Mutex::default(),
            watching: Arc::default(),
            told: Mutex::default(),
        }))
    }

    fn set(&self, address: &str, does: Does) {
        self.0.does.lock().unwrap().insert(at(address), does);
    }

    fn now(&self) -> u64 {
        (Instant::now() - self.0.start).as_millis() as u64
    }

    /// What was dialled: milliseconds since the start, and the address.
    fn dials(&self) -> Vec<(u64, String)> {
        self.0.dials.lock().unwrap().clone()
    }

    fn times(&self) -> Vec<u64> {
        self.dials().into_iter().map(|(at, _)| at).collect()
    }

    fn watches(&self) -> Vec<(u64, String)> {
        self.0.watches.lock().unwrap().clone()
    }

    fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Tells the newest connection.
    fn tell(&self, tell: Tell) {
        let _ = self.0.told.lock().unwrap().last().unwrap().send(tell);
    }

    fn options(&self) -> Options {
        // Without jitter, so that times are exact.
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        Options { backoff, random: Random::seeded(1), ..Options::new(Arc::new(self.clone())) }
    }

    fn spawn(&self, addresses: &[&str], options: Options) -> Subchannel {
        Subchannel::spawn("test".into(), addresses.iter().map(|one| at(one).into()).collect(), Arc::new(options))
    }

    fn connect(&self, addresses: &[&str], options: Options) -> Subchannel {
        let subchannel = self.spawn(addresses, options);
        subchannel.connect();
        subchannel
    }

    async fn serve(self, io: tokio::io::DuplexStream, server: Server, mut told: mpsc::UnboundedReceiver<Tell>) {
        let _open = Count::new(&self.0.open);
        let mut builder = h2::server::Builder::new();
        let Ok(mut connection) = builder.max_concurrent_streams(server.limit).handshake::<_, Bytes>(io).await else {
            return;
        };
        let (statuses, _) = tokio::sync::broadcast::channel(16);
        let mut calls = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                Some(tell) = told.recv() => match tell {
                    Tell::GoAway => connection.graceful_shutdown(),
                    Tell::Close => return,
                    Tell::Status(status) => drop(statuses.send(status)),
                },
                accepted = connection.accept() => {
                    let Some(Ok((request, respond))) = accepted else { return };
                    if request.uri().path() == "/grpc.health.v1.Health/Watch" {
                        let statuses = statuses.subscribe();
                        calls.spawn(self.clone().watch(request, respond, server.clone(), statuses));
                    } else {
                        calls.spawn(answer(request, respond));
                    }
                }
            }
        }
    }

    async fn watch(
        self,
        request: http::Request<h2::RecvStream>,
        mut respond: h2::server::SendResponse<Bytes>,
        server: Server,
        mut statuses: tokio::sync::broadcast::Receiver<i32>,
    ) {
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.uri().authority().unwrap(), "shop");
        let mut body = request.into_body();
        let mut bytes = BytesMut::new();
        while let Some(Ok(chunk)) = body.data().await {
            bytes.extend_from_slice(&chunk);
        }
        let asked = HealthCheckRequest::decode(&bytes[5..]).unwrap();
        self.0.watches.lock().unwrap().push((self.now(), asked.service));
        let _watching = Count::new(&self.0.watching);
        let health = {
            let mut calls = server.health.lock().unwrap();
            if calls.len() > 1 { calls.remove(0) } else { calls[0].clone() }
        };
        let headers = http::Response::builder().header("content-type", "application/grpc");
        let (said, end) = match health {
            Health::TrailersOnly(code) => {
                let _ = respond.send_response(headers.header("grpc-status", code).body(()).unwrap(), true);
                return;
            }
            Health::Stay(said) => (said, None),
            Health::End(said, code) => (said, Some(code)),
        };
        let mut stream = respond.send_response(headers.body(()).unwrap(), false).unwrap();
        for status in said {
            let _ = stream.send_data(message(status), false);
        }
        if let Some(code) = end {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", code.into());
            let _ = stream.send_trailers(trailers);
        } else {
            loop {
                tokio::select! {
                    Ok(status) = statuses.recv() => drop(stream.send_data(message(status), false)),
                    _ = std::future::poll_fn(|cx| stream.poll_reset(cx)) => break,
                }
            }
        }
    }
}

fn message(status: i32) -> Bytes {
    let message = HealthCheckResponse { status }.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// Answers when the request's body ends.
async fn answer(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let mut body = request.into_body();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    let response = http::Response::builder().header("grpc-status", "0").body(()).unwrap();
    let _ = respond.send_response(response, true);
}

struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counter))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a dial that was dropped before its end.
struct Undone(Arc<AtomicUsize>, bool);

impl Drop for Undone {
    fn drop(&mut self) {
        self.0.fetch_add(usize::from(!self.1), Ordering::SeqCst);
    }
}

#[async_trait]
impl Connector for Net {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Io>> {
        self.0.dials.lock().unwrap().push((self.now(), address.to_string()));
        let does = self.0.does.lock().unwrap().get(address).cloned().unwrap_or(Does::Refuse);
        let mut undone = Undone(Arc::clone(&self.0.dropped), false);
        let io = self.carry_out(does).await;
        undone.1 = true;
        io
    }
}

impl Net {
    async fn carry_out(&self, does: Does) -> io::Result<Box<dyn Io>> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let server = match does {
            Does::Refuse => return Err(refused()),
            Does::RefuseAfter(after) => {
                tokio::time::sleep(after).await;
                return Err(refused());
            }
            Does::Hang => return std::future::pending().await,
            Does::Freeze => {
                let (here, there) = tokio::io::duplex(1 << 16);
                std::mem::forget(there);
                return Ok(Box::new(here));
            }
            Does::Say(bytes, later) => {
                let (here, mut there) = tokio::io::duplex(1 << 16);
                tokio::io::AsyncWriteExt::write_all(&mut there, &bytes).await?;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut there, &later).await;
                    // Until the client lets go.
                    let mut rest = Vec::new();
                    let _ = tokio::io::AsyncReadExt::read_to_end(&mut there, &mut rest).await;
                });
                return Ok(Box::new(here));
            }
            Does::Serve(server) => server,
            Does::ServeAfter(after, server) => {
                tokio::time::sleep(after).await;
                server
            }
        };
        let (here, there) = tokio::io::duplex(1 << 16);
        let (tell, told) = mpsc::unbounded_channel();
        self.0.told.lock().unwrap().push(tell);
        tokio::spawn(self.clone().serve(there, server, told));
        Ok(Box::new(here))
    }
}

fn at(address: &str) -> Address {
    address.parse::<std::net::SocketAddr>().map_or_else(|_| Address::Named(address.into()), Address::Tcp)
}

/// Lets everything run that can run by now.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

async fn pass_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    settle().await;
}

/// Waits for a state, at most an hour of paused time.
async fn until(subchannel: &Subchannel, wanted: Connectivity) -> State {
    let mut states = subchannel.watch();
    let reached = states.wait_for(|state| state.connectivity == wanted);
    tokio::time::timeout(Duration::from_secs(3600), reached).await.expect("the state in time").unwrap().clone()
}

/// A call whose request stays open until the sender goes.
fn call(
    slot: StreamSlot,
) -> (Exchange<tonic::body::Body>, mpsc::Sender<Result<http_body::Frame<Bytes>, tonic::Status>>) {
    let (sender, frames) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(frames, |mut frames| async { Some((frames.recv().await?, frames)) });
    let body = tonic::body::Body::new(http_body_util::StreamBody::new(Box::pin(frames)));
    let request = http::Request::post("http://shop/a/b").body(()).unwrap();
    (slot.send(request, body).unwrap(), sender)
}

/// A call that is answered at once.
async fn ping(slot: StreamSlot) {
    let request = http::Request::post("http://shop/a/b").body(()).unwrap();
    let response = slot.send(request, FullBody(None)).unwrap().await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "0");
}

const A: &str = "10.0.0.1:50051";
const B: &str = "10.0.0.2:50051";
const C: &str = "10.0.0.3:50051";
