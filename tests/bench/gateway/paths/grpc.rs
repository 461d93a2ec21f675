//! Callers of gRPC: `h2` on a few connections by turns, without a codec.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Uri, header};
use meshwork_api::meshwork::products::v1::GetProductRequest;
use tokio::net::TcpStream;
use tonic::Status;

use super::{Path, Turns};
use crate::upstream::{METHOD, NAME, framed};

/// Connections of all callers together.
const CONNECTIONS: usize = 8;
/// The deadline of calls that are told none.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Grpc {
    connections: Turns<SendRequest<Bytes>>,
    tokens: Turns<HeaderValue>,
    uri: Uri,
    message: Bytes,
}

impl Grpc {
    pub async fn connect(server: SocketAddr, tokens: impl Iterator<Item = &str>) -> Self {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(server).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            connections.push(requests);
        }
        Self {
            connections: Turns::new(connections),
            tokens: Turns::new(tokens.map(|token| format!("Bearer {token}").parse().unwrap())),
            uri: format!("http://{server}{METHOD}").parse().unwrap(),
            message: framed(&GetProductRequest { name: NAME.to_owned() }),
        }
    }

    async fn exchange(&self, deadline: Duration) -> Result<bool, h2::Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::AUTHORIZATION, self.tokens.next().clone())
            .header("grpc-timeout", format!("{}m", deadline.as_millis()))
            .body(())
            .unwrap();
        let (response, mut sender) = self.connections.next().clone().ready().await?.send_request(request, false)?;
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

impl Path for Grpc {
    async fn call(&mut self, deadline: Option<Duration>) -> Result<(), Status> {
        match self.exchange(deadline.unwrap_or(DEADLINE)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::unknown("not OK")),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
