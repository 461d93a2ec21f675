//! Clients that mean no good, against a server in a process of its own: its memory stays bounded, and a client that means well
//! beside them gets all its calls answered.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork::server::{Drain, Listener};
use meshwork::{Channel, Server};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::{Echo, LARGE, UNARY, UPLOAD, descriptors, unary};
use crate::wire::framed;

/// Where the process is to listen; without it, it is no server.
const LISTEN: &str = "MESHWORK_HOSTILE_LISTEN";
/// What it says before its address.
const READY: &str = "listening on ";
/// How much the server may grow by an attack, in KiB. What a connection holds by right (windows, headers) is some tens of KiB.
const GROWTH: u64 = 64 << 10;
/// How much more it may grow by answers that nobody reads, in KiB: what `Limits` has for all, and as much again for those that
/// are on their way to a refusal.
const UNREAD: u64 = 2 * (64 << 10);
/// The longest that an attack may go on.
const BOUND: Duration = Duration::from_secs(60);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Not a test: the server, when this program was started to be one.
#[test]
fn process() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = Listener::tcp(address).await.unwrap();
        println!("\n{READY}{}", listener.local_addr().unwrap());
        let drain = Drain { delay: Duration::ZERO, ..Drain::default() };
        let server = Server::builder().drain(drain).descriptors(descriptors()).reflection(false);
        server.add_service(Echo::default()).serve(listener).await.unwrap();
    });
}

/// The server; it is killed when this is dropped.
struct Victim {
    child: Child,
    address: SocketAddr,
}

impl Victim {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hostile::process", "--nocapture"])
            .env(LISTEN, "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix(READY).map(str::to_owned));
        Self { child, address: address.unwrap().parse().unwrap() }
    }

    /// The most memory that it ever had resident, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `attack` on a server and on its well-behaved caller.
async fn under<F: Future<Output = ()>>(attack: impl FnOnce(SocketAddr) -> F) {
    under_within(GROWTH, attack).await;
}

/// As [`under`]; the server may grow by so many KiB.
async fn under_within<F: Future<Output = ()>>(growth: u64, attack: impl FnOnce(SocketAddr) -> F) {
    let victim = Victim::start();
    let channel = Channel::connect(&format!("static:///{}", victim.address)).await.unwrap();
    // What it needs at all, it has then.
    for _ in 0..50 {
        unary(&channel, UNARY, "warm").await.unwrap();
    }
    let before = victim.peak();
    let over = Arc::new(AtomicBool::new(false));
    let caller = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut answered = 0;
            while !over.load(Ordering::SeqCst) || answered < 20 {
                unary(&channel, UNARY, "well").await.unwrap();
                answered += 1;
                sleep(Duration::from_millis(2)).await;
            }
        }
    });
    timeout(BOUND, attack(victim.address)).await.expect("the attack takes too long");
    over.store(true, Ordering::SeqCst);
    timeout(BOUND, caller).await.expect("the caller waits").unwrap();
    let grown = victim.peak() - before;
    assert!(grown < growth, "the server grew by {grown} KiB");
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header as HPACK has it that is in no table, and goes into none.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![0];
    for text in [name, value] {
        match text.len() {
            short @ 0..127 => header.push(short as u8),
            long => {
                header.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    header.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                header.push(rest as u8);
            }
        }
        header.extend(text.as_bytes());
    }
    header
}

/// The headers of a call.
fn call(path: &str) -> Vec<u8> {
    // `:method` POST and `:scheme` http are in the static table.
    let mut headers = vec![0x83, 0x86];
    for (name, value) in
        [(":path", path), (":authority", "server"), ("content-type", "application/grpc"), ("te", "trailers")]
    {
        headers.extend(literal(name, value));
    }
    headers
}

/// A connection that has said hello by the rules.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    io
}

/// What a server says.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// The next frame; `None` when the connection has ended.
async fn next(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    io.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
    Some(Frame { kind: head[3], flags: head[4], stream, payload })
}

/// Reads to the server's GOAWAY; its error code. `None`: the connection was cut without one.
async fn farewell(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<u32> {
    loop {
        let frame = next(io).await?;
        if frame.kind == GOAWAY {
            return Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
        }
    }
}

/// Reads to the first answers of so many calls; of how many it is more than a status.
async fn answers(io: &mut (impl tokio::io::AsyncRead + Unpin), calls: usize) -> usize {
    let (mut begun, mut refused) = (std::collections::HashSet::new(), 0);
    while begun.len() + refused < calls {
        let frame = next(io).await.expect("the connection has ended");
        assert_ne!(frame.kind, GOAWAY, "the connection is ended");
        if frame.kind == HEADERS && !begun.contains(&frame.stream) {
            if frame.flags & END_STREAM == 0 {
                begun.insert(frame.stream);
            } else {
                refused += 1;
            }
        }
    }
    begun.len()
}

/// Lets this process, and those that it starts, have as many files open as the system allows.
fn many_files() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.min(20_000);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    wanted
}

#[tokio::test]
async fn slow_lorises_hold_nobody_up() {
    under(async |address| {
        let mut held = Vec::new();
        for _ in 0..100 {
            let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
            for said in [&b""[..], b"P", &PREFACE[..20], &hello] {
                let mut io = TcpStream::connect(address).await.unwrap();
                io.write_all(said).await.unwrap();
                held.push(io);
            }
            // Headers that are said to go on.
            let mut io = connect(address).await;
            io.write_all(&frame(HEADERS, 0, 1, &call(UPLOAD))).await.unwrap();
            held.push(io);
            // A body a byte at a time.
            let mut io = connect(address).await;
            io.write_all(&frame(HEADERS, END_HEADERS, 1, &call(UPLOAD))).await.unwrap();
            held.push(io);
        }
        for _ in 0..50 {
            for io in held.iter_mut().skip(5).step_by(6) {
                // A connection that is opened among so many silent ones may have given way to a newer one.
                let _ = io.write_all(&frame(DATA, 0, 1, &[0])).await;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn five_thousand_half_open_connections_keep_nobody_out() {
    // Both ends are in the limits of one user; each process has its own.
    let most = usize::try_from(many_files()).unwrap().saturating_sub(500).min(5000);
    assert!(most >= 500, "the system allows {most} connections, too few to tell anything");
    under(async |address| {
        let mut held = Vec::new();
        for number in 0..most {
            let mut io = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                io.write_all(&PREFACE[..10]).await.unwrap();
            }
            held.push(io);
            if number % 500 == 0 {
                // A newcomer who means well is let in among them.
                let newcomer = Channel::connect(&format!("static:///{address}")).await.unwrap();
                unary(&newcomer, UNARY, "new").await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_frame_above_the_size_ends_its_connection() {
    under(async |address| {
        for _ in 0..20 {
            let mut io = connect(address).await;
            let mut head = frame(DATA, 0, 1, &[]);
            head[..3].copy_from_slice(&[0xff, 0xff, 0xff]);
            io.write_all(&head).await.unwrap();
            // FRAME_SIZE_ERROR
            assert_eq!(farewell(&mut io).await, Some(6));
        }
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_continuations_ends_its_connection() {
    under(async |address| {
        let mut io = connect(address).await;
        io.write_all(&frame(HEADERS, 0, 1, &call(UNARY))).await.unwrap();
        let more = frame(CONTINUATION, 0, 1, &literal("x-flood", &"x".repeat(16_000)));
        // 1.6 GB, unless the server ends it.
        let mut sent = 0;
        while sent < 100_000 && io.write_all(&more).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 100_000, "the server took them all");
    })
    .await;
}

#[tokio::test]
async fn headers_above_the_size_are_refused() {
    under(async |address| {
        for _ in 0..20 {
            let mut io = connect(address).await;
            let mut headers = call(UNARY);
            (0..20).for_each(|_| headers.extend(literal("x-large", &"x".repeat(1000))));
            let (first, rest) = headers.split_at(16_000);
            io.write_all(&frame(HEADERS, 0, 1, first)).await.unwrap();
            io.write_all(&frame(CONTINUATION, END_HEADERS, 1, rest)).await.unwrap();
            // Whatever it says of the call, it says it: nothing waits.
            loop {
                if [HEADERS, RST_STREAM, GOAWAY].contains(&next(&mut io).await.unwrap().kind) {
                    break;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_hundred_thousand_rapid_resets_harm_nobody() {
    under(async |address| {
        let io = connect(address).await;
        let (mut reader, mut writer) = io.into_split();
        let reading = tokio::spawn(async move { farewell(&mut reader).await });
        let headers = call(UNARY);
        for number in 0..100_000_u32 {
            let stream = 2 * number + 1;
            let mut both = frame(HEADERS, END_HEADERS, stream, &headers);
            both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            if writer.write_all(&both).await.is_err() {
                break;
            }
        }
        drop(writer);
        // ENHANCE_YOUR_CALM, or none: a server that is quick enough may take them all.
        let code = reading.await.unwrap();
        assert!(matches!(code, None | Some(0 | 11)), "{code:?}");
    })
    .await;
}

#[tokio::test]
async fn floods_of_pings_and_settings_that_nobody_reads_the_answers_of_are_bounded() {
    under(async |address| {
        for flood in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])] {
            let mut io = connect(address).await;
            let many = flood.repeat(1000);
            for _ in 0..200 {
                // Once the server takes no more, it has done what it should.
                match timeout(Duration::from_millis(500), io.write_all(&many)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        }
    })
    .await;
}

/// A call with one message.
fn whole(stream: u32, path: &str, message: &[u8]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, &call(path)), frame(DATA, END_STREAM, stream, message)].concat()
}

#[tokio::test]
async fn s7_answers_that_nobody_reads_take_bounded_memory() {
    under_within(GROWTH + UNREAD, async |address| {
        let mut held = Vec::new();
        // 2 GB, if they were all kept.
        for _ in 0..20 {
            let mut io = TcpStream::connect(address).await.unwrap();
            // SETTINGS_INITIAL_WINDOW_SIZE: 16 bytes of each answer are taken.
            io.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 16])].concat()).await.unwrap();
            for number in 0..100 {
                io.write_all(&whole(2 * number + 1, LARGE, &framed("1000000"))).await.unwrap();
            }
            held.push(io);
        }
        sleep(Duration::from_secs(2)).await;
    })
    .await;
}

#[tokio::test]
async fn s3_watches_without_number_are_refused() {
    under(async |address| {
        let (mut held, mut open) = (Vec::new(), 0);
        for _ in 0..5 {
            let (mut reader, mut writer) = connect(address).await.into_split();
            let reading = tokio::spawn(async move { (answers(&mut reader, 1000).await, reader) });
            for number in 0..1000 {
                let watch = whole(2 * number + 1, "/grpc.health.v1.Health/Watch", &[0; 5]);
                writer.write_all(&watch).await.unwrap();
            }
            let (begun, reader) = reading.await.unwrap();
            open += begun;
            held.push((reader, writer));
        }
        assert!((1..=128).contains(&open), "{open} watches of one address");
    })
    .await;
}

#[tokio::test]
async fn s19_calls_with_thousands_of_fields_are_refused_and_their_connection_goes_on() {
    under(async |address| {
        let (mut reader, mut writer) = connect(address).await.into_split();
        let reading = tokio::spawn(async move { answers(&mut reader, 301).await });
        let mut headers = call(UNARY);
        (0..2000).for_each(|number| headers.extend(literal(&format!("x-{number}"), "v")));
        let (first, rest) = headers.split_at(16_000);
        for number in 0..300 {
            let stream = 2 * number + 1;
            writer.write_all(&frame(HEADERS, END_STREAM, stream, first)).await.unwrap();
            writer.write_all(&frame(CONTINUATION, END_HEADERS, stream, rest)).await.unwrap();
        }
        writer.write_all(&whole(601, UNARY, &framed("well"))).await.unwrap();
        assert_eq!(reading.await.unwrap(), 1, "one is answered");
    })
    .await;
}
