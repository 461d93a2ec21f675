//! A gRPC client that can send anything: raw HTTP/2 from an address of its choice, without retries.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Version};
use prost::Message;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::Code;

/// How a call was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The messages, each with its prefix.
    pub(crate) body: Bytes,
}

/// A TCP connection that comes from `from`.
pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An HTTP/2 connection. Closed when its last clone is dropped.
#[derive(Clone)]
pub(crate) struct Wire {
    send: SendRequest<Bytes>,
    driver: Arc<Driver>,
}

/// The task that moves a connection's bytes.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Wire {
    /// Connects from `from`.
    pub(crate) async fn open(from: Ipv4Addr, to: SocketAddr) -> Result<Self, String> {
        let mut builder = Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
        // What the server may answer is not what is tried here.
        builder.max_header_list_size(1 << 20).enable_push(false);
        Self::open_with(from, to, &builder).await
    }

    /// Connects with HTTP/2 settings of the caller's choice.
    pub(crate) async fn open_with(from: Ipv4Addr, to: SocketAddr, builder: &Builder) -> Result<Self, String> {
        let stream = connect(from, to).await.map_err(|error| format!("no connection: {error}"))?;
        let (send, connection) =
            builder.handshake(stream).await.map_err(|error| format!("no HTTP/2 connection: {error}"))?;
        let driver = tokio::spawn(async move {
            // How it ended is told to each stream.
            connection.await.ok();
        });
        Ok(Self { send, driver: Arc::new(Driver(driver)) })
    }

    /// Whether the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.driver.0.is_finished()
    }

    /// Sends the headers of a call.
    pub(crate) async fn start(&self, head: Request<()>, end: bool) -> Result<Started, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (answer, body) = send.send_request(head, end)?;
        Ok(Started { answer, body })
    }

    /// Makes a call with one message and waits for its answer.
    pub(crate) async fn call(&self, head: Request<()>, message: &impl Message) -> Result<Answer, h2::Error> {
        self.call_with(head, framed(message)).await
    }

    /// Makes a call with this body and waits for its answer.
    pub(crate) async fn call_with(&self, head: Request<()>, body: Bytes) -> Result<Answer, h2::Error> {
        let mut started = self.start(head, false).await?;
        // The server may answer before it has read everything.
        let sent = send_all(&mut started.body, body, true).await;
        match (answer(started.answer).await, sent) {
            (Err(error), Err(_)) | (Err(error), Ok(())) => Err(error),
            (Ok(answer), _) => Ok(answer),
        }
    }

    /// Sends a request of HTTP, and reads its answer to its end. Gives its status.
    pub(crate) async fn ask(&self, head: Request<()>, body: Bytes) -> Result<u16, h2::Error> {
        let mut started = self.start(head, body.is_empty()).await?;
        if !body.is_empty() {
            // It may be answered before all of it is read.
            send_all(&mut started.body, body, true).await.ok();
        }
        let response = started.answer.await?;
        let status = response.status().as_u16();
        let mut stream = response.into_body();
        while let Some(data) = next(&mut stream).await {
            data?;
        }
        Ok(status)
    }
}

/// A call whose headers are sent.
pub(crate) struct Started {
    pub(crate) answer: ResponseFuture,
    pub(crate) body: SendStream<Bytes>,
}

impl Started {
    /// Ends the call at once.
    pub(crate) fn reset(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }
}

/// The headers of a call.
pub(crate) fn head(path: &str) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = format!("http://shop.test{path}").parse().unwrap();
    set(&mut head, "content-type", "application/grpc");
    set(&mut head, "te", "trailers");
    head
}

/// Sets a header of a call.
pub(crate) fn set(head: &mut Request<()>, name: &'static str, value: &str) {
    head.headers_mut().insert(name, value.parse().unwrap());
}

/// The headers of a call with a token or without, and with a `grpc-timeout` or without.
pub(crate) fn head_of(path: &str, token: Option<&str>, timeout: Option<&str>) -> Request<()> {
    let mut head = head(path);
    if let Some(token) = token {
        set(&mut head, "authorization", token);
    }
    if let Some(timeout) = timeout {
        set(&mut head, "grpc-timeout", timeout);
    }
    head
}

/// A message with gRPC's five bytes in front.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    frame(0, &message.encode_to_vec())
}

/// Any bytes with gRPC's five bytes in front.
pub(crate) fn frame(flag: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 5);
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(payload.len()).unwrap());
    frame.put_slice(payload);
    frame.freeze()
}

/// The first message of an answer.
pub(crate) fn message<M: Message + Default>(answer: &Answer) -> M {
    M::decode(answer.body.get(5..).unwrap_or_default()).unwrap()
}

/// Sends bytes as the peer's window allows.
pub(crate) async fn send_all(body: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), h2::Error> {
    if bytes.is_empty() {
        return body.send_data(bytes, end);
    }
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len().min(1 << 16));
        let granted = match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
            Some(granted) => granted?,
            None => return Err(Reason::CANCEL.into()),
        };
        let part = bytes.split_to(granted.min(bytes.len()));
        let last = end && bytes.is_empty();
        body.send_data(part, last)?;
    }
    Ok(())
}

/// Reads an answer to its end.
pub(crate) async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let response = response.await?;
    let http = response.status();
    let (head, mut stream) = response.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = next(&mut stream).await {
        body.put(data?);
    }
    let trailers = stream.trailers().await?;
    let status = status(trailers.as_ref().unwrap_or(&head.headers)).or_else(|| status(&head.headers));
    let (code, message) = status.unwrap_or_else(|| (Code::Unknown, format!("HTTP {http} without a gRPC status")));
    Ok(Answer { code, message, body: body.freeze() })
}

/// The next bytes of an answer, for which the peer gets its window back.
pub(crate) async fn next(stream: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = stream.data().await?;
    if let Ok(data) = &data {
        stream.flow_control().release_capacity(data.len()).ok();
    }
    Some(data)
}

/// The gRPC status of headers or trailers.
pub(crate) fn status(headers: &HeaderMap) -> Option<(Code, String)> {
    let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
    let message = headers.get("grpc-message").map(|value| percent_decoded(value.as_bytes()));
    Some((code, message.unwrap_or_default()))
}

/// A message for people, without gRPC's percent-encoding.
pub(crate) fn percent_decoded(mut text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let code = rest.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                text = &rest[2..];
            }
            _ => {
                bytes.push(*first);
                text = rest;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
