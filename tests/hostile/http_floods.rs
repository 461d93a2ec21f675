//! Floods over HTTP: of requests, of connections, of streams, and of answers that nobody reads.

use std::time::Duration;

use meshwork_api::meshwork::products::v1::GetProductRequest;
use tokio::task::JoinSet;

use super::asks::{Ask, CONNECT_JSON, GRPC_WEB, JSON, ask_in_turn};
use super::connections::idle;
use super::raw::Raw;
use super::streams::hold;
use super::wire::{Started, frame, framed, next, send_all};
use super::world::{Account, Scene, method};

/// How many requests are sent in one piece.
const PIPELINE: usize = 50;
/// How many watches each account asks for.
const WATCHES: usize = 15;

/// Sends each of the requests again and again in pieces of fifty, from eight addresses.
async fn pipelined(scene: &Scene, asks: Vec<Ask>) {
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (scene, from) = (scene.clone(), scene.world.address());
        let piece = asks[caller % asks.len()].text().repeat(PIPELINE);
        callers.spawn(async move {
            while scene.lasts() {
                let Some(mut raw) = scene.raw(from).await else { continue };
                let rounds = async {
                    loop {
                        raw.say(&piece).await?;
                        for _ in 0..PIPELINE {
                            scene.tally.http(raw.next().await?);
                        }
                    }
                };
                let ended: Option<std::io::Result<()>> = scene.within(rounds).await;
                if ended.is_some() {
                    scene.tally.note("closed");
                    scene.within(tokio::time::sleep(Duration::from_millis(50))).await;
                }
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

/// Calls, as many as go.
pub(crate) async fn requests(scene: Scene) {
    let product = scene.world.products[0].clone();
    let asks = vec![
        Ask::new("GET", format!("/v1/{product}")),
        Ask::post(method::GET_PRODUCT, JSON, format!(r#"{{"name":"{product}"}}"#)),
        Ask::post(method::GET_PRODUCT, GRPC_WEB, framed(&GetProductRequest { name: product })),
    ];
    pipelined(&scene, asks).await;
}

/// Requests that need no call: for what is nowhere, from pages, and for what documents the methods.
pub(crate) async fn without_calls(scene: Scene) {
    let preflight = |path: &str| {
        let ask = Ask::new("OPTIONS", path).with("origin", "https://elsewhere.example");
        ask.with("access-control-request-method", "POST").with("access-control-request-headers", "x-a,".repeat(500))
    };
    let asks = vec![
        Ask::new("GET", "/nowhere"),
        Ask::new("GET", format!("/{}", "nowhere/".repeat(200))),
        preflight("/v1/orders"),
        preflight(method::GET_PRODUCT),
        Ask::new("PUT", "/v1/orders"),
        Ask::new("GET", "/docs").with("if-none-match", "*"),
    ];
    pipelined(&scene, asks).await;
}

/// All methods of HTTP, and attempts to speak something else.
pub(crate) async fn methods(scene: Scene) {
    let asks = ["HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "PROPFIND"]
        .into_iter()
        .flat_map(|verb| ["/", "/v1/orders", "/v1/products", method::GET_PRODUCT].map(|path| Ask::new(verb, path)))
        .map(|ask| ask.with("authorization", "Bearer none"))
        .collect();
    let upgrades: Vec<Vec<u8>> = [
        "GET /v1/products HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        "GET /v1/products HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        "CONNECT shop.test:443 HTTP/1.1\r\nhost: shop.test:443\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET http://elsewhere.example/v1/products HTTP/1.1\r\nhost: x\r\n\r\n",
        "PRI / HTTP/1.1\r\nhost: x\r\n\r\n",
        "BREW /pot HTCPCP/1.0\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    let upgrading = async {
        let from = scene.world.address();
        for said in upgrades.iter().cycle() {
            if !scene.lasts() {
                return;
            }
            let Some(mut raw) = scene.raw(from).await else { continue };
            match scene.within(raw.ask(said, false)).await {
                Some(Ok(status)) => scene.tally.http(status),
                Some(Err(_)) => scene.tally.note("closed"),
                None => scene.tally.note("unanswered"),
            }
            scene.within(tokio::time::sleep(Duration::from_millis(20))).await;
        }
    };
    tokio::join!(upgrading, ask_in_turn(&scene, 6, Duration::from_millis(30), asks));
}

/// Requests with another in what one reader takes for their body, and the next for what follows it.
pub(crate) async fn smuggled(scene: Scene) {
    let inner = "GET /v1/orders HTTP/1.1\r\nhost: x\r\n\r\n";
    let all: Vec<String> = [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
        "transfer-encoding: x\r\ntransfer-encoding: chunked\r\n",
        "content-length: 2\r\ncontent-length: 40\r\n",
        "content-length: +5\r\n",
        "x: a\r\n b\r\n",
        "x: a\0b\r\n",
        "host: y\r\n",
    ]
    .map(|headers| format!("POST /v1/sessions:signIn HTTP/1.1\r\nhost: x\r\n{headers}\r\n0\r\n\r\n{inner}"))
    .into();
    let mut callers = JoinSet::new();
    for first in 0..6 {
        let (scene, from, all) = (scene.clone(), scene.world.address(), all.clone());
        callers.spawn(async move {
            for said in all.iter().cycle().skip(first) {
                if !scene.lasts() {
                    return;
                }
                let Some(mut raw) = scene.raw(from).await else { continue };
                let answered = async {
                    raw.say(said.as_bytes()).await?;
                    scene.tally.http(raw.next().await?);
                    // There is no second one.
                    raw.next().await
                };
                match scene.within(answered).await {
                    Some(Ok(_)) => scene.tally.note("smuggled"),
                    Some(Err(_)) => scene.tally.note("closed"),
                    None => scene.tally.note("unanswered"),
                }
                scene.within(tokio::time::sleep(Duration::from_millis(20))).await;
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

/// 3,000 connections of HTTP/1.1 from one address, each of which had an answer and is left.
pub(crate) async fn kept_connections(scene: Scene) {
    let from = scene.world.address();
    idle(&scene, &[from], 3000, b"GET /nowhere HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
}

/// The largest answers that there are, from twenty addresses, and nobody reads them.
pub(crate) async fn unread(scene: Scene) {
    let mut held = JoinSet::new();
    let from: Vec<_> = (0..20).map(|_| scene.world.address()).collect();
    for at in 0..400 {
        let (scene, from) = (scene.clone(), from[at % from.len()]);
        let path = ["/openapi.json", "/v1/products", "/docs"][at % 3];
        let said = Ask::new("GET", path).text().repeat(20);
        held.spawn(async move {
            let unread = async {
                let mut raw = Raw::open_with_little_room(from, scene.world.gateway).await?;
                raw.say(&said).await?;
                scene.tally.note("unread");
                std::future::pending::<std::io::Result<()>>().await
            };
            match scene.within(unread).await {
                None => scene.tally.note("held to the end"),
                Some(_) => scene.tally.note("closed"),
            }
        });
    }
    while held.join_next().await.is_some() {}
}

/// Forty accounts with watches of all kinds, as many as they are let; a quarter of those over HTTP/1.1 read nothing.
pub(crate) async fn watches(scene: Scene) {
    let mut holders = JoinSet::new();
    for account in scene.world.accounts().to_vec() {
        let (scene, from) = (scene.clone(), scene.world.address());
        holders.spawn(async move {
            let over_http2 = async {
                let Some(wire) = scene.wire(from).await else { return };
                let mut streams = JoinSet::new();
                for at in 0..WATCHES {
                    let (scene, wire, ask) = (scene.clone(), wire.clone(), watch(&account, at));
                    streams.spawn(async move {
                        let held = async {
                            let Started { answer, mut body } = wire.start(ask.head(), ask.body().is_empty()).await?;
                            if !ask.body().is_empty() {
                                send_all(&mut body, ask.body(), true).await?;
                            }
                            let response = answer.await?;
                            scene.tally.http(response.status().as_u16());
                            let mut stream = response.into_body();
                            while let Some(data) = next(&mut stream).await {
                                data?;
                            }
                            Ok(())
                        };
                        hold(&scene, held).await;
                    });
                }
                while streams.join_next().await.is_some() {}
            };
            let over_http1 = async {
                let mut connections = JoinSet::new();
                for at in 0..WATCHES {
                    let (scene, said) = (scene.clone(), watch(&account, at).text());
                    connections.spawn(async move {
                        let held = async {
                            let mut raw = Raw::open_with_little_room(from, scene.world.gateway).await?;
                            scene.tally.http(raw.begin(&said).await?);
                            if at % 4 == 0 {
                                std::future::pending::<()>().await;
                            }
                            raw.drain().await
                        };
                        match scene.within(held).await {
                            None => scene.tally.note("held to the end"),
                            Some(_) => scene.tally.note("closed"),
                        }
                    });
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                while connections.join_next().await.is_some() {}
            };
            tokio::join!(over_http1, over_http2);
        });
    }
    while holders.join_next().await.is_some() {}
}

/// A watch by lines, by events or by Connect.
fn watch(account: &Account, at: usize) -> Ask {
    let lines = || Ask::new("GET", format!("/v1/{}:watch", account.order));
    let ask = match at % 3 {
        0 => lines(),
        1 => lines().with("accept", "text/event-stream"),
        _ => {
            let message = format!(r#"{{"name":"{}"}}"#, account.order);
            Ask::post(method::WATCH_ORDER, CONNECT_JSON, frame(0, message.as_bytes()))
        }
    };
    ask.with("authorization", account.token.as_str())
}
