//! Servers that are broken or mean harm, by raw frames of HTTP/2: one call may fail by them, and nobody hangs or loses more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork::balance::{Candidate, PickArgs, Picker};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, PATH, call, message, ms, request, settle, unary};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How long a test waits for what would never come.
const BOUND: Duration = Duration::from_secs(60);

type Frames = mpsc::UnboundedSender<Vec<u8>>;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// SETTINGS with a limit of streams.
fn streams(limit: u32) -> Vec<u8> {
    let mut setting = vec![0, 3];
    setting.extend(limit.to_be_bytes());
    frame(SETTINGS, 0, 0, &setting)
}

/// HEADERS of literals that are not indexed.
fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

/// A Trailers-Only response.
fn not_found(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")])
}

/// A server that begins each connection with `hello` and sends what `answer` makes of the stream of each request. What it
/// gives sends frames on all of its connections.
fn serve(
    net: &Net,
    name: &str,
    hello: Vec<u8>,
    answer: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static,
) -> impl Fn(Vec<u8>) {
    let connections: Arc<Mutex<Vec<Frames>>> = Arc::default();
    let mut listener = net.memory.listen(name).unwrap();
    let accepted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Some(io) = listener.accept().await {
            let (read, write) = tokio::io::split(io);
            let (out, frames) = mpsc::unbounded_channel();
            out.send(hello.clone()).unwrap();
            accepted.lock().unwrap().push(out.clone());
            tokio::spawn(send(write, frames));
            tokio::spawn(receive(read, out, answer.clone()));
        }
    });
    move |frame| {
        for connection in &*connections.lock().unwrap() {
            let _ = connection.send(frame.clone());
        }
    }
}

async fn send(mut io: impl AsyncWrite + Unpin, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if io.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn receive(mut io: impl AsyncRead + Unpin, out: Frames, answer: impl Fn(u32) -> Vec<u8>) {
    let mut preface = [0; 24];
    if io.read_exact(&mut preface).await.is_err() {
        return;
    }
    let mut head = [0; 9];
    while io.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if io.read_exact(&mut payload).await.is_err() {
            return;
        }
        let reply = match (head[3], head[4]) {
            (SETTINGS, 0) => frame(SETTINGS, ACK, 0, &[]),
            (HEADERS, _) => answer(u32::from_be_bytes([head[5], head[6], head[7], head[8]])),
            _ => continue,
        };
        let _ = out.send(reply);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_streams_that_falls_to_nothing_and_rises_again_loses_no_call() {
    let net = Net::new();
    let tell = serve(&net, "a", streams(1), not_found);
    let channel = net.channel("hostile-settings", "{}", &["a"]);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::NotFound);
    for _ in 0..3 {
        tell(streams(0));
        settle().await;
        let mut short = request();
        short.set_timeout(ms(500));
        assert_eq!(unary(&channel, short, PATH).await.unwrap_err().code(), Code::DeadlineExceeded);
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { call(&channel).await })
            })
            .collect();
        settle().await;
        assert!(waiting.iter().all(|waits| !waits.is_finished()));
        tell(streams(2));
        for waits in waiting {
            let answer = tokio::time::timeout(BOUND, waits).await.expect("no hang").unwrap();
            assert_eq!(answer.unwrap_err().code(), Code::NotFound);
        }
    }
    assert_eq!(net.memory.connects("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn floods_of_interim_responses_pings_and_settings_are_passed_over() {
    let floods: [fn(u32) -> Vec<u8>; 3] =
        [|stream| headers(stream, 0, &[(":status", "103")]), |_| frame(PING, 0, 0, &[7; 8]), |_| streams(100)];
    for (number, flood) in floods.into_iter().enumerate() {
        let net = Net::new();
        let answer = move |stream| {
            let begin = headers(stream, 0, &[(":status", "200"), ("content-type", "application/grpc")]);
            let end = headers(stream, END_STREAM, &[("grpc-status", "0")]);
            let message = frame(DATA, 0, stream, &message("a"));
            let flood = flood(stream).repeat(2000);
            // Interim responses come before the headers.
            if number == 0 { [flood, begin, message, end].concat() } else { [begin, flood, message, end].concat() }
        };
        let _server = serve(&net, "a", streams(100), answer);
        let channel = net.channel(&format!("hostile-flood-{number}"), "{}", &["a"]);
        for _ in 0..3 {
            let answer = tokio::time::timeout(BOUND, call(&channel)).await.expect("no hang");
            assert_eq!(answer.unwrap(), "a", "{number}");
        }
        assert_eq!(net.memory.connects("a"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_empty_data_ends_the_connection_that_it_comes_on() {
    let net = Net::new();
    let answer = move |stream| {
        let begin = headers(stream, 0, &[(":status", "200"), ("content-type", "application/grpc")]);
        [begin, frame(DATA, 0, stream, &[]).repeat(2000)].concat()
    };
    let _server = serve(&net, "a", streams(100), answer);
    let channel = net.channel("hostile-empty-data", "{}", &["a"]);
    let status = tokio::time::timeout(BOUND, call(&channel)).await.expect("no hang").unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("the channel ended the connection"), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_goaway_at_once_costs_no_call_and_is_dialled_with_backoff() {
    let net = Net::new();
    let hello = [streams(100), frame(GOAWAY, 0, 0, &[0; 8])].concat();
    let _server = serve(&net, "a", hello, |_| Vec::new());
    let _b = net.serve("b", Does::Answer);
    let channel = net.channel("hostile-goaway", "{}", &["a", "b"]);
    for _ in 0..100 {
        assert_eq!(call(&channel).await.unwrap(), "b");
        tokio::time::sleep(ms(100)).await;
    }
    let connects = net.memory.connects("a");
    assert!(connects < 10, "{connects} connections in 10 s");
}

#[tokio::test(start_paused = true)]
async fn trailers_without_a_status_that_means_something_are_unknown_and_end_one_call() {
    let trailers: [&[(&str, &str)]; 6] = [
        &[],
        &[("x-other", "y")],
        &[("grpc-status", "")],
        &[("grpc-status", "-1")],
        &[("grpc-status", "99")],
        &[("grpc-status", "0x0")],
    ];
    for (number, fields) in trailers.into_iter().enumerate() {
        let net = Net::new();
        let answer = move |stream| {
            let begin = headers(stream, 0, &[(":status", "200"), ("content-type", "application/grpc")]);
            let message = message("a");
            let end = match fields {
                // The stream ends with its data.
                [] => frame(DATA, END_STREAM, stream, &message),
                fields => [frame(DATA, 0, stream, &message), headers(stream, END_STREAM, fields)].concat(),
            };
            [begin, end].concat()
        };
        let _server = serve(&net, "a", streams(100), answer);
        let channel = net.channel(&format!("hostile-trailers-{number}"), "{}", &["a"]);
        for _ in 0..2 {
            assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unknown, "{fields:?}");
        }
        assert_eq!(net.memory.connects("a"), 1);
    }
}

/// Counts the snapshots that are made.
struct Counting(Arc<AtomicUsize>);

impl Picker for Counting {
    fn pick(&self, _call: &PickArgs<'_>, _ready: &[Candidate]) -> usize {
        0
    }

    fn rebuild(&self, _ready: &[Candidate]) -> Option<Arc<dyn Picker>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        None
    }
}

/// A snapshot is made of all endpoints: one for each that changes would be a million looks for a thousand.
#[tokio::test(start_paused = true)]
async fn many_endpoints_that_connect_at_the_same_time_share_snapshots() {
    const SERVERS: usize = 300;
    let net = Net::new();
    let names: Vec<_> = (0..SERVERS).map(|number| format!("server-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let _servers: Vec<_> = names.iter().map(|name| net.serve(name, Does::Answer)).collect();
    let snapshots = Arc::new(AtomicUsize::new(0));
    let builder = net.builder("{}").picker(Counting(Arc::clone(&snapshots))).resolver(Names::new(&names));
    let channel = builder.connect_lazy("test:///hostile-many").unwrap();
    ready(&channel, SERVERS).await;
    let snapshots = snapshots.load(Ordering::SeqCst);
    assert!(snapshots < SERVERS / 3, "{snapshots} snapshots");
}
