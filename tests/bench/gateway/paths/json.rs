//! Callers of HTTP/JSON: HTTP/1.1, on connections that are kept, each with one request at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tonic::Status;

use super::{Path, Turns};
use crate::load::IN_FLIGHT;
use crate::upstream::NAME;

/// Many callers, with [`IN_FLIGHT`] connections.
#[derive(Clone)]
pub struct Json {
    server: SocketAddr,
    requests: Turns<String>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Json {
    pub fn new<'t>(server: SocketAddr, tokens: impl Iterator<Item = &'t str>) -> Self {
        Self {
            server,
            requests: Turns::new(tokens.map(|token| request(server, token))),
            places: Arc::new(Semaphore::new(IN_FLIGHT)),
            idle: Arc::default(),
        }
    }

    async fn exchange(&self) -> io::Result<u16> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let idle = self.idle.lock().unwrap().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.server).await?,
        };
        let status = connection.ask(self.requests.next()).await?.status;
        self.idle.lock().unwrap().push(connection);
        Ok(status)
    }
}

impl Path for Json {
    async fn call(&mut self, _: Option<Duration>) -> Result<(), Status> {
        match self.exchange().await {
            Ok(200) => Ok(()),
            Ok(status) => Err(Status::unknown(format!("not OK: {status}"))),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}

/// Asks for the product once.
pub async fn get(server: SocketAddr, token: &str) -> io::Result<Answer> {
    Connection::open(server).await?.ask(&request(server, token)).await
}

fn request(server: SocketAddr, token: &str) -> String {
    format!(
        "GET /v1/{NAME} HTTP/1.1\r\nhost: {server}\r\naccept: application/json\r\nauthorization: Bearer {token}\r\n\r\n"
    )
}

/// What is read of an answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A connection without a request.
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads the answer to its end.
    async fn ask(&mut self, request: &str) -> io::Result<Answer> {
        self.stream.write_all(request.as_bytes()).await?;
        self.read.clear();
        let begin = loop {
            self.more().await?;
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let (status, length) = head(&self.read[..begin])?;
        while self.read.len() < begin + length {
            self.more().await?;
        }
        Ok(Answer { status, body: self.read[begin..begin + length].to_vec() })
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The status of an answer, and the length of its body.
fn head(head: &[u8]) -> io::Result<(u16, usize)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let head = std::str::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Ok((
        status.ok_or_else(|| wrong("an answer without a status"))?,
        length.ok_or_else(|| wrong("an answer without a length"))?,
    ))
}
