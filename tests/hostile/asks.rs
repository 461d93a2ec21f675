//! Requests of HTTP, as HTTP/1.1 and HTTP/2 send them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};
use tokio::task::JoinSet;

use super::wire::head;
use super::world::Scene;

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTO: &str = "application/proto";
pub(crate) const CONNECT_JSON: &str = "application/connect+json";
pub(crate) const GRPC_WEB: &str = "application/grpc-web+proto";
pub(crate) const GRPC_WEB_TEXT: &str = "application/grpc-web-text+proto";

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Ask {
    /// A request without a body.
    pub(crate) fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.parse().unwrap(), path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A request with a body of this type.
    pub(crate) fn post(path: impl Into<String>, media_type: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new("POST", path) }.with("content-type", media_type)
    }

    /// The same with a header more.
    pub(crate) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The request as HTTP/1.1 writes it, up to its body; it says that the body has `length` bytes.
    pub(crate) fn text_to_body(&self, length: impl std::fmt::Display) -> Vec<u8> {
        let Self { method, path, headers, .. } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: {length}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        text.into_bytes()
    }

    /// The request as HTTP/1.1 writes it.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = self.text_to_body(self.body.len());
        text.extend_from_slice(&self.body);
        text
    }

    /// Its head, as HTTP/2 has it.
    pub(crate) fn head(&self) -> Request<()> {
        let mut head = head(&self.path);
        *head.method_mut() = self.method.clone();
        head.headers_mut().clear();
        for (name, value) in &self.headers {
            head.headers_mut()
                .append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        head
    }

    /// Its body.
    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }
}

/// Sends the requests in turn, `callers` at once, each from an address of its own and with `pause` between its requests: by
/// turns over HTTP/1.1 and over HTTP/2.
pub(crate) async fn ask_in_turn(scene: &Scene, callers: usize, pause: Duration, asks: Vec<Ask>) {
    let asks = Arc::new(asks);
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let (scene, from, asks) = (scene.clone(), scene.world.address(), Arc::clone(&asks));
        // They begin at different places of the list.
        let first = caller * asks.len() / callers;
        running.spawn(async move {
            if caller % 2 == 0 {
                over_http1(&scene, from, pause, &asks, first).await;
            } else {
                over_http2(&scene, from, pause, &asks, first).await;
            }
        });
    }
    while running.join_next().await.is_some() {}
}

async fn over_http1(scene: &Scene, from: Ipv4Addr, pause: Duration, asks: &[Ask], first: usize) {
    let mut turns = asks.iter().cycle().skip(first);
    while scene.lasts() {
        let Some(mut raw) = scene.raw(from).await else { continue };
        while scene.lasts() && !raw.is_over() {
            let Some(ask) = turns.next() else { return };
            match scene.within(raw.ask(&ask.text(), ask.method == Method::HEAD)).await {
                Some(Ok(status)) => scene.tally.http(status),
                Some(Err(_)) => scene.tally.note("closed"),
                None => scene.tally.note("unanswered"),
            }
            scene.within(tokio::time::sleep(pause)).await;
        }
    }
}

async fn over_http2(scene: &Scene, from: Ipv4Addr, pause: Duration, asks: &[Ask], first: usize) {
    let mut turns = asks.iter().cycle().skip(first);
    while scene.lasts() {
        let Some(wire) = scene.wire(from).await else { continue };
        while scene.lasts() && !wire.is_over() {
            let Some(ask) = turns.next() else { return };
            match scene.within(wire.ask(ask.head(), ask.body())).await {
                Some(Ok(status)) => scene.tally.http(status),
                Some(Err(_)) => scene.tally.note("reset"),
                None => scene.tally.note("unanswered"),
            }
            scene.within(tokio::time::sleep(pause)).await;
        }
    }
}
