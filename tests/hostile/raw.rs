//! HTTP/1.1 by hand, from an address of its choice: whatever is said goes out as it is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::wire::connect;

/// The time between two pieces of what is said slowly.
const DRIP: Duration = Duration::from_millis(100);

/// How much is read at once, in bytes.
const PIECE: usize = 8 << 10;

/// How much room a connection has for answers that nobody reads, in bytes.
const LITTLE: u32 = 2048;

/// A connection of HTTP/1.1.
pub(crate) struct Raw {
    stream: TcpStream,
    read: BytesMut,
    is_over: bool,
}

impl Raw {
    /// Connects from `from`.
    pub(crate) async fn open(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        connect(from, to).await.map(Self::of)
    }

    /// As [`Raw::open`], with hardly any room for what isn't read.
    pub(crate) async fn open_with_little_room(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(LITTLE)?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(to).await.map(Self::of)
    }

    fn of(stream: TcpStream) -> Self {
        Self { stream, read: BytesMut::new(), is_over: false }
    }

    /// Whether another request would not be understood any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Says something, and waits for no answer.
    pub(crate) async fn say(&mut self, said: &[u8]) -> io::Result<()> {
        self.stream.write_all(said).await
    }

    /// The status of the answer to a request, once that answer is read to its end. `is_head`: it has no body.
    pub(crate) async fn ask(&mut self, request: &[u8], is_head: bool) -> io::Result<u16> {
        self.converse(request, b"", is_head).await
    }

    /// Says `begin`, and then `then` again and again; or nothing more, if that is empty. Gives the status of the answer.
    pub(crate) async fn withhold(&mut self, begin: &[u8], then: &[u8]) -> io::Result<u16> {
        self.converse(begin, then, false).await
    }

    /// Reads while it writes: the server may answer before it has got everything.
    async fn converse(&mut self, begin: &[u8], then: &[u8], is_head: bool) -> io::Result<u16> {
        let (mut reader, mut writer) = self.stream.split();
        let mut is_sent = false;
        let saying = async {
            let mut said = writer.write_all(begin).await;
            is_sent = said.is_ok();
            while said.is_ok() && !then.is_empty() {
                tokio::time::sleep(DRIP).await;
                said = writer.write_all(then).await;
            }
            // What was answered before may still be there to read.
            std::future::pending::<()>().await;
        };
        let answered = tokio::select! {
            answered = answer(&mut reader, &mut self.read, is_head) => answered,
            () = saying => Err(io::ErrorKind::BrokenPipe.into()),
        };
        self.is_over = answered.is_err() || !is_sent || !then.is_empty();
        answered
    }

    /// Sends a request, and reads no more of the answer than its head. Gives its status.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> io::Result<u16> {
        self.is_over = true;
        self.stream.write_all(request).await?;
        Ok(status(&until(&mut self.stream, &mut self.read, b"\r\n\r\n").await?)?.0)
    }

    /// The status of the next answer to what was [said](Raw::say), read to its end.
    pub(crate) async fn next(&mut self) -> io::Result<u16> {
        answer(&mut self.stream, &mut self.read, false).await
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        drain(&mut self.stream, &mut self.read).await
    }
}

/// Reads an answer to its end, and gives its status. What only says that the answer comes later is passed over.
async fn answer(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut, is_head: bool) -> io::Result<u16> {
    let (status, head) = loop {
        let (status, head) = status(&until(io, read, b"\r\n\r\n").await?)?;
        if !(100..200).contains(&status) || status == 101 {
            break (status, head);
        }
    };
    if is_head || matches!(status, 101 | 204 | 304) {
        return Ok(status);
    }
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if let Some(length) = value("content-length:") {
        skip(io, read, length.parse::<usize>().map_err(unreadable)?).await?;
    } else if value("transfer-encoding:") == Some("chunked") {
        while skip_chunk(io, read).await? {}
    } else {
        drain(io, read).await?;
    }
    Ok(status)
}

/// The status of a head, and the head in lower case.
fn status(head: &[u8]) -> io::Result<(u16, String)> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = head.strip_prefix("http/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    Ok((status.ok_or_else(|| unreadable("no status"))?, head))
}

/// Passes over a chunk. Whether it wasn't the last one.
async fn skip_chunk(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> io::Result<bool> {
    let line = until(io, read, b"\r\n").await?;
    let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).map_err(unreadable)?;
    if size > 0 {
        skip(io, read, size + 2).await?;
        return Ok(true);
    }
    // Trailers, up to an empty line.
    while until(io, read, b"\r\n").await?.len() > 2 {}
    Ok(false)
}

async fn skip(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut, mut size: usize) -> io::Result<()> {
    loop {
        let part = read.split_to(size.min(read.len()));
        size -= part.len();
        if size == 0 {
            return Ok(());
        }
        more(io, read).await?;
    }
}

/// The bytes up to `end`, and that.
async fn until(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut, end: &[u8]) -> io::Result<BytesMut> {
    loop {
        if let Some(at) = read.windows(end.len()).position(|bytes| bytes == end) {
            return Ok(read.split_to(at + end.len()));
        }
        more(io, read).await?;
    }
}

async fn drain(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> io::Result<()> {
    loop {
        read.clear();
        read.reserve(PIECE);
        if io.read_buf(read).await? == 0 {
            return Ok(());
        }
    }
}

async fn more(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> io::Result<()> {
    read.reserve(PIECE);
    if io.read_buf(read).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn unreadable(problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
