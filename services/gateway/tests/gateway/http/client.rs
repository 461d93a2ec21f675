//! A client of HTTP/1.1 that sends what tests say, byte by byte.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{BOUND, World};

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty when it lacks.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request, and nothing behind it.
pub async fn send(world: &World, start: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    send_from(world, "127.0.0.1", start, headers, body).await
}

async fn send_from(world: &World, from: &str, start: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(world.target.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
    let mut request = format!("{start} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n");
    if !start.starts_with("GET ") {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let request = [request.as_bytes(), body].concat();
    stream.write_all(&request).await.unwrap();
    stream
}

/// Sends a request such as `POST /path`, and reads the answer.
pub async fn ask(world: &World, start: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask_from(world, "127.0.0.1", start, headers, body).await
}

/// As [`ask`], from a given address of this machine.
pub async fn ask_from(world: &World, from: &str, start: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = send_from(world, from, start, headers, body).await;
    let mut all = Vec::new();
    tokio::time::timeout(BOUND, stream.read_to_end(&mut all)).await.expect("it is answered in time").unwrap();
    parsed(&all)
}

/// As [`ask`], by a customer who has signed in.
pub async fn ask_as_anna(world: &World, start: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let token = format!("Bearer {}", world.issuer.token("anna", "customer"));
    let headers = [headers, &[("authorization", token.as_str())]].concat();
    ask(world, start, &headers, body).await
}

fn parsed(all: &[u8]) -> Answer {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = std::str::from_utf8(&all[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: HeaderMap = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.trim().parse::<HeaderValue>().unwrap()))
        .collect();
    let body = &all[end + 4..];
    let is_chunked = headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked");
    let body = if is_chunked { joined(body) } else { body.to_vec() };
    Answer { status, headers, body }
}

/// A body without its chunks.
fn joined(mut chunked: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunked.windows(2).position(|two| two == b"\r\n").expect("a chunk has a size");
        let size = usize::from_str_radix(std::str::from_utf8(&chunked[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunked[line + 2..line + 2 + size]);
        chunked = &chunked[line + 2 + size + 2..];
    }
}

/// A message behind its prefix.
pub fn prefixed(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flags], length.as_slice(), message].concat()
}

/// The messages of a body, each with its flags.
pub fn messages(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = body.split_first_chunk::<5>() {
        let [flags, length @ ..] = *prefix;
        let (message, behind) = rest.split_at(usize::try_from(u32::from_be_bytes(length)).unwrap());
        messages.push((flags, message.to_vec()));
        body = behind;
    }
    assert!(body.is_empty(), "the body ends in the middle of a message");
    messages
}
