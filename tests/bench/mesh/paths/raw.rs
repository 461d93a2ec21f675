//! The limit: `h2` on three connections by turns, without a codec.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Uri, header};
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::Status;

use super::Path;
use crate::message::{METHOD, Payload};

/// Three connections.
#[derive(Clone)]
pub struct Raw {
    connections: Arc<[(SendRequest<Bytes>, Uri)]>,
    turn: Arc<AtomicUsize>,
    message: Bytes,
}

impl Raw {
    pub async fn connect(servers: &[SocketAddr]) -> Self {
        let mut connections = Vec::new();
        for server in servers {
            let stream = TcpStream::connect(server).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (requests, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            connections.push((requests, format!("http://{server}{METHOD}").parse().unwrap()));
        }
        let body = Payload::usual().encode_to_vec();
        let mut message = vec![0];
        message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        message.extend_from_slice(&body);
        Self { connections: connections.into(), turn: Arc::default(), message: message.into() }
    }

    async fn exchange(&self) -> Result<bool, h2::Error> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let (requests, uri) = &self.connections[turn];
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri.clone())
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())
            .unwrap();
        let (response, mut sender) = requests.clone().ready().await?.send_request(request, false)?;
        sender.send_data(self.message.clone(), true)?;
        let mut body = response.await?.into_body();
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
        let trailers = body.trailers().await?;
        Ok(trailers.is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|status| status == "0")))
    }
}

impl Path for Raw {
    async fn call(&mut self, _: Option<Duration>) -> Result<(), Status> {
        match self.exchange().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::unknown("not OK")),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}
