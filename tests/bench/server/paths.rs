//! The way to a server: `h2` on a few connections by turns, without a codec, with the headers that a caller in a mesh sends.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Uri, header};
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::Status;

use crate::message::{METHOD, Payload};
use crate::{client, token};

/// Connections of a caller.
const CONNECTIONS: usize = 4;
/// The deadline of calls that are told none.
const DEADLINE: Duration = Duration::from_secs(10);

/// Callers with a good token.
pub const GOOD: &str = "h2";
/// Callers without a token.
pub const ANONYMOUS: &str = "no token";
/// Callers with a token that nobody has signed, each time another.
pub const FORGED: &str = "forged tokens";

/// A way to make the call.
pub trait Path: Clone + Send + 'static {
    /// Makes one call.
    fn call(&mut self, deadline: Option<Duration>) -> impl Future<Output = Result<(), Status>> + Send;
}

/// Runs a client process.
pub async fn run(path: &str, server: SocketAddr) {
    client::run(Raw::connect(server, path).await).await;
}

#[derive(Clone)]
struct Raw {
    connections: Arc<[SendRequest<Bytes>]>,
    turn: Arc<AtomicUsize>,
    uri: Uri,
    message: Bytes,
    token: Option<HeaderValue>,
    /// Of forged tokens.
    forged: Option<Arc<AtomicUsize>>,
}

impl Raw {
    async fn connect(server: SocketAddr, path: &str) -> Self {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(server).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            connections.push(requests);
        }
        let body = Payload::usual().encode_to_vec();
        let mut message = vec![0];
        message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        message.extend_from_slice(&body);
        Self {
            connections: connections.into(),
            turn: Arc::default(),
            uri: format!("http://{server}{METHOD}").parse().unwrap(),
            message: message.into(),
            token: (path == GOOD).then(|| bearer(&token::sign("users/anna"))),
            forged: (path == FORGED).then(Arc::default),
        }
    }

    async fn exchange(&self, deadline: Duration) -> Result<bool, h2::Error> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let token = match &self.forged {
            None => self.token.clone(),
            Some(turn) => Some(bearer(&token::forge(turn.fetch_add(1, Ordering::Relaxed)))),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header("grpc-timeout", format!("{}m", deadline.as_millis()))
            .body(())
            .unwrap();
        request.headers_mut().extend(token.map(|token| (header::AUTHORIZATION, token)));
        let (response, mut sender) = self.connections[turn].clone().ready().await?.send_request(request, false)?;
        sender.send_data(self.message.clone(), true)?;
        let response = response.await?;
        if response.headers().contains_key("grpc-status") {
            // Trailers-Only: there is no answer but a status.
            return Ok(false);
        }
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
        let trailers = body.trailers().await?;
        Ok(trailers.is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|status| status == "0")))
    }
}

fn bearer(token: &str) -> HeaderValue {
    format!("Bearer {token}").parse().unwrap()
}

impl Path for Raw {
    async fn call(&mut self, deadline: Option<Duration>) -> Result<(), Status> {
        match self.exchange(deadline.unwrap_or(DEADLINE)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::unknown("not OK")),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
